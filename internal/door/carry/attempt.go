package carry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"time"

	"postroad/internal/door/policy"
)

// attempt is one request at one origin.
type attempt struct {
	race    *race
	origin  *policy.Origin
	flight  *policy.Flight
	conn    flight
	number  int
	hedge   bool
	begun   time.Time
	body    []byte        // where kept; not read once it is written
	reader  *bytes.Reader // of body
	answers held          // of an answer that was read whole
	written bool          // all of the request; guarded by race.mu
	let     bool          // body is held no longer; guarded by race.mu
	orphan  bool          // it runs on after its race; guarded by race.mu
	dropped bool          // its outcome came after its race; guarded by race.mu

	// Set by run before the outcome is delivered.
	status int
	took   time.Duration
	own    bool // the answer is a problem of a gateway

	cancel context.CancelCauseFunc
	ended  sync.Once // of flight
}

// start counts the attempt as under way.
func (a *attempt) start() {
	r := a.race
	a.flight = a.origin.Begin()
	if r.wait > 0 || r.lent != nil {
		a.flight.Patient() // the time is the client's, not the origin's
	}
	a.cancel = func(error) {}
	a.conn = flight{once: r.carrier.guards.once(r.req.Method), wrote: a.wrote, began: a.flight.FirstByte}
}

func (a *attempt) wrote() {
	a.race.mu.Lock()
	defer a.race.mu.Unlock()
	a.written = true
	if a.orphan {
		a.letGo()
	}
}

// goOn lets the attempt go on after its race, without the body: an origin that
// stops under load would take the memory for bodies from the requests that need it
// then. What is not written to its end soon is cut: it is no request that an origin
// could store. The caller holds race.mu.
func (a *attempt) goOn() {
	a.orphan = true
	if a.written {
		a.letGo()
		return
	}
	time.AfterFunc(graceWrite, func() {
		a.race.mu.Lock()
		defer a.race.mu.Unlock()
		if !a.written {
			a.cancel(errOver)
		}
	})
}

// keptBody is the body that was kept, from its beginning.
func (a *attempt) keptBody() io.ReadCloser {
	a.reader = bytes.NewReader(a.body)
	return kept(a.reader)
}

// letGo gives the body up: nothing of it will be sent any more. The caller holds
// race.mu.
func (a *attempt) letGo() {
	if a.let {
		return
	}
	a.let = true
	if a.written && a.reader != nil { // else it may still be read, where the answer came early
		a.reader.Reset(nil) // the request, which holds it, is needed for the answer
	}
	a.body = nil
	a.race.held.leave()
}

// begin has run take the attempt to its end, on a goroutine of its own.
func (a *attempt) begin(run func(context.Context) outcome) {
	r := a.race
	c := r.carrier
	// What is stored must be seen to its end, so a kept POST hangs on the
	// carrier and not on its client.
	parent := r.req.Context()
	if r.detached() {
		parent = c.base
	}
	ctx, cancel := context.WithCancelCause(parent)
	a.cancel, a.conn.cancel = cancel, cancel
	r.held.enter()
	c.flying.Add(1)
	go func() {
		defer c.flying.Done()
		if r.detached() {
			timer := time.AfterFunc(c.opts.ResponseTimeout, func() { cancel(errSlow) })
			defer timer.Stop()
		}
		o := run(ctx)
		r.deliver(o)
	}()
}

func (a *attempt) elapsed() time.Duration { return a.race.carrier.deps.Now().Sub(a.begun) }

// run sends the request and says what became of it.
func (a *attempt) run(ctx context.Context) outcome {
	t := a.race.carrier.target(a.origin.Name())
	if t == nil {
		a.end(policy.Abandoned)
		return outcome{attempt: a, fate: unsent, err: errNoAddress}
	}
	res, err := a.send(ctx, t) //nolint:bodyclose // the outcome has it
	return a.outcome(ctx, res, err)
}

