package relay

import (
	"context"
	"errors"
	"hash/crc32"
	"sync"
	"time"

	"postroad/internal/message"
	"postroad/internal/relay/wire"
	"postroad/test/outbox"
)

var errAway = errors.New("hub: away")

// hub is the hub behind the second stamp, in memory. It loses nothing and repeats
// nothing, so that what stands in it twice was sent to it twice.
type hub struct {
	mu    sync.Mutex
	logs  map[logKey][]message.Stored // guarded by mu, with what the first stamp's identities were
	away  bool                        // guarded by mu
	turns uint64                      // guarded by mu
}

type logKey struct {
	topic     string
	partition int32
}

func newHub() *hub { return &hub{logs: map[logKey][]message.Stored{}} }

func (h *hub) setAway(away bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.away = away
}

func (h *hub) all() map[logKey][]message.Stored {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[logKey][]message.Stored{}
	for k, log := range h.logs {
		out[k] = append([]message.Stored(nil), log...)
	}
	return out
}

// link is one process's connection to the hub.
type link struct {
	hub *hub
	out *outbox.Outbox[logKey, message.Stored]
}

func newLink(h *hub) *link {
	l := &link{hub: h}
	l.out = outbox.New[logKey, message.Stored](errAway, func() uint64 {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.turns++
		return h.turns
	})
	return l
}

func (l *link) Watch(func(error)) {}

func (l *link) Probe(context.Context) error {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	if l.hub.away {
		return errAway
	}
	return nil
}

func (l *link) Partitions(ctx context.Context, _ string) (int32, error) { return 2, l.Probe(ctx) }
func (l *link) Partition(m *message.Message, n int32) int32 {
	return int32(crc32.ChecksumIEEE(m.Key) % uint32(n))
}

func (l *link) Ends(ctx context.Context, of []message.Mark) ([]message.Mark, error) {
	if err := l.Probe(ctx); err != nil {
		return nil, err
	}
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	var out []message.Mark
	for _, m := range of {
		m.Offset = int64(len(l.hub.logs[logKey{m.Topic, m.Partition}]))
		out = append(out, m)
	}
	return out, nil
}

func (l *link) ReadBack(ctx context.Context, from []message.Mark, found func(message.Place, message.Mark)) ([]message.Mark, error) {
	if err := l.Probe(ctx); err != nil {
		return nil, err
	}
	all := l.hub.all()
	for _, m := range from {
		log := all[logKey{m.Topic, m.Partition}]
		for o := m.Offset; o < int64(len(log)); o++ {
			found(log[o].Place, message.Mark{Topic: m.Topic, Partition: m.Partition, Offset: o})
		}
	}
	return nil, nil
}

func (l *link) Turn() uint64 {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	return l.hub.turns
}

func (l *link) Produce(m *message.Stored, partition int32, turn uint64, done func(int64, error)) error {
	p := logKey{m.Topic, partition}
	return l.out.Put(p, turn, &outbox.Sent[message.Stored]{Record: *m, Done: done}, func(run int) { l.send(p, run) })
}

func (l *link) send(p logKey, run int) {
	for {
		<-time.After(5 * time.Millisecond)
		batch, more := l.out.Next(p, run, 50)
		if !more {
			return
		}
		l.hub.mu.Lock()
		away, first := l.hub.away, int64(len(l.hub.logs[p]))
		if !away {
			for _, s := range batch {
				l.hub.logs[p] = append(l.hub.logs[p], s.Record)
			}
		}
		l.hub.mu.Unlock()
		if away {
			<-time.After(100 * time.Millisecond)
			continue
		}
		if !l.out.Settle(p, run, batch, first, nil, func() {}) {
			return
		}
	}
}

func (l *link) Reset() error {
	l.out.GiveBack(false, func(logKey, []*outbox.Sent[message.Stored]) {})
	return nil
}

func (l *link) Close() {
	l.out.GiveBack(true, func(logKey, []*outbox.Sent[message.Stored]) {})
	l.out.Wait()
}

// came is where the first stamp of a record keeps it.
func came(m *message.Stored) (string, message.Place) {
	path, at, ok := wire.Came(&m.Message)
	if !ok {
		return "", message.Place{}
	}
	return path[len(path)-1], at
}
