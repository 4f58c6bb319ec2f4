package relay

import (
	"context"
	"encoding/binary"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"postroad/internal/auth"
	"postroad/internal/message"
)

// Sink sends messages to another stamp. Its methods are safe for concurrent use.
type Sink struct {
	opts  Options
	deps  Deps
	token *auth.Secret
	zstd  *zstd.Encoder // nil for no compression

	health atomic.Pointer[func(error)]
	turn   atomic.Uint64 // counts the errors that shut a stream
	// room is how many bytes a batch may have, which adapts to the way.
	room atomic.Int64

	// mu is held for reading while a message is handed over, and for writing
	// where the life is replaced, so that none goes to one that has ended.
	mu       sync.RWMutex
	life     *life // guarded by mu; nil once closed
	clientMu sync.Mutex

	sessMu sync.Mutex
	sess   *session      // guarded by sessMu; nil before the first answer
	heard  time.Time     // guarded by sessMu: when the last answer came
	asking chan struct{} // has a token while somebody asks who answers

	partsMu sync.Mutex
	parts   map[partKey]*part // guarded by partsMu

	doubtMu sync.Mutex
	// doubt are messages of which it is not known whether they are stored: should
	// they be sent again they are marked as a repeat. Guarded by doubtMu.
	doubt map[message.Place]struct{}
}

type partKey struct {
	topic string
	id    int32
}

// NewSink makes a Sink. It connects to nothing yet: the other stamp may be away.
// Files that it needs must be there.
func NewSink(opts Options, deps Deps) (*Sink, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if opts.URL == "" {
		return nil, fmt.Errorf("hub.relay.url: %q: must be given in dialect postroad", "")
	}
	opts.URL = strings.TrimSuffix(opts.URL, "/")
	deps.setDefaults()
	s := &Sink{
		opts: opts, deps: deps, token: auth.NewSecret(opts.TokenFile), asking: make(chan struct{}, 1),
		parts: map[partKey]*part{}, doubt: map[message.Place]struct{}{},
	}
	s.Watch(func(error) {})
	s.room.Store(int64(min(opts.BatchBytes, startRoom)))
	if opts.Compression == "zstd" {
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		s.zstd = enc
	}
	life, err := s.newLife()
	if err != nil {
		return nil, fmt.Errorf("relay to another stamp: %w", err)
	}
	s.life = life
	return s, nil
}

// Identity names the hub behind the other stamp in saved progress.
func (s *Sink) Identity() string {
	if s.deps.Name == "" && s.deps.Generation == 0 {
		return ""
	}
	return s.deps.Name + "#" + strconv.Itoa(s.deps.Generation)
}

// Watch makes report hear of every exchange with the other stamp: nil for an
// answer, else why there was none. It is called from many goroutines and must be
// quick. A later call replaces an earlier one.
func (s *Sink) Watch(report func(error)) { s.health.Store(&report) }

func (s *Sink) report(err error) { (*s.health.Load())(err) }

// current returns the present life, or ErrClosed.
func (s *Sink) current() (*life, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.life == nil {
		return nil, retry(ErrClosed)
	}
	return s.life, nil
}

// Reset gives up everything under way and goes on with new connections. What was
// not answered gets ErrClosed, soon. It never waits for the other stamp.
func (s *Sink) Reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == nil {
		return ErrClosed
	}
	s.endLife(s.life)
	s.shutAll()
	life, err := s.newLife()
	if err != nil {
		// Files that cannot be read just now: on with the client as it was.
		life = s.sameClient(s.life)
		err = fmt.Errorf("relay to another stamp: %w", err)
	}
	s.life = life
	return err
}

// Close gives up everything under way for good.
func (s *Sink) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != nil {
		s.endLife(s.life)
		s.shutAll()
		s.life = nil
	}
}

// shutAll refuses the turns of before, until what was given back has been
// answered.
func (s *Sink) shutAll() {
	s.partsMu.Lock()
	defer s.partsMu.Unlock()
	for _, p := range s.parts {
		s.shut(p)
	}
}

// Turn returns the number that Produce asks for. Take a new one only when all that
// was given to Produce has been answered.
func (s *Sink) Turn() uint64 { return s.turn.Load() }

