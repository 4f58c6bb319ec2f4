package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"postroad/internal/httpserve"
)

const (
	// keepAlive is how often a quiet stream says that it is there.
	keepAlive = 15 * time.Second
	// shortBreath is the least time between two writes to a viewer, and
	// longBreath that after a batch of manyMessages or more: under load a page
	// needs time to draw, without it a message should be seen as it arrives.
	shortBreath  = 10 * time.Millisecond
	longBreath   = 150 * time.Millisecond
	manyMessages = 20
	// writeTimeout is how long a viewer may take to take what it is sent.
	writeTimeout = 10 * time.Second
	// reconnect is what a browser waits before it connects again.
	reconnect = 2 * time.Second
)

// messages is GET /console/api/messages, an event stream:
//
//	hub       {"state":"unknown|up|down","since","error"}, at first and on change
//	messages  a list of messages, oldest first; first what is kept
//	skipped   {"count"}: so many messages before the next are not shown
//
// The id of an event is the viewer's position, so that a browser that connects
// again goes on where it was.
func (c *Console) messages(w http.ResponseWriter, r *http.Request) {
	if !c.enter() {
		httpserve.Problem{
			Name: "unavailable", Status: http.StatusServiceUnavailable, Title: "Not available now",
			Detail: fmt.Sprintf("%d pages are watching, which is the limit", c.opts.MaxViewers), RetryAfter: 5 * time.Second,
		}.Write(w)
		return
	}
	defer c.leave()
	v := &viewer{console: c, w: w, out: http.NewResponseController(w), next: c.resume(r.Header.Get("Last-Event-ID"))}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	// The connection may serve other requests afterwards.
	defer v.out.SetWriteDeadline(time.Time{})
	if err := v.run(r); err != nil {
		c.log.Debug("viewer dropped", "err", err)
	}
}

func (c *Console) enter() bool {
	if c.viewers.Add(1) > int64(c.opts.MaxViewers) {
		c.viewers.Add(-1)
		return false
	}
	c.metrics.viewers.Inc()
	return true
}

func (c *Console) leave() {
	c.viewers.Add(-1)
	c.metrics.viewers.Dec()
}

// resume reads the id of the last event a viewer got, which counts only within
// one run of the console.
func (c *Console) resume(id string) uint64 {
	run, at, _ := strings.Cut(id, ".")
	n, err := strconv.ParseUint(at, 10, 64)
	if run != c.run || err != nil {
		return c.recent.oldest()
	}
	return n
}

// viewer is one open page.
type viewer struct {
	console *Console
	w       http.ResponseWriter
	out     *http.ResponseController
	next    uint64 // number of the message it gets next
	hub     hubState
	buf     bytes.Buffer
}

// run sends until the viewer goes, cannot take what it is sent, or the
// listener drains.
func (v *viewer) run(r *http.Request) error {
	fmt.Fprintf(&v.buf, "retry: %d\n\n", reconnect.Milliseconds())
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-r.Context().Done():
			return nil
		case <-httpserve.Draining(r.Context()):
			return nil
		}
		s, err := v.show()
		if err != nil {
			return err
		}
		breath := shortBreath
		if len(s.messages) >= manyMessages {
			breath = longBreath
		}
		pause.Reset(breath)
		select {
		case <-s.changed:
		case <-alive.C:
			v.buf.WriteString(": still here\n\n")
		case <-r.Context().Done():
			return nil
		case <-httpserve.Draining(r.Context()):
			return nil
		}
	}
}

// show sends what is new, and returns it.
func (v *viewer) show() (view, error) {
	s := v.console.recent.from(v.next)
	if s.hub != v.hub {
		v.hub = s.hub
		v.event("hub", s.hub)
	}
	if s.skipped > 0 {
		v.console.metrics.skipped.Add(float64(s.skipped))
		v.event("skipped", map[string]uint64{"count": s.skipped})
	}
	v.next = s.next
	if len(s.messages) > 0 {
		v.event("messages", s.messages)
	}
	if v.buf.Len() == 0 {
		return s, nil
	}
	if err := v.out.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return s, err
	}
	if _, err := v.w.Write(v.buf.Bytes()); err != nil {
		return s, err
	}
	v.buf.Reset()
	return s, v.out.Flush()
}

// event adds one event to buf. JSON has no line breaks in it.
func (v *viewer) event(name string, data any) {
	b, err := json.Marshal(data)
	if err != nil { // our own types, which JSON can hold
		v.console.log.Error("event could not be written", "err", err)
		return
	}
	fmt.Fprintf(&v.buf, "id: %s.%d\nevent: %s\ndata: %s\n\n", v.console.run, v.next, name, b)
}
