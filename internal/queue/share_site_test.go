package queue_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// A shared queue is used by processes on several hosts of a share model. What
// they were told and did is kept in a ledger by the bytes of the messages:
//
//   - every acknowledged message is sent by somebody, sooner or later;
//   - nothing is sent that nobody appended, or that was surely not stored;
//   - a claim hands out in order, and nothing that was settled when it began;
//   - of two holders of a chain only the later one can save, and it begins at
//     or behind what the earlier one saved;
//   - nothing is set aside as damage, since nothing is damaged.
type shared struct {
	share *faultfs.Share
	opts  queue.Options
	log   *slog.Logger
	seed  uint64

	mu       sync.Mutex
	rng      *rand.Rand             // guarded by mu, as all below
	book     map[string]*entry      // by the message's bytes
	chains   map[string]*chainState // by chain
	problems []string
	procs    []*proc
	values   int
	claims   int
	lost     int // saves that found the claim lost
	started  int
}

// entry is what is known of one message.
type entry struct {
	acked, refused bool
	sent           int
	place          message.Place
}

// chainState is what is known of a chain's claims.
type chainState struct {
	latest *holder
	saved  map[string]uint64 // by lane, of saves that returned nil
}

// holder is one claim in somebody's hands.
type holder struct {
	p     *proc
	chain string
	start map[string]uint64 // progress at its begin
	last  message.Place
	next  map[string]uint64 // what it would save
}

func newShared(seed uint64, share faultfs.ShareOptions) *shared {
	o := options("queue")
	o.TakeoverMargin = time.Second
	o.TTL = 6 * time.Second
	o.HeartbeatInterval = 2 * time.Second
	o.Retain = 30 * time.Second
	return &shared{
		share: faultfs.NewShare(seed, share), opts: o, log: silent, seed: seed,
		rng: rand.New(rand.NewPCG(seed, 1)), book: map[string]*entry{}, chains: map[string]*chainState{},
	}
}

func (s *shared) lock() (unlock func()) {
	s.mu.Lock()
	return s.mu.Unlock
}

// some returns a duration from low to high.
func (s *shared) some(low, high time.Duration) time.Duration {
	defer s.lock()()
	return low + time.Duration(s.rng.Int64N(int64(high-low)+1))
}

func (s *shared) pick(n int) int {
	defer s.lock()()
	return s.rng.IntN(n)
}

// problem notes a broken promise. Called with mu held.
func (s *shared) problem(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

func (s *shared) broken() []string {
	defer s.lock()()
	return slices.Clone(s.problems)
}

// proc is one process: a queue, those that append to it and those that drain it.
type proc struct {
	s    *shared
	name string // of the host
	part queue.Part
	host *faultfs.Host
	q    *queue.Queue
	// frozen has the process's own clock stand still while it is paused, as
	// CLOCK_MONOTONIC does in suspend. wrap is the file system as it sees it.
	frozen bool
	wrap   func(durable.FS) durable.FS

	began time.Time
	dead  atomic.Bool
	work  context.Context
	stop  context.CancelFunc // of the work
	ended func()             // ends the queue, after the work
	wg    sync.WaitGroup

	mu    sync.Mutex
	gate  chan struct{} // while paused
	since time.Time     // of the pause
	slept time.Duration // by a frozen clock
}

// spec is what a process is started with, again after each of its ends.
type spec struct {
	name   string
	part   queue.Part
	frozen bool
	wrap   func(durable.FS) durable.FS
	prime  func(*faultfs.Host) // sets faults before the queue is opened
}

// start starts a process, trying again where its queue cannot be opened, as a
// supervisor would. It returns nil where that does not come to an end.
func (s *shared) start(x spec) *proc {
	p := &proc{s: s, name: x.name, part: x.part, frozen: x.frozen, wrap: x.wrap, began: time.Now()}
	p.host = s.share.Host(x.name)
	if x.prime != nil {
		x.prime(p.host)
	}
	var fsys durable.FS = p.host
	if x.wrap != nil {
		fsys = x.wrap(fsys)
	}
	deps := queue.Deps{Part: x.part, FS: fsys, Log: s.log, Now: time.Now, Elapsed: p.elapsed}
	var err error
	for range 300 {
		if p.q, err = queue.Open(s.opts, deps); err == nil || p.host.Crashed() {
			break
		}
		<-time.After(time.Second)
	}
	if err != nil {
		if !p.host.Crashed() {
			unlock := s.lock()
			s.problem("no queue on %s for five minutes: %v", x.name, err)
			unlock()
		}
		return nil
	}
	p.work, p.stop = context.WithCancel(context.Background())
	p.ended = run(p.q)
	defer s.lock()()
	s.started++
	s.procs = append(s.procs, p)
	if x.part != queue.Drains {
		for i := range 2 {
			rng := rand.New(rand.NewPCG(s.seed, uint64(100*s.started+i)))
			p.wg.Go(func() { p.write(rng) })
		}
	}
	if x.part != queue.Writes {
		rng := rand.New(rand.NewPCG(s.seed, uint64(100*s.started+50)))
		p.wg.Go(func() { p.drain(rng) })
	}
	return p
}

// elapsed is the process's clock.
func (p *proc) elapsed() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := time.Since(p.began)
	if p.frozen {
		d -= p.slept
		if p.gate != nil {
			d -= time.Since(p.since)
		}
	}
	return d
}

