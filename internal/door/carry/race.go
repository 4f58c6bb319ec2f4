package carry

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"postroad/internal/door/policy"
)

const (
	// mostSent bounds how many attempts of one request may have arrived.
	mostSent = 3
	// mostOrphans bounds the attempts that run on although their request is
	// answered; beyond, they are ended.
	mostOrphans = 1024
	// graceWrite is how long an attempt may go on writing its request although the
	// race is over.
	graceWrite = 250 * time.Millisecond
	// A request that is late but gets no hedge asks again, ever more rarely up to
	// this.
	slowestAsk = time.Second
)

// race takes one request to origins until an answer settles it. It runs on the
// goroutine of RoundTrip; each attempt has its own.
//
// What is told to the client follows from what is known of all attempts at its
// end:
//
//	an answer settles it            that answer
//	else one may have been executed outcome-unknown (*Attempt with Sent), though
//	                                another was refused: "not stored" would be
//	                                a lie
//	else one was refused            the first refusal
//	else nothing was sent           *Attempt without Sent, *NoOrigin
type race struct {
	carrier  *Carrier
	req      *http.Request
	call     Call
	rule     rule
	key      string // field Idempotency-Key
	minted   bool
	affinity []byte
	wait     time.Duration // asked for by Prefer, as far as it counts
	endless  bool          // more than that was asked for
	body     []byte        // where kept
	kept     bool
	lent     *lent // else; nil without a body
	held     held  // of body

	tried   []*policy.Origin
	running []*attempt
	sent    int // attempts that may have arrived or still may
	ended   []outcome

	timer *time.Timer
	due   time.Time
	delay time.Duration

	results chan outcome
	mu      sync.Mutex
	over    bool // nobody receives results any more; guarded by mu
}

// outcome is what became of an attempt.
type outcome struct {
	attempt *attempt
	fate    fate
	res     *http.Response // nil where there is no whole answer
	err     error
	won     bool // its answer is the client's
}

func (r *race) run() (*http.Response, error) {
	defer r.finish()
	to := r.pick(false)
	if to == nil {
		return nil, &NoOrigin{Key: r.key}
	}
	if o, done := r.first(to); done {
		if res, err, done := r.take(o); done {
			return res, err
		}
	}
	defer r.timer.Stop() // an attempt runs, so there is one
	var gone <-chan struct{}
	if r.detached() {
		gone = r.req.Context().Done() // attempts that are not detached end with it by themselves
	}
	for {
		select {
		case o := <-r.results:
			if res, err, done := r.take(o); done {
				return res, err
			}
		case <-r.timer.C:
			r.overdue()
		case <-gone:
			return nil, &Attempt{Origin: r.running[0].origin.Name(), Sent: true, Key: r.key, Err: context.Cause(r.req.Context())}
		}
	}
}

// take counts the outcome of an attempt. done: the race is over.
func (r *race) take(o outcome) (res *http.Response, err error, done bool) { //nolint:revive // the order of RoundTrip
	for i, a := range r.running {
		if a == o.attempt {
			r.running = append(r.running[:i], r.running[i+1:]...)
			break
		}
	}
	if o.fate == unsent {
		r.sent--
	}
	o.won = o.fate == settled
	r.ended = append(r.ended, o)
	if broken, ok := errors.AsType[*bodyError](o.err); ok {
		return nil, &Body{Key: r.key, Err: broken.err}, true
	}
	if o.won {
		return r.won(&o), nil, true
	}
	if r.again(o) {
		return nil, nil, false
	}
	if len(r.running) > 0 {
		return nil, nil, false
	}
	res, err = r.lost()
	return res, err, true
}

// again begins another attempt after one that settled nothing, where it may.
func (r *race) again(o outcome) bool {
	if r.req.Context().Err() != nil || r.lent != nil && !r.lent.whole() {
		return false
	}
	switch o.fate {
	case unsent: // is no repeat
		return r.launch(r.pick(false), false)
	case elsewhere, unknown:
		if !r.rule.repeat || r.sent >= mostSent {
			return false
		}
	default:
		return false
	}
	to := r.pick(false)
	if to == nil || !r.allowed() || !r.launch(to, false) {
		return false
	}
	r.carrier.counts.repeats.Add(1)
	return true
}

// allowed asks the budget; GET and HEAD are free to be repeated.
func (r *race) allowed() bool {
	if !r.rule.keyed || r.carrier.group.Spend() {
		return true
	}
	r.carrier.counts.refused.Add(1)
	return false
}

func (r *race) pick(hedge bool) *policy.Origin {
	return r.carrier.group.Pick(policy.Ask{Affinity: r.affinity, Sticky: r.call.Sticky, Tried: r.tried, Hedge: hedge})
}

// detached: an attempt does not end with its client.
func (r *race) detached() bool { return r.rule.keyed && r.kept }

// attempt counts another attempt.
func (r *race) attempt(to *policy.Origin, hedge bool) *attempt {
	a := &attempt{race: r, origin: to, hedge: hedge, number: r.sent + 1, begun: r.carrier.deps.Now(), body: r.body}
	a.answers.from = &r.carrier.memory
	r.sent++
	r.tried = append(r.tried, to)
	r.running = append(r.running, a)
	r.delay, _ = r.carrier.group.HedgeAfter(to)
	r.due = a.begun.Add(r.delay + r.wait)
	a.start()
	return a
}

// launch begins an attempt at an origin; nil is none.
func (r *race) launch(to *policy.Origin, hedge bool) bool {
	if to == nil {
		return false
	}
	a := r.attempt(to, hedge)
	r.launched(a, a.run)
	return true
}