func (a *attempt) outcome(ctx context.Context, res *http.Response, err error) outcome {
	a.took = a.elapsed()
	if err != nil {
		return a.fail(ctx, err)
	}
	a.status = res.StatusCode
	return a.answer(ctx, res)
}

// send gives the request to a connection. One that found only closed
// connections is as good as new, and gets another.
func (a *attempt) send(ctx context.Context, t *target) (*http.Response, error) {
	trip := t.carries.RoundTrip
	if a.small(t) {
		trip = func(out *http.Request) (*http.Response, error) {
			return t.lines.exchange(ctx, out, &a.conn, a.race.carrier.opts.ResponseTimeout)
		}
	} else {
		ctx = httptrace.WithClientTrace(ctx, a.conn.trace())
	}
	out := a.outgoing(ctx, t)
	for range 3 {
		res, err := trip(out)
		if err == nil {
			return res, nil
		}
		if a.race.carrier.guards.sent(&a.conn) || !a.conn.reused || ctx.Err() != nil || !a.race.lent.whole() {
			return nil, err
		}
		if a.race.kept {
			out.Body = a.keptBody()
		}
	}
	return trip(out)
}

// small tells what goes over a line.
func (a *attempt) small(t *target) bool {
	r := a.race
	if t.lines == nil || r.lent != nil || r.call.Kind == Stream || len(a.body) > maxLineBody {
		return false
	}
	return r.rule.keyed && r.kept || reads(r.req.Method) && len(r.req.Header["Upgrade"]) == 0
}

// outgoing is the request as this origin gets it.
func (a *attempt) outgoing(ctx context.Context, t *target) *http.Request {
	r := a.race
	out := r.req.WithContext(ctx)
	out.URL = t.address(r.req)
	out.Host = "" // the origin's; the client's stands in X-Forwarded-Host
	out.GetBody = nil
	switch {
	case r.kept:
		out.Body = a.keptBody()
		out.ContentLength, out.TransferEncoding, out.Trailer = int64(len(a.body)), nil, nil
	case r.lent != nil:
		out.Body = r.lent
		if out.ContentLength < 0 {
			// Without this the transport reads from the body of a GET before it
			// has written anything, to see whether there is one.
			out.TransferEncoding = []string{"chunked"}
		}
	default:
		out.Body = nil
	}
	mark := ""
	if r.rule.keyed {
		mark = r.carrier.guards.mark(r, a.number)
	}
	if mark == "" && !r.minted && !r.kept && len(r.req.Header[AttemptHeader]) == 0 {
		return out
	}
	out.Header = maps.Clone(r.req.Header)
	delete(out.Header, AttemptHeader)
	if mark != "" {
		out.Header[AttemptHeader] = []string{mark}
	}
	if r.minted {
		out.Header[KeyHeader] = []string{r.carrier.guards.key(r, a.number)}
	}
	if r.kept {
		delete(out.Header, "Expect") // the body is here, and goes at once
	}
	return out
}

// address is the URL of a request at this target. It is made of path and query
// alone: what else a client puts into a URL could take their place.
func (t *target) address(req *http.Request) *url.URL {
	u := req.URL
	return &url.URL{
		Scheme: t.url.Scheme, Host: t.url.Host, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery, ForceQuery: u.ForceQuery,
	}
}

// fail is the end of an attempt without the header of an answer.
func (a *attempt) fail(ctx context.Context, err error) outcome {
	sent := a.race.carrier.guards.sent(&a.conn)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	a.cancel(err)
	o := outcome{attempt: a, fate: unsent, err: err}
	if sent {
		o.fate = unknown
	}
	dial, undialed := errors.AsType[*dialError](err)
	_, client := errors.AsType[*bodyError](err)
	switch {
	case client || a.abandoned(err) || Lacking(err):
		a.end(policy.Abandoned)
	case undialed && dial.fault == late:
		a.end(policy.Unopened)
	case undialed:
		a.end(policy.Unreachable)
	default:
		a.end(policy.Broken)
	}
	return o
}