func (p *proc) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate == nil && !p.dead.Load() {
		p.gate, p.since = make(chan struct{}), time.Now()
		p.host.Pause()
	}
}

func (p *proc) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate != nil {
		p.slept += time.Since(p.since)
		close(p.gate)
		p.gate = nil
	}
	p.host.Resume()
}

// stand waits while the process is paused and reports whether it goes on.
func (p *proc) stand() bool {
	for {
		p.mu.Lock()
		gate := p.gate
		p.mu.Unlock()
		if gate == nil {
			return !p.dead.Load()
		}
		<-gate
	}
}

// rest passes some time and reports whether the process still works.
func (p *proc) rest(d time.Duration) bool {
	select {
	case <-time.After(d):
	case <-p.work.Done():
		return false
	}
	return p.stand()
}

// end stops the process in good order, or clears away what is left of one that
// was killed.
func (p *proc) end() {
	p.resume()
	p.stop()
	p.wg.Wait()
	p.ended()
	defer p.s.lock()()
	p.s.procs = slices.DeleteFunc(p.s.procs, func(x *proc) bool { return x == p })
}

// kill ends the process without a word; crash the host with all its processes.
func (p *proc) kill() {
	p.dead.Store(true)
	p.host.Kill()
	p.end()
}

func (s *shared) crash(host string) (specs []spec) {
	s.share.Host(host).Crash()
	for _, p := range s.living() {
		if p.name == host {
			p.dead.Store(true)
			specs = append(specs, p.spec())
			p.end()
		}
	}
	return specs
}

func (p *proc) spec() spec { return spec{name: p.name, part: p.part, frozen: p.frozen, wrap: p.wrap} }

func (s *shared) living() []*proc {
	defer s.lock()()
	return slices.Clone(s.procs)
}

// write appends groups until the work ends.
func (p *proc) write(rng *rand.Rand) {
	for p.rest(time.Duration(rng.IntN(int(time.Second)))) {
		var values []string
		for range 1 + rng.IntN(3) {
			values = append(values, p.s.value(p, rng))
		}
		place, err := store(context.Background(), p.q, values)
		p.stand() // who was paused learns the answer later
		p.s.answered(p, values, place, err)
	}
}

// value makes a message that is like no other.
func (s *shared) value(p *proc, rng *rand.Rand) string {
	size := 20
	if rng.IntN(4) == 0 {
		size = rng.IntN(20 << 10)
	}
	defer s.lock()()
	s.values++
	v := fill(fmt.Sprintf("%s-%d", p.name, s.values), size)
	s.book[v] = &entry{}
	return v
}

