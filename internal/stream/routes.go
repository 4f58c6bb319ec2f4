package stream

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"postroad/internal/httpserve"
	"postroad/internal/message"
	"postroad/internal/stream/live"
)

const (
	allowGet     = "GET, HEAD, OPTIONS"
	topicsPrefix = "/v1/topics/"
	// WebSocketPath is where WebSocket connections are opened.
	WebSocketPath = "/connection/websocket"
	demoPath      = "/demo/"
)

// endpoint answers GET and HEAD of one thing of a topic.
type endpoint func(n *Node, w http.ResponseWriter, r *http.Request, topic string)

func endpoints() map[string]endpoint {
	return map[string]endpoint{"stream": (*Node).events, "last": (*Node).last, "history": (*Node).past}
}

// Handler serves the node: /connection/websocket, what is below /v1/topics/,
// /healthz and /demo/. All that is not a WebSocket answers GET and HEAD alone.
func (n *Node) Handler() http.Handler {
	topics := endpoints()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if path == WebSocketPath {
			n.webSocket(w, r)
			return
		}
		serve := n.page(path)
		if rest, ok := strings.CutPrefix(path, topicsPrefix); ok && serve == nil {
			topic, what, _ := strings.Cut(rest, "/")
			if of := topics[what]; of != nil {
				serve = func(w http.ResponseWriter, r *http.Request) { n.ofTopic(w, r, topic, of) }
			}
		}
		switch {
		case serve == nil:
			notFound("a stream node has nothing at " + path).Write(w)
		case r.Method == http.MethodOptions:
			n.origins.preflight(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", allowGet)
			httpserve.Problem{
				Name: "method-not-allowed", Status: http.StatusMethodNotAllowed, Title: "Method not allowed",
				Detail: "this path answers " + allowGet,
			}.Write(w)
		default:
			serve(w, r)
		}
	})
}

// page returns what is not of a topic; nil where nothing is.
func (n *Node) page(path string) http.HandlerFunc {
	switch {
	case path == "/healthz":
		return n.healthz
	case n.demo == nil:
		return nil
	case strings.HasPrefix(path, demoPath):
		return n.demo.ServeHTTP
	case path+"/" == demoPath:
		return http.RedirectHandler(demoPath, http.StatusMovedPermanently).ServeHTTP
	}
	return nil
}

// ofTopic answers what pages may read across origins.
func (n *Node) ofTopic(w http.ResponseWriter, r *http.Request, topic string, of endpoint) {
	if !n.origins.allows(r) {
		wrongOrigin(r).Write(w)
		return
	}
	n.origins.headers(w.Header(), r)
	if !message.ValidTopic(topic) {
		notFound("no topic can be called " + strconv.Quote(topic)).Write(w)
		return
	}
	of(n, w, r, topic)
}

func wrongOrigin(r *http.Request) *httpserve.Problem {
	origin := strings.ToValidUTF8(r.Header.Get("Origin"), "\uFFFD")
	return &httpserve.Problem{
		Name: "forbidden", Status: http.StatusForbidden, Title: "Forbidden",
		Detail: "pages of origin " + strconv.Quote(origin[:min(len(origin), 200)]) + " may not use this node; stream.origins lists those that may",
	}
}

// subjectOf is what the query asks for: key, partition, or neither for all of the
// topic.
func subjectOf(r *http.Request, topic string) (live.Subject, *httpserve.Problem) {
	q := r.URL.Query()
	keys, partitions := q["key"], q["partition"]
	switch {
	case len(keys)+len(partitions) > 1:
		return live.Subject{}, badRequest("give one key or one partition")
	case len(keys) == 1 && !utf8.ValidString(keys[0]):
		// Such a key is named by its escaped form, which only subjects have.
		return live.Subject{}, badRequest("key is not UTF-8")
	case len(keys) == 1:
		return live.Subject{Topic: topic, Key: keys[0], Partition: -1}, nil
	case len(partitions) == 0:
		return live.Subject{Topic: topic, All: true, Partition: -1}, nil
	}
	p, err := strconv.ParseUint(partitions[0], 10, 31)
	if err != nil {
		return live.Subject{}, badRequest("partition must be a number")
	}
	return live.Subject{Topic: topic, All: true, Partition: int32(p)}, nil
}

// healthz says whether clients should be sent here.
func (n *Node) healthz(w http.ResponseWriter, _ *http.Request) {
	if err := n.Ready(); err != nil {
		unavailable(err.Error(), healthRetry).Write(w)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, "ok\n")
}
