package carry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/door/policy"
	"postroad/internal/message"
)

// Attempted is what became of one attempt, for metrics and logs.
type Attempted struct {
	// Origin is where it went.
	Origin string
	// Number is its place among the attempts that may have arrived, from 1.
	Number int
	// Hedge says that another attempt was still waiting when it began.
	Hedge bool
	// Sent says that something of it may have reached the origin.
	Sent bool
	// Status is that of the answer; 0 where there was none.
	Status int
	// Won says that its answer was passed on.
	Won bool
	// Took is the time from its beginning to the header of the answer, or to
	// its failure.
	Took time.Duration
	// Err is why there was no whole answer; nil where there was one.
	Err error
}

// Deps are the collaborators of a Carrier.
type Deps struct {
	// Log takes changes of addresses and files; nil discards them.
	Log *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Attempted is told of each attempt once it has its answer or none. It must
	// not block; nil is told nothing.
	Attempted func(Attempted)
	// Resolve looks up a name; nil asks the resolver of the system.
	Resolve func(ctx context.Context, host string) ([]string, error)
}

// Stats are counts since the carrier was made.
type Stats struct {
	// Repeats are attempts after one that failed, Hedges those beside one that
	// was slow, Refused those that the budget did not allow.
	Repeats, Hedges, Refused int64
	// Minted are idempotency keys made for clients that sent none.
	Minted int64
	// Streamed are POSTs of messages whose body was not kept, and which could
	// not have been repeated.
	Streamed int64
	// Buffered is how many bytes are kept now.
	Buffered int64
	// Orphans is how many attempts run on now although their request is
	// answered.
	Orphans int64
	// Lacking are connections that could not be opened because this machine had
	// no port, file descriptor or memory left.
	Lacking int64
}

type counts struct{ repeats, hedges, refused, minted, streamed, orphans, lacking atomic.Int64 }

// Carrier is an http.RoundTripper over the origins of one group.
type Carrier struct {
	opts    Options
	group   *policy.Group
	deps    Deps
	memory  memory
	counts  counts
	targets atomic.Pointer[map[string]*target]
	guards  guards

	toldLack atomic.Pointer[time.Time] // when the log was told last; see lacked

	updating sync.Mutex // one Update at a time
	base     context.Context
	end      context.CancelCauseFunc
	flying   sync.WaitGroup // attempts
}

// guards are the decisions that keep a request from being executed twice where
// it must not be, and from being reported wrongly. Tests take one after another
// away, to see that each is needed.
type guards struct {
	rule  func(*http.Request, Kind) rule
	judge func(rule, *http.Response, []byte) fate
	sent  func(*flight) bool
	once  func(method string) bool // the transport may not repeat it
	mark  func(r *race, number int) string
	key   func(r *race, number int) string // of an attempt where it was minted
	whole func(*http.Response, *held) ([]byte, bool, error)
}

func ownGuards() guards {
	return guards{
		rule: ruleFor, judge: judge, sent: (*flight).sent, mark: (*race).mark, whole: readWhole,
		once: func(method string) bool { return !reads(method) },
		key:  func(r *race, _ int) string { return r.key },
	}
}

// New makes a carrier; it opens no connection yet. Close ends it.
func New(opts Options, group *policy.Group, targets []Target, deps Deps) (*Carrier, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Attempted == nil {
		deps.Attempted = func(Attempted) {}
	}
	if deps.Resolve == nil {
		deps.Resolve = net.DefaultResolver.LookupHost
	}
	c := &Carrier{opts: opts, group: group, deps: deps, memory: memory{size: opts.MaxBuffered}, guards: ownGuards()}
	c.base, c.end = context.WithCancelCause(context.Background())
	none := map[string]*target{}
	c.targets.Store(&none)
	if err := c.Update(targets); err != nil {
		c.end(err)
		return nil, err
	}
	return c, nil
}

// Update sets the targets. Those that stay the same keep their connections;
// requests at one that is gone may end. On error nothing changes.
func (c *Carrier) Update(targets []Target) error {
	ch, err := c.Prepare(targets)
	if err == nil {
		c.Apply(ch)
	}
	return err
}

// Change is a set of targets that can be put to use: all that may fail has been
// done, their files were read.
type Change struct{ next map[string]*target }

