package carry

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"postroad/internal/door/policy"
)

// maxFirstBody is up to how many bytes of header and body are written by the goroutine of the
// client itself: as much as the empty buffer of a socket surely takes, so that
// writing does not wait for the origin.
const maxFirstBody = 8 << 10

// maxFirstWait is for how long that goroutine waits for an answer at most. While
// it does it hangs on nothing else: neither on its client nor on the carrier.
const maxFirstWait = time.Second

// first makes the first attempt. The usual one, a small request whose whole
// answer comes before it is late, needs no other goroutine, channel or timer.
// Whatever turns out to be unusual goes on as any other attempt does; done says
// that nothing is left to go on.
func (r *race) first(to *policy.Origin) (o outcome, done bool) {
	a := r.attempt(to, false)
	t := r.carrier.target(to.Name())
	if t == nil || !a.small(t) || len(r.body)+length(r.req) > maxFirstBody || r.delay <= 0 || r.wait > 0 {
		r.launched(a, a.run)
		return o, false
	}
	l := t.lines.take()
	if l == nil {
		r.launched(a, a.run)
		return o, false
	}
	a.conn.reused, a.conn.wire, a.conn.before = true, l.wire, l.wire.written.Load()
	stop := func() bool { return true }
	if !r.detached() {
		stop = context.AfterFunc(r.req.Context(), l.cut)
	}
	out := a.outgoing(r.req.Context(), t)
	err := l.write(out)
	if err != nil && !a.conn.sent() { // it was closed, and the request is as good as new
		stop()
		l.cut()
		r.launched(a, a.run)
		return o, false
	}
	if err == nil {
		a.conn.wrote()
		l.allowed = maxAnswerHeader
		if err = l.conn.SetReadDeadline(time.Now().Add(min(r.delay, maxFirstWait))); err == nil {
			_, err = l.in.Peek(1)
		}
		if err == nil && l.complete(r.req.Method) {
			a.conn.began()
			return a.read(t, l, out, stop), true
		}
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			r.launched(a, a.rest(t, l, out, stop, nil))
			return o, false
		}
	}
	r.launched(a, a.rest(t, l, out, stop, err))
	return o, false
}

// length is about how long the header of a request is.
func length(req *http.Request) int {
	n := len(req.URL.Path) + len(req.URL.RawQuery)
	for name, values := range req.Header {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// read takes an answer that is there.
func (a *attempt) read(t *target, l *line, out *http.Request, stop func() bool) outcome {
	res, err := l.answer(out) //nolint:bodyclose // the outcome has it
	if err != nil {
		stop()
		l.cut()
		return a.outcome(a.race.req.Context(), nil, unexpected(err))
	}
	return a.outcome(a.race.req.Context(), t.lines.lend(l, out, res, stop), nil) //nolint:bodyclose // the outcome has it
}

// rest waits for the answer to a request that was written, or of which something
// was before writeErr.
func (a *attempt) rest(t *target, l *line, out *http.Request, stop func() bool, writeErr error) func(context.Context) outcome {
	stop()
	return func(ctx context.Context) outcome {
		stop := context.AfterFunc(ctx, l.cut)
		res, err := t.lines.await(l, out, &a.conn, a.race.carrier.opts.ResponseTimeout, stop, writeErr) //nolint:bodyclose // the outcome has it
		return a.outcome(ctx, res, err)
	}
}
