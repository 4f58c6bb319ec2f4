package stream

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"postroad/internal/httpserve"
	"postroad/internal/stream/live"
)

const (
	// pastWait is how long a request may wait until the past can be read for it.
	pastWait = 10 * time.Second
	// healthRetry is when to look again at a node that is not ready.
	healthRetry = time.Second
)

// history reads the past, for some requests at a time.
func (n *Node) history(ctx context.Context, r live.HistoryRequest) (*live.History, error) {
	give, err := n.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer give()
	return n.engine.History(ctx, r)
}

// slot waits until one more request may read the past. Without the bound the
// answers of a crowd that asks at once would be in memory together.
func (n *Node) slot(ctx context.Context) (give func(), err error) {
	timer := time.NewTimer(pastWait)
	defer timer.Stop()
	select {
	case n.slots <- struct{}{}:
		return func() { <-n.slots }, nil
	case <-timer.C:
		return nil, live.ErrBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// lastJSON is the answer of GET /v1/topics/{topic}/last.
type lastJSON struct {
	Topic   string       `json:"topic"`
	Key     string       `json:"key"`
	Message *messageJSON `json:"message"`
	// Position is where a stream goes on, given to it as from.
	Position string `json:"position,omitempty"`
}

// last is GET /v1/topics/{topic}/last?key=: the last message of a key.
func (n *Node) last(w http.ResponseWriter, r *http.Request, topic string) {
	subject, problem := subjectOf(r, topic)
	if problem == nil && subject.All {
		problem = badRequest("say of which key: last?key=…; an empty key means messages without one")
	}
	if problem == nil {
		_, problem = n.admit(r, subject)
	}
	if problem != nil {
		problem.Write(w)
		return
	}
	give, err := n.slot(r.Context())
	if err != nil {
		n.problemOf(r.Context(), err).Write(w)
		return
	}
	defer give()
	records, at, err := n.engine.Last(r.Context(), subject)
	if err != nil {
		n.problemOf(r.Context(), err).Write(w)
		return
	}
	answer := lastJSON{Topic: topic, Key: subject.Key, Position: positionOf(at).text()}
	if n := len(records); n > 0 { // one key has one, in whichever partition
		m := jsonOf(topic, records[n-1])
		answer.Message = &m
	}
	writeJSON(w, answer)
}

// historyJSON is the answer of GET /v1/topics/{topic}/history.
type historyJSON struct {
	Messages []messageJSON `json:"messages"`
	// Position is where the next request, or a stream, goes on, given as from; with
	// reverse=true only another such request.
	Position string `json:"position"`
	More     bool   `json:"more"`
}

// past is GET /v1/topics/{topic}/history?key=&from=&limit=&reverse=.
func (n *Node) past(w http.ResponseWriter, r *http.Request, topic string) {
	subject, problem := subjectOf(r, topic)
	if problem == nil {
		_, problem = n.admit(r, subject)
	}
	// Where a page began, the next request does not say: each may be one that goes
	// on from the oldest message held.
	req := live.HistoryRequest{Subject: subject, Repeats: true}
	if problem == nil {
		problem = n.readPast(r, &req)
	}
	if problem != nil {
		problem.Write(w)
		return
	}
	h, err := n.history(r.Context(), req)
	if err != nil {
		n.problemOf(r.Context(), err).Write(w)
		return
	}
	at := positionOf(h.Positions)
	at.reverse = req.Reverse
	answer := historyJSON{Messages: make([]messageJSON, 0, len(h.Records)), Position: at.text(), More: h.More}
	for _, rec := range h.Records {
		answer.Messages = append(answer.Messages, jsonOf(topic, rec))
	}
	writeJSON(w, answer)
}

// readPast reads what is asked of the history.
func (n *Node) readPast(r *http.Request, req *live.HistoryRequest) *httpserve.Problem {
	q := r.URL.Query()
	most := n.opts.History.MaxMessages
	req.Limit = min(100, most)
	if text := q.Get("limit"); text != "" {
		limit, err := strconv.Atoi(text)
		if err != nil || limit < 1 || limit > most {
			return badRequest("limit must be a number from 1 to " + strconv.Itoa(most))
		}
		req.Limit = limit
	}
	switch reverse := q.Get("reverse"); reverse {
	case "", "false":
	case "true":
		req.Reverse = true
	default:
		return badRequest("reverse must be true or false")
	}
	now, err := n.engine.Positions(req.Subject)
	if err != nil {
		return n.problemOf(r.Context(), err)
	}
	if len(now) > maxView {
		return badRequest("topic " + req.Subject.Topic + " has more partitions than a position holds: ask for a key or a partition")
	}
	switch from := q.Get("from"); {
	case from == "" || from == "beginning" && !req.Reverse || from == "end" && req.Reverse:
	case from == "end":
		req.Since = now
	case from == "beginning":
		return badRequest("with reverse=true from must be end or a position")
	default:
		p, err := parsePosition(from)
		if err != nil {
			return badRequest("from must be beginning, end or a position")
		}
		if p.reverse && !req.Reverse {
			return badRequest(reverseOnly)
		}
		req.Since = p.since(now)
	}
	return nil
}

// reverseOnly: going forward from there could leave out a message.
const reverseOnly = "from is a position of history with reverse=true, which only history with reverse=true goes on from"

func writeJSON(w http.ResponseWriter, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // what is encoded JSON can hold; a reader that went away misses nothing
}