// launched hands an attempt to a goroutine, and sets the timer to when it is
// late.
func (r *race) launched(a *attempt, run func(context.Context) outcome) {
	if r.results == nil {
		r.results, r.timer = make(chan outcome, mostSent), time.NewTimer(time.Hour)
	}
	a.begin(run)
	r.timer.Reset(max(r.due.Sub(r.carrier.deps.Now()), 0))
}

func (r *race) arm(after time.Duration) {
	r.due = r.carrier.deps.Now().Add(after)
	r.timer.Reset(after)
}

// overdue: the last attempt has waited as long as answers usually take. It
// tells the policy, and sends a hedge where that may help. How late the timer
// itself is tells the policy whether this machine stood still, rather than the
// origin: then answers lie in sockets unread.
func (r *race) overdue() {
	if len(r.running) == 0 {
		return
	}
	a := r.running[len(r.running)-1]
	r.carrier.group.Beat(r.carrier.deps.Now().Sub(r.due))
	if r.prompt() {
		a.flight.Silent()
	}
	if r.rule.hedge && r.sent < mostSent && r.hedge(a) {
		return
	}
	r.arm(r.delay) // what forbids a hedge now may pass
	r.delay = min(r.delay*3/2, max(r.delay, slowestAsk))
}

// prompt: an origin that is well begins its answer soon, so that silence speaks
// against it. Others may rightly take long, such as a long poll, a report or a
// question for history: a few of them at once, and nothing else under way, would
// isolate an origin that is well and end its streams. Probes find it where only
// those are asked.
func (r *race) prompt() bool { return r.rule.keyed || len(r.req.Header["Upgrade"]) > 0 }

func (r *race) hedge(slow *attempt) bool {
	if r.req.Context().Err() != nil {
		return false
	}
	to := r.pick(true)
	if to == nil {
		return false
	}
	if !r.carrier.group.SpendHedge(slow.origin) {
		r.carrier.counts.refused.Add(1)
		return false
	}
	r.carrier.counts.hedges.Add(1)
	return r.launch(to, true)
}

// won makes the answer of o the client's.
func (r *race) won(o *outcome) *http.Response {
	o.res.Header.Set(OriginHeader, o.attempt.origin.Name())
	if r.key != "" && len(o.res.Header[KeyHeader]) == 0 {
		o.res.Header[KeyHeader] = []string{r.key}
	}
	o.res.Request = r.req
	return o.res
}

// lost is the end of a race in which nothing settled the request.
func (r *race) lost() (*http.Response, error) {
	var perhaps, not *outcome
	for i := range r.ended {
		switch o := &r.ended[i]; o.fate {
		case unknown:
			if perhaps == nil || perhaps.res == nil && o.res != nil {
				perhaps = o
			}
		case elsewhere, refused:
			if not == nil {
				not = o
			}
		}
	}
	switch {
	case perhaps != nil && perhaps.isOutcomeUnknown():
		return r.pass(perhaps), nil
	case perhaps != nil:
		failed := &Attempt{Origin: perhaps.attempt.origin.Name(), Sent: true, Status: perhaps.attempt.status, Key: r.key, Err: perhaps.err}
		return nil, failed
	case not != nil:
		return r.pass(not), nil
	}
	last := r.ended[len(r.ended)-1]
	return nil, &Attempt{Origin: last.attempt.origin.Name(), Key: r.key, Err: last.err}
}

// pass gives the answer of an ended attempt to the client after all.
func (r *race) pass(o *outcome) *http.Response {
	o.won = true
	return r.won(o)
}

// finish leaves the attempts that still run to themselves: those of a POST that
// an origin may be storing go on, the others are cut.
func (r *race) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if r.call.Tried != nil {
		*r.call.Tried = len(r.tried)
	}
	for len(r.results) > 0 {
		r.drop(<-r.results)
	}
	for i := range r.ended {
		o := &r.ended[i]
		if !o.won {
			discard(o.res)
		}
		o.attempt.answers.give()
		o.attempt.report(o)
	}
	orphans := &r.carrier.counts.orphans
	for _, a := range r.running {
		switch {
		case a.dropped:
		case !r.detached():
			a.cancel(errOver)
		case orphans.Add(1) > mostOrphans:
			orphans.Add(-1)
			a.cancel(errOver)
		default:
			a.goOn()
		}
	}
	r.body = nil
}

// deliver hands an outcome to the race or, where that is over, drops it.
func (r *race) deliver(o outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.attempt.letGo()
	if !r.over {
		r.results <- o
		return
	}
	r.drop(o)
}

// drop ends what came too late. The caller holds mu.
func (r *race) drop(o outcome) {
	discard(o.res)
	if o.attempt.orphan {
		r.carrier.counts.orphans.Add(-1)
	}
	o.attempt.dropped = true
	o.attempt.answers.give()
	o.attempt.report(&o)
}

// mark is the value of Postroad-Attempt, empty for none. The first attempt of a
// key that was minted here says 1, or the gateway would take it for a repeat.
func (r *race) mark(number int) string {
	values := r.req.Header[AttemptHeader]
	switch {
	case r.call.Trusted && len(values) > 0:
		n, err := strconv.ParseUint(values[0], 10, 16)
		if err != nil || n == 0 || len(values) > 1 {
			return values[0] // the gateway refuses it
		}
		return strconv.Itoa(min(int(n)-1+number, 1<<16-1))
	case number == 1 && !r.minted:
		return ""
	}
	return strconv.Itoa(number)
}

// discard ends an answer that is not passed on, and with it its connection: to
// read the rest would mean to wait for it. res may be nil.
func discard(res *http.Response) {
	if res != nil {
		_ = res.Body.Close()
	}
}
