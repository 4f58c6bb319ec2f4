package forward

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"postroad/internal/message"
)

// memoryLog is a hub of one topic whose records are known to who tests.
type memoryLog struct {
	rng    *rand.Rand
	window int
	parts  [][]message.Copy
	starts []int64
	reads  int
	Sink
}

func (l *memoryLog) Window() int { return l.window }

func (l *memoryLog) Ends(_ context.Context, of []message.Mark) ([]message.Mark, error) {
	out := append([]message.Mark(nil), of...)
	for i := range out {
		out[i].Offset = int64(len(l.parts[out[i].Partition]))
	}
	return out, nil
}

func (l *memoryLog) Since(_ context.Context, of []message.Mark, t time.Time) ([]message.Span, map[int]bool, error) {
	cut := map[int]bool{}
	var out []message.Span
	for i, m := range of {
		log, start := l.parts[m.Partition], l.starts[m.Partition]
		from := start
		for from < int64(len(log)) && log[from].Produced.Before(t) {
			from++
		}
		cut[i] = start > 0 && from == start
		out = append(out, message.Span{Topic: m.Topic, Partition: m.Partition, From: from, To: int64(len(log))})
	}
	return out, cut, nil
}

var errCopies = errors.New("broke off")

func (l *memoryLog) Copies(_ context.Context, of []message.Span, found func(message.Copy)) (lost []message.Mark, err error) {
	for _, s := range of {
		log, from := l.parts[s.Partition], max(s.From, l.starts[s.Partition])
		if from > s.From {
			lost = append(lost, message.Mark{Topic: s.Topic, Partition: s.Partition})
		}
		for o := from; o < s.To; o++ {
			if l.rng.IntN(20000) == 0 {
				return lost, errCopies
			}
			l.reads++
			found(log[o])
		}
	}
	return lost, nil
}

func (l *memoryLog) append(p int32, id message.ID, repeat bool, at time.Time) {
	o := int64(len(l.parts[p]))
	l.parts[p] = append(l.parts[p], message.Copy{ID: id, Repeat: repeat, Produced: at, At: message.Mark{Topic: "t", Partition: p, Offset: o}})
}

func numbered(n uint64) (id message.ID) {
	binary.BigEndian.PutUint64(id[8:], n*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(id[:8], n)
	return id
}

// What is known of the past is held against a search through the whole log, with
// little room, records that retention removes, reads that break off, and own
// records between others'.
func TestPastAgainstASearch(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) % 1e9
	for s := seed; s < seed+3; s++ {
		t.Run(fmt.Sprint(s), func(t *testing.T) { pastAgainstASearch(t, s, 2*idBlockSize, 2, 60000) })
	}
}

// The same with partitions of which each is within the room, and all together are
// far beyond it.
func TestPastOfManyPartitions(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) % 1e9
	pastAgainstASearch(t, seed, 2*idBlockSize, 5, 100000)
}

// With room for all nothing is unsure, but for what retention removed.
func TestPastWithRoom(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) % 1e9
	if unsure := pastAgainstASearch(t, seed, 1000000, 2, 60000); unsure > 0 {
		t.Errorf("seed %d: %d were unsure", seed, unsure)
	}
}

