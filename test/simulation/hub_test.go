package simulation

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"postroad/internal/kafka"
	"postroad/internal/message"
	"postroad/test/outbox"
)

// hub is the one hub of both stamps, in memory: it takes its time, refuses
// batches, loses answers after appending, goes away, refuses topics, and is cut
// off from a stamp.
type hub struct {
	w   *world
	rng *rand.Rand // guarded by mu

	mu    sync.Mutex
	logs  map[part][]record // guarded by mu
	away  bool              // guarded by mu
	cut   map[string]bool   // guarded by mu: stamps that cannot reach it
	held  map[string]bool   // guarded by mu: topics that it refuses
	far   map[reach]bool    // guarded by mu: partitions whose leader a stamp cannot reach
	parts int32             // guarded by mu: partitions of each topic; it grows
	turns uint64            // guarded by mu
	late  sync.WaitGroup    // requests that land after their client was given up
}

// reach is of a stamp to the leader of a partition.
type reach struct {
	stamp string
	to    part
}

type part struct {
	topic     string
	partition int32
}

// record is what a reader finds at an offset, and who put it there.
type record struct {
	id    message.ID
	place message.Place
	key   string
	value string
	by    *process
	at    time.Duration
	// accepted is when a gateway took the message.
	accepted time.Time
	// marked says that it carries the mark of a repeat, given when its forwarder
	// gave it to its client, to be sent.
	marked bool
	given  time.Duration
}

type hubError struct{ class string }

func (e hubError) Error() string { return "hub: " + e.class }
func (e hubError) Class() string { return e.class }

var errAway = errors.New("hub: away")

func newHub(w *world) *hub {
	return &hub{
		w: w, rng: w.random("hub"), logs: map[part][]record{}, cut: map[string]bool{}, held: map[string]bool{}, far: map[reach]bool{},
		parts: max(int32(1+w.rng.IntN(2)), w.plan.leastParts),
	}
}

func (h *hub) chance(percent int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rng.IntN(100) < percent
}

func (h *hub) delay(most time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Duration(h.rng.Int64N(int64(most))) + 1
}

// turn begins the next turn.
func (h *hub) turn() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turns++
	return h.turns
}

func (h *hub) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// refuses is what the hub says to a question of a stamp about a topic.
func (h *hub) refuses(stamp, topic string) error {
	return h.refusesPart(stamp, part{topic, -1})
}

// refusesPart is what it says to one about a partition.
func (h *hub) refusesPart(stamp string, of part) error {
	topic := of.topic
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.away, h.cut[stamp], h.far[reach{stamp, of}], h.rng.IntN(100) < 3:
		return errAway
	case h.held[topic] && h.rng.IntN(2) == 0:
		return hubError{"hold"}
	}
	return nil
}

// landLimit is how long a request may be on its way to the hub: less than
// forward.Options.TakeoverWait.
const landLimit = 5 * time.Second

// append is the hub's side of one request.
func (h *hub) append(l *link, p part, batch []*sending) (first int64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	roll := h.rng.IntN(200)
	switch {
	case h.away, h.cut[l.p.stamp.name], h.far[reach{l.p.stamp.name, p}], roll < 4:
		return 0, errAway
	case h.held[p.topic]:
		return 0, hubError{"hold"}
	case roll < 6:
		return 0, hubError{[]string{"retry", "hold"}[roll%2]}
	}
	for _, s := range batch {
		if s.Landed { // the hub knows a request that it has served
			return 0, hubError{"retry"}
		}
	}
	first = int64(len(h.logs[p]))
	for _, s := range batch {
		s.Record.at = h.w.elapsed()
		h.logs[p] = append(h.logs[p], s.Record)
		s.Landed = true
		h.w.sent(l.p, s.Record.place.Lane)
	}
	if roll < 8 { // appended, and the answer says otherwise
		return 0, hubError{"retry"}
	}
	return first, nil
}

// link is one process's connection to the hub: a forward.Sink with the promises
// of kafka.Sink.
type link struct {
	hub *hub
	p   *process
	out *outbox.Outbox[part, record]
}

type sending = outbox.Sent[record]

func newLink(h *hub, p *process) *link {
	return &link{hub: h, p: p, out: outbox.New[part, record](errAway, h.turn)}
}

