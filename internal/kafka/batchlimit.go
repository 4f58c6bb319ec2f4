package kafka

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// limits knows how large a record batch each topic takes. A topic's
// max.message.bytes may be far below hub.batch_max_bytes. A backlog fills batches
// up to what the client was told, and each that is larger than the topic takes is
// refused as a whole and sent one message at a time.
type limits struct {
	most int32 // hub.batch_max_bytes

	mu      sync.Mutex
	topics  map[string]*limit // guarded by mu
	version uint64            // guarded by mu: counts changes
}

// limit is what is known of one topic. Guarded by limits.mu.
type limit struct {
	hub     int32     // its max.message.bytes as last read; 0 where not known
	learned int32     // by refusals since; 0 where there were none
	due     time.Time // when it is to be read again
}

const (
	// leastBatch is the smallest batch that a client can be told to make.
	leastBatch = 512
	// limitAge is after how long a topic's limit is read again, so that one that
	// was raised is made use of.
	limitAge = 5 * time.Minute
	// limitTimeout bounds the reading, which nothing depends on.
	limitTimeout = 3 * time.Second
)

func newLimits(most int32) *limits { return &limits{most: most, topics: map[string]*limit{}} }

// named returns what is known of a topic. The caller holds mu.
func (l *limits) named(topic string) *limit {
	t := l.topics[topic]
	if t == nil {
		t = &limit{}
		l.topics[topic] = t
	}
	return t
}

// lockedOf returns how large a batch of a topic may be. The caller holds mu.
func (l *limits) lockedOf(topic string) int32 {
	n := l.most
	if t := l.topics[topic]; t != nil {
		for _, known := range []int32{t.hub, t.learned} {
			if known > 0 {
				n = min(n, known)
			}
		}
	}
	return max(n, leastBatch)
}

// wanted returns the limit for a batch that begins with a record of so many bytes.
// Where the record alone is above its topic's limit the hub must be asked all the
// same, as it counts what is left after compression; the limit is then such that
// the record has little company.
func (l *limits) wanted(topic string, size int) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.lockedOf(topic)
	if size <= int(n) {
		return n
	}
	return l.roomFor(size)
}

// roomFor returns the smallest of hub.batch_max_bytes, its half, its quarter and
// so on that holds so many bytes; few values, because each may take a client.
func (l *limits) roomFor(size int) int32 {
	n := l.most
	for int(n/2) >= size && n/2 >= leastBatch {
		n /= 2
	}
	return n
}

// refused notes that the hub did not take a batch, of several records that come to
// so many bytes, from a client that was told some limit. Half of it is tried next;
// what the topic says when it is read again goes before that.
func (l *limits) refused(topic string, told int32, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.named(topic)
	t.due = time.Time{}
	if told != l.lockedOf(topic) {
		return // learned already, or a batch around a record that is above the limit
	}
	t.learned = max(leastBatch, min(told, int32(min(bytes, math.MaxInt32)))/2)
	l.version++
}

// isDue reports whether a topic's limit is to be read now, at most once each
// limitAge.
func (l *limits) isDue(topic string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.named(topic)
	if now.Before(t.due) {
		return false
	}
	t.due = now.Add(limitAge)
	return true
}

// read notes what the topic says. Where that has changed, what was learned is of no
// use any more.
func (l *limits) read(topic string, bytes int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.named(topic); t.hub != bytes {
		t.hub, t.learned = bytes, 0
		l.version++
	}
}

// again has a topic's limit read at the next opportunity.
func (l *limits) again(topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.named(topic).due = time.Time{}
}

// readLimit asks for a topic's limit where it is due. Who may not see it goes by
// refusals. An event hub has no such setting.
func (s *Sink) readLimit(ctx context.Context, client *kgo.Client, topic string) {
	if s.opts.Dialect == dialectEventHubs || !s.limits.isDue(topic, time.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limitTimeout)
	defer cancel()
	n, err := maxMessageBytes(ctx, client, topic)
	switch {
	case err == nil:
		s.limits.read(topic, n)
	case Classify(err) == ClassRetry:
		s.limits.again(topic)
	}
	if err != nil {
		s.deps.Log.Debug("cannot read the topic's max.message.bytes, going by what it refuses", "topic", topic, "err", err)
	}
}

// maxMessageBytes reads a topic's setting.
func maxMessageBytes(ctx context.Context, client *kgo.Client, topic string) (int32, error) {
	const name = "max.message.bytes"
	value, err := topicSetting(ctx, client, topic, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 0 {
		return 0, &Error{class: ClassHold, err: fmt.Errorf("%s is %q", name, value)}
	}
	return max(int32(n), 1), nil
}

// batchBytes is at least the size of a batch of one record without compression, as
// the client counts it: 61 bytes and the length of the batch, and the record with
// its lengths at their longest.
func batchBytes(r *kgo.Record) int {
	const batch, record, each = 65, 5 + 1 + 10 + 5 + 5 + 5 + 5, 5
	n := batch + record + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += 2*each + len(h.Key) + len(h.Value)
	}
	return n
}