func (s *shared) answered(p *proc, values []string, place message.Place, err error) {
	defer s.lock()()
	for i, v := range values {
		e := s.book[v]
		e.acked, e.refused = err == nil, surelyNot(err)
		e.place = message.Place{Lane: place.Lane, Seq: place.Seq + uint64(i)}
		if e.refused && e.sent > 0 {
			s.problem("%s was sent, and then refused: %v", short(v), err)
		}
	}
	if err != nil && !surelyNot(err) && !errors.Is(err, message.ErrOutcomeUnknown) {
		s.problem("an answer of no class on %s: %v", p.name, err)
	}
}

// drain claims whatever there is to be claimed.
func (p *proc) drain(rng *rand.Rand) {
	var holding sync.WaitGroup
	defer holding.Wait()
	for p.stand() {
		c, err := p.q.Claim(p.work)
		if p.work.Err() != nil {
			if err == nil {
				_ = c.Release(context.Background()) // the process ends
			}
			return
		}
		if err != nil {
			if !p.rest(time.Second) {
				return
			}
			continue
		}
		h := p.s.claimed(p, c)
		rng := rand.New(rand.NewPCG(rng.Uint64(), 0))
		holding.Go(func() { p.hold(c, h, rng) })
	}
}

// hold takes messages out of a claim, sends and saves, until it is lost, or
// given up by a whim.
func (p *proc) hold(c *queue.Claim, h *holder, rng *rand.Rand) {
	defer func() { _ = c.Release(context.Background()) }() // what it says, a successor finds out
	for patience := 5 + rng.IntN(60); patience > 0 && p.stand(); patience-- {
		ctx, cancel := context.WithTimeout(p.work, time.Duration(1+rng.IntN(15))*time.Second)
		msgs, err := c.Next(ctx, 1+rng.IntN(40))
		cancel()
		if !p.stand() {
			return
		}
		done := errors.Is(err, io.EOF) || p.work.Err() != nil
		if err != nil && !done && !errors.Is(err, context.DeadlineExceeded) {
			if !p.rest(time.Second) {
				return
			}
			continue
		}
		if len(msgs) > 0 {
			if !p.rest(time.Duration(rng.IntN(int(300 * time.Millisecond)))) {
				return // read, and not sent
			}
			p.s.send(h, msgs)
		}
		if (done || rng.IntN(3) == 0) && !p.save(c, h) || done {
			return
		}
	}
}

// save reports whether the claim goes on.
func (p *proc) save(c *queue.Claim, h *holder) bool {
	progress := message.Progress{}
	for lane, next := range h.next {
		progress.Lanes = append(progress.Lanes, message.LaneProgress{Lane: lane, Next: next})
	}
	late := p.s.isLate(h)
	err := c.Save(context.Background(), progress)
	p.stand()
	p.s.saved(h, progress, late, err)
	return err == nil
}

func (s *shared) chain(id string) *chainState {
	c := s.chains[id]
	if c == nil {
		c = &chainState{saved: map[string]uint64{}}
		s.chains[id] = c
	}
	return c
}

func (s *shared) claimed(p *proc, c *queue.Claim) *holder {
	defer s.lock()()
	h := &holder{p: p, chain: c.ID(), start: map[string]uint64{}, next: map[string]uint64{}}
	for _, l := range c.Progress().Lanes {
		h.start[l.Lane] = l.Next
	}
	state := s.chain(c.ID())
	state.latest = h
	s.claims++
	s.mustCover(h, state.saved)
	return h
}

// mustCover checks that a holder began at or behind what was saved before, of
// lanes that have not been removed since.
func (s *shared) mustCover(h *holder, saved map[string]uint64) {
	for lane, next := range saved {
		if h.start[lane] < next && durable.Exists(s.share.View(), path.Join("queue/lanes", lane, "fence")) {
			s.problem("%s claimed chain %s with lane %s at %d; %d was saved", h.p.name, h.chain, lane, h.start[lane], next)
		}
	}
}

// isLate reports whether somebody has claimed the chain after h.
func (s *shared) isLate(h *holder) bool {
	defer s.lock()()
	return s.chain(h.chain).latest != h
}

