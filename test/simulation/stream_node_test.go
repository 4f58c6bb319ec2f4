package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"postroad/internal/stream/live"
)

// streamPlan is what a seed makes of the stream nodes and their viewers.
type streamPlan struct {
	nodes, viewers int
	upset          time.Duration // between two disturbances of a node, on average
	trims          bool          // the hub forgets what is old
	options        live.Options
}

// streamSabotage is what a twin has broken; the zero value nothing.
type streamSabotage struct {
	options   func(*live.Options)
	log       func(*streamLog) live.Log
	subscribe func(context.Context, *live.Engine, live.Request) (*live.Subscription, error)
}

// streams are stream nodes over the hub of a world, and who looks at them.
type streams struct {
	w        *world
	plan     streamPlan
	sabotage streamSabotage
	nodes    []*streamSlot
	viewers  []*viewer
	wg       sync.WaitGroup
	parts    int32 // of each topic when it began

	mu     sync.Mutex
	starts map[part]int64 // guarded by mu: where the hub's log begins by now
}

// streamSlot is a node that is started again whenever it has died.
type streamSlot struct {
	s    *streams
	name string
	rng  *rand.Rand
	log  *streamLog

	mu  sync.Mutex
	now *streamNode // guarded by mu: nil while there is none
}

// streamNode is one run of a node.
type streamNode struct {
	name   string
	engine *live.Engine
	kill   context.CancelFunc
	dead   <-chan struct{}
}

func newStreams(w *world, sabotage streamSabotage) *streams {
	rng := w.random("streams")
	o := live.DefaultOptions()
	o.Window, o.DedupeHorizon = window, time.Hour
	o.Ring.MaxRecords = []int{0, 3, 10, 40, 1000}[rng.IntN(5)]
	for _, topic := range w.plan.topics {
		o.Topics = append(o.Topics, live.TopicOptions{Name: topic})
	}
	if sabotage.options != nil {
		sabotage.options(&o)
	}
	s := &streams{w: w, sabotage: sabotage, starts: map[part]int64{}, parts: w.hub.parts}
	s.plan = streamPlan{
		nodes: 2 + rng.IntN(2), viewers: 4 + rng.IntN(6), upset: time.Duration(1+rng.IntN(6)) * time.Second,
		trims: rng.IntN(3) == 0, options: o,
	}
	w.decide("streams: %+v", s.plan)
	for i := range s.plan.nodes {
		name := fmt.Sprintf("node%d", i)
		sl := &streamSlot{s: s, name: name, rng: w.random(name), log: &streamLog{s: s}}
		sl.log.pace = someLag(rng)
		s.nodes = append(s.nodes, sl)
	}
	for i := range s.plan.viewers {
		s.viewers = append(s.viewers, newViewer(s, i))
	}
	return s
}

// someLag is how far a node is behind the others.
func someLag(rng *rand.Rand) time.Duration {
	return []time.Duration{20 * time.Millisecond, 50 * time.Millisecond, 500 * time.Millisecond, 3 * time.Second}[rng.IntN(4)]
}

// keep runs the node until ctx ends.
func (sl *streamSlot) keep(ctx context.Context) {
	for ctx.Err() == nil {
		sl.run(ctx)
		pause(ctx, time.Duration(sl.rng.Int64N(int64(3*time.Second))))
	}
}

func (sl *streamSlot) run(ctx context.Context) {
	var log live.Log = sl.log
	if f := sl.s.sabotage.log; f != nil {
		log = f(sl.log)
	}
	engine, err := live.New(sl.s.plan.options, live.Deps{
		Log: log, Logger: slog.New(slog.DiscardHandler), Hub: live.Identity{Name: "hub", Generation: 1},
	})
	if err != nil {
		sl.s.w.fail(err)
		return
	}
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	n := &streamNode{name: sl.name, engine: engine, kill: kill, dead: ctx.Done()}
	sl.set(n)
	sl.s.w.decide("%s starts", sl.name)
	if err := engine.Run(ctx); err != nil {
		sl.s.w.fail(err)
	}
	sl.set(nil)
}

func (sl *streamSlot) set(n *streamNode) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	sl.now = n
}

func (sl *streamSlot) current() *streamNode {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	return sl.now
}

// disturb kills nodes, cuts them off, holds them up and trims the hub until ctx
// ends.
func (s *streams) disturb(ctx context.Context) {
	rng := s.w.random("disturb streams")
	for {
		pause(ctx, time.Duration(rng.Int64N(int64(2*s.plan.upset))))
		if ctx.Err() != nil {
			return
		}
		sl := s.nodes[rng.IntN(len(s.nodes))]
		switch rng.IntN(6) {
		case 0, 1:
			if n := sl.current(); n != nil {
				s.w.decide("%s is killed", n.name)
				n.kill()
			}
		case 2:
			d := between(rng, time.Second, 20*time.Second)
			s.w.decide("%s is cut off from the hub for %v", sl.name, d)
			sl.log.change(func() { sl.log.cut = true })
			s.wg.Go(func() {
				pause(ctx, d)
				sl.log.change(func() { sl.log.cut = false })
			})
		case 3, 4:
			sl.log.change(func() { sl.log.pace = someLag(rng) })
		case 5:
			if s.plan.trims {
				s.trim(rng)
			}
		}
	}
}

// trim has the hub forget the oldest records of each partition, but not so many
// that a node that starts has no whole look-back.
func (s *streams) trim(rng *rand.Rand) {
	h := s.w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, log := range h.logs {
		if spare := int64(len(log)) - 2*window - s.starts[p]; spare > 0 {
			s.starts[p] += rng.Int64N(spare)
		}
	}
}

// start has nodes and viewers run until calm; the function returned has all
// viewers be shown everything, and ends them.
func (s *streams) start() (settle func()) {
	ctx, stop := context.WithCancel(context.Background())
	upset, calm := context.WithCancel(ctx)
	var viewers sync.WaitGroup
	for _, sl := range s.nodes {
		s.wg.Go(func() { sl.keep(ctx) })
	}
	for _, v := range s.viewers {
		viewers.Go(func() { v.wander(upset) })
	}
	s.wg.Go(func() { s.disturb(upset) })
	return func() {
		calm()
		viewers.Wait()
		for _, sl := range s.nodes {
			sl.log.change(func() { sl.log.cut, sl.log.pace = false, 50*time.Millisecond })
		}
		s.w.decide("viewers settle")
		for _, v := range s.viewers {
			viewers.Go(func() { v.settle(ctx) })
		}
		viewers.Wait()
		stop()
		s.wg.Wait()
	}
}