// Partitions is how many streams a topic has. The error, of class hold, is where
// hub.topics.allow does not list it.
func (s *Sink) Partitions(ctx context.Context, topic string) (int32, error) {
	if err := s.allowed(topic); err != nil {
		return 0, err
	}
	return int32(s.opts.Streams), ctx.Err()
}

func (s *Sink) allowed(topic string) error {
	for _, p := range s.deps.Allow {
		if ok, err := path.Match(p, topic); ok && err == nil {
			return nil
		}
	}
	if len(s.deps.Allow) == 0 {
		return nil
	}
	return &Error{class: classHold, own: true, err: fmt.Errorf("hub.topics.allow does not list the topic")}
}

// Partition returns in which of n streams a message goes: all of one key in the
// same one.
func (s *Sink) Partition(m *message.Message, n int32) int32 {
	h := message.NewHasher("postroad relay stream 1")
	if m.Key != nil {
		h.Bytes(m.Key)
	} else {
		h.Bytes(m.ID[:])
	}
	sum := h.Sum()
	return int32(binary.LittleEndian.Uint32(sum[:4]) % uint32(n))
}

// Ends returns the marks with the other stamp's time now: what is sent from now on
// is stored later.
func (s *Sink) Ends(ctx context.Context, of []message.Mark) ([]message.Mark, error) {
	l, err := s.current()
	if err != nil {
		return nil, err
	}
	ctx, stop := merged(ctx, l.ctx)
	defer stop()
	h, err := s.hello(ctx, l)
	if err != nil {
		return nil, classified("ask the other stamp for its time", err)
	}
	out := make([]message.Mark, len(of))
	for i, m := range of {
		out[i] = message.Mark{Topic: m.Topic, Partition: m.Partition, Offset: h.Time}
	}
	return out, nil
}

// Produce sends m in a stream of its topic and returns at once. done is called
// exactly once, from another goroutine, with the time at the other stamp when it
// was stored, in microseconds, or with an error that has a Class; where Produce
// returns an error, done is not called.
//
// Messages of a stream are stored in the order of the calls. With an error all
// that was given to the stream and not answered fails too, and Produce refuses the
// stream to everybody whose turn is older.
//
// m and what it refers to must not change until done is called.
func (s *Sink) Produce(m *message.Stored, partition int32, turn uint64, done func(offset int64, err error)) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.life == nil {
		return retry(ErrClosed)
	}
	p := s.part(partKey{m.Topic, partition})
	if !p.enter(turn, item{m: m, done: done, repeat: m.Repeat || s.doubtful(m.Place)}) {
		return retry(errTurn)
	}
	p.start(s, s.life)
	return nil
}

func (s *Sink) part(key partKey) *part {
	s.partsMu.Lock()
	defer s.partsMu.Unlock()
	p := s.parts[key]
	if p == nil {
		p = &part{}
		s.parts[key] = p
	}
	return p
}

// maxDoubt bounds the messages in doubt; beyond, a repeat is not marked.
const maxDoubt = 1 << 20

func (s *Sink) doubtful(at message.Place) bool {
	s.doubtMu.Lock()
	defer s.doubtMu.Unlock()
	_, yes := s.doubt[at]
	return yes
}

func (s *Sink) noDoubt(at message.Place) {
	s.doubtMu.Lock()
	defer s.doubtMu.Unlock()
	delete(s.doubt, at)
}

func (s *Sink) setDoubt(items []item, doubt bool) {
	s.doubtMu.Lock()
	defer s.doubtMu.Unlock()
	for _, it := range items {
		switch {
		case !doubt:
			delete(s.doubt, it.m.Place)
		case len(s.doubt) < maxDoubt:
			s.doubt[it.m.Place] = struct{}{}
		}
	}
}

// Other returns the name of the stamp that answers, "" before it has, and when it
// last did.
func (s *Sink) Other() (stamp string, last time.Time) {
	s.sessMu.Lock()
	defer s.sessMu.Unlock()
	if s.sess == nil {
		return "", time.Time{}
	}
	return s.sess.Stamp, s.heard
}