// abandoned: it is not the origin's doing that there is no answer.
func (a *attempt) abandoned(err error) bool {
	if errors.Is(err, errOver) || errors.Is(err, errClosed) {
		return true
	}
	r := a.race
	if r.endless && a.took >= r.carrier.opts.ResponseTimeout {
		return true // the client wanted to wait longer than that
	}
	return !r.detached() && r.req.Context().Err() != nil
}

// answer is the end of an attempt that brought the header of an answer.
func (a *attempt) answer(ctx context.Context, res *http.Response) outcome {
	r := a.race
	o := outcome{attempt: a, res: res}
	if !r.rule.keyed {
		if o.fate = r.carrier.guards.judge(r.rule, res, nil); o.fate == settled {
			a.follow(res)
		} else {
			a.end(policy.Answered(res.StatusCode))
			res.Body = &followed{ReadCloser: res.Body, end: func(error) { a.cancel(errOver) }, patience: a.patienceWith(res)}
		}
		return o
	}
	if !r.kept { // a kept one has had such a time since it began
		timer := time.AfterFunc(r.carrier.opts.ResponseTimeout, func() { a.cancel(errSlow) })
		defer timer.Stop()
	}
	body, whole, err := r.carrier.guards.whole(res, &a.answers)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		a.cancel(err)
		if a.abandoned(err) {
			a.end(policy.Abandoned)
		} else {
			a.end(policy.Broken)
		}
		return outcome{attempt: a, fate: unknown, err: err}
	}
	o.fate = r.carrier.guards.judge(r.rule, res, body)
	if !whole {
		a.follow(res)
		return o
	}
	a.own = res.StatusCode == http.StatusGatewayTimeout && isOwnProblem(res, body)
	a.cancel(errOver) // nothing is left to be cut
	a.end(policy.Answered(res.StatusCode))
	return o
}

// follow keeps the attempt in flight until its answer was read or given up.
func (a *attempt) follow(res *http.Response) {
	status := res.StatusCode
	end := func(err error) {
		if err != nil && a.race.req.Context().Err() == nil {
			a.end(policy.Broken)
		} else {
			a.end(policy.Answered(status))
		}
		a.cancel(errOver)
	}
	b := &followed{ReadCloser: res.Body, end: end, patience: a.patienceWith(res)}
	if w, ok := res.Body.(io.Writer); ok { // an upgraded connection
		res.Body = &followedBoth{followed: b, Writer: w}
		return
	}
	res.Body = b
}

// end tells the policy once.
func (a *attempt) end(result policy.Result) {
	a.ended.Do(func() { a.flight.End(result) })
}

func (a *attempt) report(o *outcome) {
	a.race.carrier.deps.Attempted(Attempted{
		Origin: a.origin.Name(), Number: a.number, Hedge: a.hedge, Sent: o.fate != unsent,
		Status: a.status, Won: o.won, Took: a.took, Err: o.err,
	})
}

// isOutcomeUnknown: a gateway itself says so, in words of its own.
func (o *outcome) isOutcomeUnknown() bool { return o.res != nil && o.attempt.own }

// followed is the body of an answer whose end is told: with an error where it
// broke off.
type followed struct {
	io.ReadCloser
	end      func(error)
	one      sync.Once
	patience *patience
}

// Read implements io.Reader.
func (f *followed) Read(p []byte) (int, error) {
	n, err := f.patience.read(f.ReadCloser, p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.one.Do(func() { f.end(err) })
	}
	return n, err
}

// Close implements io.Closer.
func (f *followed) Close() error {
	err := f.ReadCloser.Close()
	f.one.Do(func() { f.end(nil) })
	return err
}

// followedBoth is followed for an upgraded connection.
type followedBoth struct {
	*followed
	io.Writer
}