// Prepare makes a change to the targets of a carrier; on error there is none. Of
// several changes the last one that was prepared is to be applied.
func (c *Carrier) Prepare(targets []Target) (*Change, error) {
	c.updating.Lock()
	defer c.updating.Unlock()
	old := *c.targets.Load()
	next := make(map[string]*target, len(targets))
	var errs []error
	for i, spec := range targets {
		if err := spec.Validate(fmt.Sprintf("origins[%d]", i)); err != nil {
			errs = append(errs, err)
			continue
		}
		if next[spec.Name] != nil {
			errs = append(errs, fmt.Errorf("origins[%d].name: %q: must differ from the other origins' names", i, spec.Name))
			continue
		}
		if t := old[spec.Name]; t != nil && reflect.DeepEqual(t.spec, spec) {
			next[spec.Name] = t
			continue
		}
		t, err := newTarget(spec, c.opts, c.deps.Now, func(err error) { c.lacked(spec.Name, err) })
		if err != nil {
			errs = append(errs, err)
			continue
		}
		next[spec.Name] = t
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &Change{next}, nil
}

// Add puts the new targets of a change to use and keeps all that it takes away:
// until Apply the policy may choose either.
func (c *Carrier) Add(ch *Change) {
	both := maps.Clone(*c.targets.Load())
	maps.Copy(both, ch.next)
	c.Apply(&Change{both})
}

// Apply puts a change to use.
func (c *Carrier) Apply(ch *Change) {
	c.updating.Lock()
	defer c.updating.Unlock()
	old := c.targets.Swap(&ch.next)
	for name, t := range *old {
		if ch.next[name] != t {
			t.close()
		}
	}
}

func (c *Carrier) target(name string) *target { return (*c.targets.Load())[name] }

// Run keeps names and files current until ctx ends. It returns nil. A carrier
// that does not run takes the addresses of a name from each connection's own
// lookup.
func (c *Carrier) Run(ctx context.Context) error {
	resolve, reload := time.NewTicker(c.opts.ResolveInterval), time.NewTicker(c.opts.ReloadInterval)
	defer resolve.Stop()
	defer reload.Stop()
	c.resolve(ctx)
	for {
		select {
		case <-resolve.C:
			c.resolve(ctx)
		case <-reload.C:
			c.reload()
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *Carrier) resolve(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.ResolveInterval)
	defer cancel()
	for name, t := range *c.targets.Load() {
		changed, err := t.resolve(ctx, c.deps.Resolve)
		switch {
		case err != nil && ctx.Err() == nil:
			c.deps.Log.Warn("addresses of an origin stay as they were", "origin", name, "err", err)
		case changed:
			c.deps.Log.Info("addresses of an origin changed", "origin", name, "addresses", t.turn())
		}
	}
}

func (c *Carrier) reload() {
	for name, t := range *c.targets.Load() {
		if t.url.Scheme != "https" {
			continue
		}
		changed, err := t.tls.reload()
		switch {
		case err != nil:
			c.deps.Log.Warn("tls settings of an origin stay as they were", "origin", name, "err", err)
		case changed:
			t.close() // kept connections were opened under the old ones
			c.deps.Log.Info("tls settings of an origin were read again", "origin", name)
		}
	}
}

// Close ends the attempts that run on without their clients, waits for every
// attempt and closes the connections that are not in use. The caller ends its
// requests first.
func (c *Carrier) Close() {
	c.end(errClosed)
	c.flying.Wait()
	for _, t := range *c.targets.Load() {
		t.close()
	}
}

// Stats returns the counts.
func (c *Carrier) Stats() Stats {
	return Stats{
		Repeats: c.counts.repeats.Load(), Hedges: c.counts.hedges.Load(), Refused: c.counts.refused.Load(),
		Minted: c.counts.minted.Load(), Streamed: c.counts.streamed.Load(),
		Buffered: c.memory.used.Load(), Orphans: c.counts.orphans.Load(), Lacking: c.counts.lacking.Load(),
	}
}

// RoundTrip implements http.RoundTripper. Its errors are *NoOrigin, *Attempt,
// *Body and *Silent. It does not change req.
func (c *Carrier) RoundTrip(req *http.Request) (*http.Response, error) {
	call := callOf(req.Context())
	if isLookup(req, call.Kind) {
		return c.lookup(req)
	}
	r := &race{carrier: c, req: req, call: call, rule: c.guards.rule(req, call.Kind)}
	r.held.from = &c.memory
	r.held.enter()
	defer r.held.leave()
	if r.rule.keyed {
		if err := r.prepare(); err != nil {
			return nil, err
		}
	} else if r.lent = lend(req, nil, nil); r.lent != nil {
		r.rule.hedge = false // there is one body, and one attempt reads it
	}
	if r.affinity = call.Affinity; len(r.affinity) == 0 && call.ByKey {
		r.affinity = messageKey(req, r.body)
	}
	return r.run()
}

// prepare gives a POST of messages its key and keeps its body.
func (r *race) prepare() error {
	c, req := r.carrier, r.req
	c.group.Posted()
	r.key = req.Header.Get(KeyHeader)
	if _, there := req.Header[KeyHeader]; !there {
		r.key, r.minted = `"`+message.MintKey()+`"`, true
		c.counts.minted.Add(1)
	}
	asked := preferWait(req.Header["Prefer"])
	r.wait = min(asked, c.opts.ResponseTimeout/2) // or there were no time left for another origin
	r.endless = asked > r.wait
	if noBody(req) {
		r.kept = true
		return nil
	}
	if len(req.Trailer) == 0 { // trailers come after a body and could not be sent with a kept one
		r.held.comes(r.call.Client)
		b, whole, err := keep(req.Body, req.ContentLength, c.opts.MaxRepeatBody, &r.held)
		r.held.came()
		if err != nil {
			return &Body{Key: r.key, Err: errors.Unwrap(err)}
		}
		if whole {
			r.body, r.kept = b, true
			return nil
		}
		r.lent = lend(req, b, &r.held)
	} else {
		r.lent = lend(req, nil, nil)
	}
	c.counts.streamed.Add(1)
	r.rule.repeat, r.rule.hedge = false, false
	return nil
}
