package live

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// What an Engine answers, for errors.Is.
var (
	// ErrUnknownTopic: the topic is not served here.
	ErrUnknownTopic = errors.New("the topic is not served")
	// ErrUnrecoverable: what follows the position cannot be had completely.
	ErrUnrecoverable = errors.New("the position cannot be recovered")
	// ErrNotReady: the topic is not read to its end yet, or not any more.
	ErrNotReady = errors.New("not ready")
	// ErrBusy: more recoveries wait than the options allow.
	ErrBusy = errors.New("too many recoveries wait")
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
	opts Options
	deps Deps
}

// New makes an Engine; it reads nothing until Run.
func New(opts Options, deps Deps) (*Engine, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	return &Engine{opts: opts, deps: deps}, nil
}

// Run reads the topics until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Ready is nil while every topic is read to its end; else it says why not.
func (e *Engine) Ready() error { return ErrNotReady }

// Topics are the names of the topics served, in order.
func (e *Engine) Topics() []string { return nil }

// Subscribe begins a subscription. It calls Request.Begin before it returns, and
// then delivers until Close or Ended. It may read the hub for what was missed.
func (e *Engine) Subscribe(ctx context.Context, r Request) (*Subscription, error) {
	return nil, ErrNotReady
}

// Close ends the subscription: nothing is delivered once it has returned.
func (s *Subscription) Close() {}

// Conflates reports whether the topic lets messages be left out: see Merge.
func (s *Subscription) Conflates() bool { return false }

// Merge returns one block in place of several that were delivered in this order:
// of each key only the newest record, ascending by offset, encoded anew; all of
// those without a key. It is nil where the topic does not allow that.
func (s *Subscription) Merge(blocks []*Block) *Block { return nil }

// HistoryRequest is a piece of the past that is wanted.
type HistoryRequest struct {
	Subject Subject
	// Since is where to begin, by partition as in Request; nil for the oldest
	// record held, or the newest with Reverse. Reverse goes to what lies below the
	// last record processed there, that one left out.
	Since []Position
	// Limit is how many records are wanted at most; 0 for none, only positions;
	// below 0 for as many as the options allow.
	Limit int
	// Reverse asks for the newest first.
	Reverse bool
}

// History is a piece of the past.
type History struct {
	// Records in order of offset within each partition, partition after partition;
	// with Reverse newest first.
	Records []*Record
	// Positions, by partition in view, are those of the last record looked at:
	// with them as Since the next request goes on.
	Positions []Position
	// Heads are how far this node has read, by partition in view.
	Heads []Position
	// More says that there may be more where Positions are.
	More bool
}

// History returns records of the past, each message once, replays included where
// they are the only copy in view. The error matches ErrUnrecoverable where Since
// is of another epoch or no longer held.
func (e *Engine) History(ctx context.Context, r HistoryRequest) (*History, error) {
	return nil, ErrNotReady
}

// Last returns the last values of a subject's keys, in order of offset within
// each partition, and how far this node has read, by partition in view.
func (e *Engine) Last(ctx context.Context, s Subject) ([]*Record, []Position, error) {
	return nil, nil, ErrNotReady
}
