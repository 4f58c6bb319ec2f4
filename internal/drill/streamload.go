package drill

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// streamLoad posts messages through two gateways, and much of it twice: the same
// request with the same idempotency key at the other gateway, some seconds
// later. Both are stored, and stand in the hub with other messages between them;
// with clients cut off and coming back in the meantime they are on both sides of
// the cut.
type streamLoad struct {
	ledger  *Ledger
	workers []*streamSender
	targets []string

	// pace is about how long a sender rests.
	pace time.Duration

	acknowledged atomic.Int64
	again        atomic.Int64

	mu      sync.Mutex
	origins map[Print]origin // guarded by mu
}

// streamSender writes one key, or messages without one.
type streamSender struct {
	load *streamLoad
	at   int // its target
	rng  *rand.Rand
	mix  mix
	// later are requests to be sent again, by when.
	later []later
	conns [2]*Conn
	buf   []byte
	// stream and count are of the connection that is open.
	stream Stream
	count  int
}

type later struct {
	due time.Time
	pending
}

// mostLater is the longest time between the two copies of a request.
const mostLater = 6 * time.Second

// newStreamLoad makes a load of as many senders as there are keys, nil for one
// without a key.
func newStreamLoad(l *Ledger, topic string, keys [][]byte, pace time.Duration, seed uint64, targets ...string) *streamLoad {
	load := &streamLoad{ledger: l, targets: targets, pace: pace, origins: make(map[Print]origin)}
	for i, key := range keys {
		rng := rand.New(rand.NewPCG(seed, uint64(1000+i)))
		load.workers = append(load.workers, &streamSender{
			load: load, at: i % len(targets), rng: rng,
			mix: mix{rng: rng, topic: topic, classic: true, size: 200, label: fmt.Sprintf("%x-%d", seed, i), key: key},
		})
	}
	return load
}

// run sends until ctx ends and all that is to be sent again was.
func (l *streamLoad) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, w := range l.workers {
		all.Go(func() {
			defer w.hangUp()
			for ctx.Err() == nil {
				if err := w.next(context.WithoutCancel(ctx)); err != nil {
					w.hangUp()
				}
				_ = rest(ctx, l.pace/2+rand.N(l.pace)) // the loop looks at ctx
			}
		})
	}
	all.Wait()
}

// whole is where the messages of all prints belong, but for their partitions.
func (l *streamLoad) whole() map[Print]origin {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.origins)
}

func (w *streamSender) hangUp() {
	for i, c := range w.conns {
		if c != nil {
			c.Close()
			w.conns[i] = nil
		}
	}
	w.stream = NoStream
}

// next sends what is due for the second time, then a request that is new.
func (w *streamSender) next(ctx context.Context) error {
	for len(w.later) > 0 && time.Now().After(w.later[0].due) {
		p := w.later[0].pending
		w.later = w.later[1:]
		w.load.ledger.Again(p.send)
		w.load.again.Add(1)
		if err := w.send(ctx, (w.at+1)%len(w.load.targets), p); err != nil {
			return err
		}
	}
	if w.mix.key == nil {
		// No twins: two messages of the same bytes and no key may stand in two
		// partitions, and nobody could tell whose is which.
		w.mix.last = nil
	}
	r := w.mix.next()
	w.enter(r)
	if w.stream == NoStream && w.mix.key != nil {
		w.stream, w.count = w.load.ledger.NewStream(), 0
	}
	w.count++
	p := pending{w.load.ledger.Sending(r.name, w.stream, w.count, r.prints...), "", r}
	if r.repeatable && w.rng.IntN(2) == 0 {
		due := later{time.Now().Add(time.Duration(w.rng.Int64N(int64(mostLater)))), p}
		i, _ := slices.BinarySearchFunc(w.later, due, func(a, b later) int { return a.due.Compare(b.due) })
		w.later = slices.Insert(w.later, i, due)
	}
	return w.send(ctx, w.at, p)
}

// enter notes where messages belong.
func (w *streamSender) enter(r request) {
	w.load.mu.Lock()
	defer w.load.mu.Unlock()
	for _, p := range r.prints {
		w.load.origins[p] = origin{key: string(w.mix.key), hasKey: w.mix.key != nil, partition: -1}
	}
}

// send posts a request and enters its outcome.
func (w *streamSender) send(ctx context.Context, at int, p pending) error {
	if w.conns[at] == nil {
		c, err := Dial(ctx, w.load.targets[at])
		if err != nil {
			w.load.ledger.Answered(p.send, Refused)
			return err
		}
		w.conns[at] = c
	}
	c := w.conns[at]
	if err := c.SetDeadline(time.Now().Add(startTimeout)); err != nil {
		w.load.ledger.Answered(p.send, Refused)
		return err
	}
	w.buf = AppendPost(w.buf[:0], c.host, p.path, p.contentType, p.headers, p.body)
	answer, err := c.Do(w.buf)
	outcome := Judged(answer.Status)
	w.load.ledger.Answered(p.send, outcome)
	if outcome == Acknowledged {
		w.load.acknowledged.Add(1)
	}
	if err == nil && answer.Close {
		err = ErrEnded
	}
	return err
}
