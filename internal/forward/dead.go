package forward

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"postroad/internal/message"
)

// singly sends messages that came back, of a batch that the hub will not take as
// it is, each after the answer to the one before and with nothing else of the
// topic under way: what fails alone, and for good, becomes a dead letter, and
// does not take its neighbours with it. What fails for another reason will be
// taken in time: its partition waits for it, since with a new turn the sink would
// let later messages overtake. The error is the first such reason.
//
// Messages behind the last one that was refused for good were only taken back
// with it. They are left to be sent together.
func (w *worker) singly(ctx context.Context, back []*slot) (hindered error) {
	if err := w.t.gate.close(ctx); err != nil {
		return err
	}
	defer w.t.gate.open()
	to := make([]int32, len(back))
	last := map[int32]int{}
	for i, s := range back {
		to[i] = w.partition(s)
		if s.state == slotFailed && classOf(s.err) == classDead {
			last[to[i]] = i
		}
	}
	waiting := map[int32]bool{}
	for i, s := range back {
		if end, dead := last[to[i]]; !dead || i > end || waiting[to[i]] || s.state != slotFailed && s.state != slotReady {
			continue
		}
		w.turn = w.out.Turn()
		w.send(s, to[i], true)
		if err := w.quiet(ctx); err != nil {
			return err
		}
		// Nothing is in flight: the slot is ours to read.
		if s.state != slotFailed {
			continue
		}
		if classOf(s.err) == classDead {
			if err := w.bury(ctx, s); err != nil {
				return err
			}
			continue
		}
		waiting[to[i]] = true
		if hindered == nil {
			hindered = s.err
		}
	}
	w.turn = w.out.Turn()
	return hindered
}

// bury makes a dead letter of a message that failed alone.
func (w *worker) bury(ctx context.Context, s *slot) error {
	m := s.msg
	m.Reason = fmt.Sprintf("%v (class %s)", s.err, classDead)
	if err := w.chain.Bury(ctx, []message.Stored{m}); err != nil {
		w.claimed(err)
		return heldError{fmt.Errorf("keep a dead letter of topic %q: %w", w.t.name, err)}
	}
	w.flight.buried(s, m.Reason)
	w.f.graves.tell(w.log, &m)
	w.f.graves.offer(&m)
	// Best effort, so that a successor does not make another letter of it.
	if err := w.save(ctx); err != nil {
		w.claimed(err)
	}
	return nil
}

// buried notes that a message is a dead letter now.
func (f *flight) buried(s *slot, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead++
	f.unwait(s)
	f.settle(s, buried, reason)
}

// graves tells of dead letters, and copies them to a topic where that is wanted.
type graves struct {
	topic   string // "" for no copies
	sink    Sink
	log     *slog.Logger
	metrics *metrics
	reset   func() // of the sink
	copies  chan message.Stored

	mu    sync.Mutex
	total int64     // guarded by mu, and all below
	began time.Time // of the present minute of logging
	told  int       // in it
	quiet int       // left out since
}

// gravesTold is how many dead letters a minute are logged one by one.
const gravesTold = 20

// maxCopies is how many copies wait for being sent; more are left out.
const maxCopies = 1000

func newGraves(topic string, sink Sink, log *slog.Logger, m *metrics, reset func()) *graves {
	return &graves{topic: topic, sink: sink, log: log, metrics: m, reset: reset, copies: make(chan message.Stored, maxCopies)}
}

// tell counts a dead letter and logs it.
func (g *graves) tell(log *slog.Logger, m *message.Stored) {
	g.metrics.dead.Inc()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total++
	if now := time.Now(); now.Sub(g.began) >= time.Minute {
		g.began, g.told = now, 0
	}
	if g.told++; g.told > gravesTold {
		g.quiet++
		return
	}
	log.Error("the hub will never take this message, it is a dead letter now", "lane", m.Lane, "seq", m.Seq, "id", m.ID.String(),
		"topic", m.Topic, "bytes", m.Message.Size(), "reason", m.Reason, "left_out", g.quiet)
	g.quiet = 0
}

func (g *graves) count() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}

// offer has a copy sent, if there is room.
func (g *graves) offer(m *message.Stored) {
	if g.topic == "" || m.Topic == g.topic {
		return
	}
	c := *m
	c.Topic = g.topic
	select {
	case g.copies <- c:
	default:
		g.metrics.copiesLost.Inc()
	}
}

// run sends copies until ctx ends. What fails is counted: the dead letter itself
// is safe in the queue.
func (g *graves) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-g.copies:
			if err := g.send(ctx, &m); err != nil && ctx.Err() == nil {
				g.metrics.copiesLost.Inc()
				g.log.Error("could not copy a dead letter", "topic", g.topic, "lane", m.Lane, "seq", m.Seq, "err", err)
			}
		}
	}
}

// send waits for the answer, so that at most one copy is under way; after
// callTimeout it counts as failed, although it may yet arrive.
func (g *graves) send(ctx context.Context, m *message.Stored) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	n, err := g.sink.Partitions(ctx, g.topic)
	if staleClient(err) {
		g.reset()
		n, err = g.sink.Partitions(ctx, g.topic)
	}
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	err = g.sink.Produce(m, g.sink.Partition(&m.Message, n), g.sink.Turn(), func(_ int64, err error) { done <- err })
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
