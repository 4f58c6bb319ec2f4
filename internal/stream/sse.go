package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"postroad/internal/auth"
	"postroad/internal/httpserve"
	"postroad/internal/stream/live"
)

// start is where a viewer wants to begin.
type start struct {
	// since is the position it came with, where it did.
	since *position
	// lost says why what it came with is none.
	lost string
	// beginning wants all that the hub still holds; end nothing but what is new.
	beginning, end bool
}

// startOf reads Last-Event-ID and from. The header, which a browser adds by
// itself when it connects again, goes before the parameter, which it repeats as
// the page wrote it. A header that is no position is not refused: the browser
// could do nothing about it. It is told of the gap.
func startOf(r *http.Request) (start, *httpserve.Problem) {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		p, err := parsePosition(id)
		if err != nil || p.reverse {
			return start{lost: "the id of the last event is no position of this topic"}, nil
		}
		return start{since: &p}, nil
	}
	switch from := r.URL.Query().Get("from"); from {
	case "", "last":
		return start{}, nil
	case "beginning":
		return start{beginning: true}, nil
	case "end":
		return start{end: true}, nil
	default:
		p, err := parsePosition(from)
		if err != nil {
			return start{}, badRequest("from must be beginning, end, last or the id of an event")
		}
		if p.reverse {
			return start{}, badRequest(reverseOnly)
		}
		return start{since: &p}, nil
	}
}

// events is GET /v1/topics/{topic}/stream, an event stream: see the package's
// documentation in docs/stream.md.
func (n *Node) events(w http.ResponseWriter, r *http.Request, topic string) {
	subject, problem := subjectOf(r, topic)
	var from start
	if problem == nil {
		from, problem = startOf(r)
	}
	var who *auth.Principal
	if problem == nil {
		who, problem = n.admit(r, subject)
	}
	if problem == nil && r.Method != http.MethodHead {
		problem = n.watch(w, r, subject, from, who)
	}
	switch {
	case problem == nil:
		if r.Method == http.MethodHead {
			eventHeader(w.Header())
		}
	case problem.Status == http.StatusServiceUnavailable && strings.Contains(r.Header.Get("Accept"), "text/event-stream"):
		n.comeBack(w, problem)
	default:
		problem.Write(w)
	}
}

func eventHeader(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
}

// comeBack tells a browser to connect again. Any status but 200 would make its
// EventSource give up for good, although another node, or this one in a moment,
// can serve it.
func (n *Node) comeBack(w http.ResponseWriter, p *httpserve.Problem) {
	eventHeader(w.Header())
	fmt.Fprintf(w, "retry: %d\n: %s\n\n", max(p.RetryAfter, n.retry()).Milliseconds(), p.Detail)
}

// retry is what one browser is told to wait before it connects again.
func (n *Node) retry() time.Duration { return n.opts.SSE.Retry + rand.N(n.opts.SSE.Retry) }

// watch serves one viewer to its end. The problem is nil once an answer has begun.
func (n *Node) watch(w http.ResponseWriter, r *http.Request, subject live.Subject, from start, who *auth.Principal) *httpserve.Problem {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	last := &lastWrite{out: http.NewResponseController(w)}
	defer last.over()
	place, err := n.connections.open(addressOf(r), func(why leave) {
		cancel(&leaveError{why})
		last.hurry()
	})
	if err == nil {
		defer place.done()
		if !who.Anonymous {
			err = place.identify(who.Name)
		}
	}
	if err != nil {
		n.metrics.refusals.WithLabelValues(refusalReason(err)).Inc()
		return refused(err)
	}
	if !who.Expires.IsZero() {
		expired := time.AfterFunc(time.Until(who.Expires), func() { cancel(&leaveError{leaveExpired}) })
		defer expired.Stop()
	}
	v := newViewer(n, w, subject)
	defer v.close()
	if problem := v.begin(ctx, from); problem != nil {
		return problem
	}
	n.metrics.opened("sse")
	defer n.metrics.closed("sse")
	err = v.run(ctx)
	n.metrics.ended.WithLabelValues(endedBy(ctx, err)).Inc()
	n.log.Debug("event stream ended", "subject_topic", subject.Topic, "err", errors.Join(err, context.Cause(ctx)))
	return nil
}

// lastWrite hurries up a write that is under way when the node ends the stream:
// without it a viewer that reads nothing would hold up a node that stops for as
// long as it may take to take what it is sent.
type lastWrite struct {
	mu   sync.Mutex
	out  *http.ResponseController
	done bool // the handler has returned; guarded by mu
}

// goodbyeTimeout is how long a viewer may take to take what is left for it when
// the node ends its stream.
const goodbyeTimeout = 2 * time.Second

func (l *lastWrite) hurry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.done { // the connection may serve another request by now
		_ = l.out.SetWriteDeadline(time.Now().Add(goodbyeTimeout))
	}
}

// over says that the handler returns. The connection may serve other requests
// afterwards.
func (l *lastWrite) over() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = true
	_ = l.out.SetWriteDeadline(time.Time{})
}

// leaveError is the cause by which the node ends a viewer's context.
type leaveError struct{ why leave }

func (e *leaveError) Error() string { return "the node ended it: " + e.why.String() }

// endedBy names for the metrics who ended a stream.
func endedBy(ctx context.Context, err error) string {
	var left *leaveError
	switch {
	case errors.As(context.Cause(ctx), &left):
		return left.why.String()
	case ctx.Err() != nil:
		return "client"
	case errors.Is(err, errSlow):
		return "slow"
	case errors.Is(err, live.ErrChanged):
		return "changed"
	}
	return "write"
}

// addressOf is the client's IP address, or that of a proxy before it.
func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