func (l *link) Watch(func(error)) {}

func (l *link) Probe(context.Context) error {
	l.p.stand()
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	if l.hub.away || l.hub.cut[l.p.stamp.name] {
		return errAway
	}
	return nil
}

func (l *link) Partitions(_ context.Context, topic string) (int32, error) {
	l.p.stand()
	if err := l.hub.refuses(l.p.stamp.name, topic); err != nil {
		return 0, err
	}
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	return l.hub.parts, nil
}

func (l *link) Partition(m *message.Message, n int32) int32 { return kafka.Partition(m, n) }

func (l *link) Ends(_ context.Context, of []message.Mark) ([]message.Mark, error) {
	l.p.stand()
	var out []message.Mark
	for _, m := range of {
		if err := l.hub.refusesPart(l.p.stamp.name, part{m.Topic, m.Partition}); err != nil {
			return nil, err
		}
		l.hub.mu.Lock()
		m.Offset = int64(len(l.hub.logs[part{m.Topic, m.Partition}]))
		l.hub.mu.Unlock()
		out = append(out, m)
	}
	return out, nil
}

func (l *link) ReadBack(_ context.Context, from []message.Mark, found func(message.Place, message.Mark)) ([]message.Mark, error) {
	l.p.stand()
	for _, m := range from {
		if err := l.hub.refusesPart(l.p.stamp.name, part{m.Topic, m.Partition}); err != nil {
			return nil, err
		}
		l.hub.mu.Lock()
		log := l.hub.logs[part{m.Topic, m.Partition}]
		l.hub.mu.Unlock()
		for o := m.Offset; o < int64(len(log)); o++ {
			found(log[o].place, message.Mark{Topic: m.Topic, Partition: m.Partition, Offset: o})
		}
	}
	return nil, nil
}

func (l *link) Turn() uint64 {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	return l.hub.turns
}

// Produce takes a message, and does not block: the forwarder may hold locks.
func (l *link) Produce(m *message.Stored, partition int32, turn uint64, done func(int64, error)) error {
	p := part{m.Topic, partition}
	r := record{id: m.ID, place: m.Place, key: string(m.Key), value: string(m.Value), by: l.p, accepted: m.Time, marked: m.Repeat, given: l.hub.w.elapsed()}
	return l.out.Put(p, turn, &sending{Record: r, Done: done}, func(run int) { l.send(p, run) })
}

// send carries one partition's queue to the hub in batches until it is empty.
func (l *link) send(p part, run int) {
	for {
		<-time.After(l.hub.delay(l.hub.w.plan.slow))
		l.p.stand()
		batch, more := l.out.Next(p, run, 1+int(l.hub.delay(40)))
		if !more {
			return
		}
		if l.p.queue.Overdue() != nil { // as kafka.Deps.MayWrite
			<-time.After(l.hub.delay(time.Second))
			continue
		}
		if l.hub.chance(1) { // on its way for long; it lands, whatever becomes of the process
			<-time.After(l.hub.delay(landLimit))
		}
		first, err := l.hub.append(l, p, batch)
		if errors.Is(err, errAway) {
			<-time.After(l.hub.delay(200 * time.Millisecond))
			continue // retried without limit
		}
		<-time.After(l.hub.delay(5 * time.Millisecond))
		l.p.stand()
		told := l.out.Settle(p, run, batch, first, err, func() { <-time.After(l.hub.delay(5 * time.Millisecond)) })
		if !told {
			return
		}
	}
}

// Reset gives everything back; what is in the hub's hands may still land.
func (l *link) Reset() error {
	l.out.GiveBack(false, l.late)
	return nil
}

func (l *link) Close() {
	l.out.GiveBack(true, l.late)
	l.out.Wait()
}

// late has a request of a partition land although its client was given up.
func (l *link) late(p part, queue []*sending) {
	if l.p.queue.Overdue() != nil || !l.hub.chance(50) {
		return
	}
	batch := queue[:min(len(queue), 1+int(l.hub.delay(40)))]
	l.hub.late.Go(func() {
		<-time.After(l.hub.delay(landLimit))
		_, _ = l.hub.append(l, p, batch) // nobody hears the answer
	})
}