func (s *shared) saved(h *holder, p message.Progress, late bool, err error) {
	defer s.lock()()
	if errors.Is(err, message.ErrClaimLost) {
		s.lost++
	}
	if err != nil {
		return
	}
	if late {
		s.problem("%s has saved progress of chain %s, which another had claimed before that", h.p.name, h.chain)
	}
	state := s.chain(h.chain)
	for _, l := range p.Lanes {
		state.saved[l.Lane] = max(state.saved[l.Lane], l.Next)
	}
	if state.latest != h {
		s.mustCover(state.latest, state.saved)
	}
}

func (s *shared) send(h *holder, msgs []message.Stored) {
	defer s.lock()()
	for _, m := range msgs {
		v, at := string(m.Value), m.Place
		e := s.book[v]
		switch {
		case e == nil:
			s.problem("sent and never appended: %q at %v", short(v), at)
			continue
		case e.refused:
			s.problem("sent although it was refused: %q at %v", short(v), at)
		case e.acked && e.place != at:
			s.problem("%q is at %v, was acknowledged at %v", short(v), at, e.place)
		case at.Lane < h.last.Lane || at.Lane == h.last.Lane && at.Seq <= h.last.Seq:
			s.problem("%s got %v after %v", h.p.name, at, h.last)
		case at.Seq < h.start[at.Lane]:
			s.problem("%s got %v, settled below %d when it claimed", h.p.name, at, h.start[at.Lane])
		}
		e.sent++
		h.last = at
		h.next[at.Lane] = at.Seq + 1
	}
}

// unsent lists what was acknowledged and not yet sent by anybody.
func (s *shared) unsent() (values []string) {
	defer s.lock()()
	for v, e := range s.book {
		if e.acked && e.sent == 0 {
			values = append(values, fmt.Sprintf("%s at %v", short(v), e.place))
		}
	}
	slices.Sort(values)
	return values
}

// settle ends all that was going on, has new processes drain what is left, and
// returns what promises were broken.
func (s *shared) settle(patience time.Duration) []string {
	for _, p := range s.living() {
		p.resume()
		p.end()
	}
	drainers := []*proc{s.start(spec{name: "a", part: queue.Drains}), s.start(spec{name: "b", part: queue.Drains})}
	for waited := time.Duration(0); len(s.unsent()) > 0 && waited < patience; waited += time.Second {
		<-time.After(time.Second)
	}
	if left := s.unsent(); len(left) > 0 {
		unlock := s.lock()
		s.problem("%d acknowledged and lost: %q", len(left), left[:min(5, len(left))])
		unlock()
	}
	for _, p := range drainers {
		if p != nil {
			p.end()
		}
	}
	s.noDamage()
	return s.broken()
}

// noDamage checks that nothing was taken for damaged. Of a lane that somebody
// else is removing right now a false alarm is known to happen: its segments go
// before its claims, and its claims before its name. It costs nothing but a look.
func (s *shared) noDamage() {
	view := s.share.View()
	entries, err := view.ReadDir("queue/quarantine")
	if err != nil {
		return // not even opened
	}
	defer s.lock()()
	for _, e := range entries {
		text, err := durable.ReadFile(view, path.Join("queue/quarantine", e.Name()), 1<<20)
		lane, _, _ := strings.Cut(e.Name(), ".")
		if err == nil && strings.HasSuffix(e.Name(), ".json") && strings.Contains(string(text), `"damage"`) &&
			durable.Exists(view, path.Join("queue/lanes", lane, "heartbeat")) {
			s.problem("taken for damaged: %s", text)
		}
	}
}

// acked counts acknowledged messages.
func (s *shared) acked() (n int) {
	defer s.lock()()
	for _, e := range s.book {
		if e.acked {
			n++
		}
	}
	return n
}

// must fails the test with what is known of a broken promise.
func (s *shared) must(t *testing.T, problems []string) {
	t.Helper()
	if len(problems) == 0 {
		return
	}
	t.Errorf("seed %d: %d broken promises\n%s\nthe last operations:\n%s",
		s.seed, len(problems), strings.Join(problems[:min(5, len(problems))], "\n"), s.share.History(60))
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// seedOf makes a seed of a name.
func seedOf(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // it has no errors
	return h.Sum64()
}
