package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// What an Engine answers, for errors.Is; see also ErrSubject and ErrChanged.
var (
	// ErrUnknownTopic: the topic is not served here.
	ErrUnknownTopic = errors.New("the topic is not served")
	// ErrUnrecoverable: what follows the position cannot be had completely.
	ErrUnrecoverable = errors.New("the position cannot be recovered")
	// ErrNotReady: the topic is not read to its end yet, or not any more. It is
	// worth another try.
	ErrNotReady = errors.New("not ready")
	// ErrBusy: more recoveries wait than the options allow, or the hub fills faster
	// than it is read. It is worth another try, with the same position.
	ErrBusy = errors.New("too much is to be recovered at once")
)

// Deps are what an Engine needs of others.
type Deps struct {
	// Log is the hub's.
	Log Log
	// Logger is slog.Default where nil.
	Logger *slog.Logger
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
	// Hub is in every epoch: another name or generation is another hub.
	Hub Identity
	// Room waits, for a bounded time, while what was delivered and is not yet sent
	// takes too much memory: it is asked before records are delivered. Nil where
	// there is no such bound.
	Room func(ctx context.Context) error
}

// Identity of a hub as the options name it.
type Identity struct {
	Name       string
	Generation int
}

// Engine reads topics and delivers them. Its methods are safe for concurrent use.
type Engine struct {
	opts    Options
	deps    Deps
	flaws   flaws
	topics  map[string]*topic
	metrics *metrics

	// waiting counts those who wait for the hub to be read again; slots bounds how
	// many readings run.
	waiting atomic.Int64
	slots   chan struct{}

	mu sync.Mutex
	// ctx is Run's, over says that it has ended. Guarded by mu.
	ctx  context.Context
	over bool
	work sync.WaitGroup // what spawn began
}

// New makes an Engine; it reads nothing until Run.
func New(opts Options, deps Deps) (*Engine, error) { return newEngine(opts, deps, flaws{}) }

func newEngine(opts Options, deps Deps, f flaws) (*Engine, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		return nil, errors.New("no log to read")
	}
	if deps.Logger == nil {
		deps.Logger = slog.Default()
	}
	e := &Engine{opts: opts, deps: deps, flaws: f, topics: map[string]*topic{}, slots: make(chan struct{}, opts.Recovery.Concurrent)}
	for _, o := range opts.Topics {
		t := &topic{engine: e, name: o.Name, window: int64(opts.Window), conflate: o.Conflate}
		if o.Window != 0 {
			t.window = int64(o.Window)
		}
		e.topics[o.Name] = t
	}
	var err error
	if e.metrics, err = newMetrics(e, deps.Registerer); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return e, nil
}

// Run reads the topics until ctx ends, and may be called once. Subscriptions are
// not ended by it: nothing is delivered any more, and whoever holds them closes
// them.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.ctx != nil {
		e.mu.Unlock()
		return errors.New("the engine runs, or has run, already")
	}
	e.ctx = ctx
	e.mu.Unlock()
	var topics sync.WaitGroup
	for _, t := range e.topics {
		topics.Go(func() { t.run(ctx) })
	}
	<-ctx.Done()
	topics.Wait()
	e.mu.Lock()
	e.over = true // nothing is spawned from here on
	e.mu.Unlock()
	e.work.Wait()
	return nil
}

// spawn runs fn until Run ends, and reports false where it has.
func (e *Engine) spawn(fn func(context.Context)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx == nil || e.over || e.ctx.Err() != nil {
		return false
	}
	ctx := e.ctx
	e.work.Go(func() { fn(ctx) })
	return true
}

// acquire waits for room for another reading of the hub.
func (e *Engine) acquire(ctx context.Context) error {
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Engine) release() { <-e.slots }

// Ready is nil while every topic is read to its end, within Options.MaxLag; else
// it says why not. A topic that the hub does not have is no reason.
func (e *Engine) Ready() error {
	var errs []error
	for _, name := range e.Topics() {
		errs = append(errs, e.topics[name].ready())
	}
	return errors.Join(errs...)
}

// Read is nil from when every topic was read to its end for the first time; before
// that it says what is missing.
func (e *Engine) Read() error {
	var errs []error
	for _, name := range e.Topics() {
		if t := e.topics[name]; !t.read.Load() {
			if err := t.ready(); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Topics are the names of the topics served, in order.
func (e *Engine) Topics() []string {
	names := make([]string, 0, len(e.topics))
	for name := range e.topics {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