func pastAgainstASearch(t *testing.T, seed uint64, room, partitions, records int) (unsure int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	log := &memoryLog{rng: rng, window: 4 + rng.IntN(4000), parts: make([][]message.Copy, partitions), starts: make([]int64, partitions)}
	m, err := newMetrics(nil, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	o.LateIDs = room
	l := newLate(o, log, log, m)
	marks := 1 // of 20 records
	if room < 1000000 && seed%2 == 0 {
		marks = 15
	}
	began := time.Now().Add(-48 * time.Hour)
	at, step := began, time.Second/2
	next := uint64(0)
	grow := func(n int) {
		for range n {
			next++
			at = at.Add(step)
			id := next
			if rng.IntN(10) == 0 && next > 100 { // another copy of one
				id -= uint64(rng.IntN(int(min(next-1, 50000))))
			}
			log.append(int32(rng.IntN(partitions)), numbered(id), rng.IntN(20) < marks, at)
		}
	}
	grow(records)
	removed := false
	topic, ctx := l.topic("t"), t.Context()
	const steps = 150
	for backlog := 0; backlog < steps; backlog++ {
		age := time.Duration(records) * step * time.Duration(steps-backlog) / steps
		if rng.IntN(5) == 0 { // of a chain that is further behind
			age += time.Duration(rng.Int64N(int64(time.Duration(records)*step - age + 1)))
		}
		batch := make([]message.Stored, 1+rng.IntN(20))
		oldest := map[int32]time.Time{}
		for i := range batch {
			b := &batch[i]
			b.ID, b.Repeat, b.Topic = numbered(1+rng.Uint64N(next)), rng.IntN(2) == 0, "t"
			b.Time = at.Add(-age).Add(time.Duration(rng.IntN(60)) * time.Second)
			p := int32(i % partitions)
			if was, ok := oldest[p]; !ok || b.Time.Before(was) {
				oldest[p] = b.Time
			}
		}
		if room < 1000000 && rng.IntN(100) == 0 {
			p := rng.IntN(partitions)
			log.starts[p] += rng.Int64N(int64(len(log.parts[p])) - log.starts[p])
			removed = true
		}
		for {
			ahead, near, err := l.plan(ctx, topic, oldest)
			if err != nil {
				t.Fatal(err)
			}
			if len(ahead)+len(near) == 0 {
				break
			}
			if err := l.read(ctx, topic, ahead, near); err != nil && !errors.Is(err, errCopies) {
				t.Fatal(err)
			}
		}
		for i := range batch {
			if judgePast(t, seed, log, topic, int32(i%2), &batch[i]) {
				unsure++
			}
		}
		grow(rng.IntN(200) * rng.IntN(2))
		for range rng.IntN(50) { // own ones, some of which are told of
			next++
			at = at.Add(step)
			p := int32(rng.IntN(partitions))
			log.append(p, numbered(next), rng.IntN(20) < marks, at)
			c := log.parts[p][len(log.parts[p])-1]
			if past := topic.parts[p]; past != nil && rng.IntN(10) > 0 {
				past.landed(&c, false)
			}
		}
	}
	l.empty(topic)
	if left := l.plain.left.Load() + l.marked.left.Load(); left != 2*int64(room) {
		t.Errorf("seed %d: room for %d ids is not given back", seed, 2*int64(room)-left)
	}
	t.Logf("seed %d: %d records, %d read, %d unsure, retention: %v", seed, next, log.reads, unsure, removed)
	return unsure
}

// judgePast: whatever is there from the accept time - 5 min to a quarter of the
// window before the end is found, if either is marked, or the answer is unsure; and
// what is found is there.
func judgePast(t *testing.T, seed uint64, log *memoryLog, topic *lateTopic, p int32, m *message.Stored) bool {
	t.Helper()
	offset, found, unsure := topic.parts[p].twin(m)
	if found {
		if c := log.parts[p][offset]; c.ID != m.ID || !c.Repeat && !m.Repeat {
			t.Fatalf("seed %d: found %+v at %d for a message that is marked: %v", seed, c, offset, m.Repeat)
		}
		return false
	}
	if unsure {
		return true
	}
	since := m.Time.Add(-lateSlack)
	end := len(log.parts[p]) - log.window/4
	for o := 0; o < end; o++ {
		c := log.parts[p][o]
		if c.ID == m.ID && !c.Produced.Before(since) && (c.Repeat || m.Repeat) {
			t.Fatalf("seed %d: %d/%d, produced %v after the message was accepted, is not found, and the answer is sure", seed, p, o, c.Produced.Sub(m.Time))
		}
	}
	return false
}
