package drill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// LoadOptions say what a Load sends.
type LoadOptions struct {
	// Topic takes the messages.
	Topic string
	// Classic sends classic calls, too; the gateway's classic topic must then
	// be Topic.
	Classic bool
	// Connections is how many requests are under way at a time.
	Connections int
	// ValueBytes is the least size of a value.
	ValueBytes int
	// Patience is how long an answer is waited for.
	Patience time.Duration
	// Pace is about how long a connection rests after each answer; 0 not at
	// all.
	Pace time.Duration
	// Elsewhere sends what has an unknown outcome again at another target than
	// before, as a client does that does not wait for a sick gateway.
	Elsewhere bool
	// Seed decides what is sent.
	Seed uint64
}

// Target is where a load sends.
type Target struct {
	// URL is the base URL of a gateway or door.
	URL string
	// Ordered says that it is one gateway, which promises order per key.
	Ordered bool
}

// Load sends messages that differ from each other over many connections and
// enters all of them in a ledger. Nothing is sent again but what has an
// idempotency key and an unknown outcome, about half of that, and the ledger
// knows of it.
type Load struct {
	opts    LoadOptions
	ledger  *Ledger
	workers []*worker

	// elsewhere are requests to be sent again at another target than before.
	mu        sync.Mutex
	elsewhere []pending // guarded by mu

	acknowledged atomic.Int64
	unknown      atomic.Int64
	underWay     atomic.Int64
}

// worker is one connection of the load. It is used by one goroutine at a time.
type worker struct {
	load *Load
	rng  *rand.Rand
	mix  mix
	// unknown are requests to be sent again.
	unknown []pending
	buf     []byte
}

type pending struct {
	send Send
	// at is the target that it was sent to last.
	at string
	request
}

// maxUnknown bounds what a worker keeps to send again.
const maxUnknown = 100

// NewLoad makes a load; nothing is sent yet.
func NewLoad(l *Ledger, o LoadOptions) *Load {
	load := &Load{opts: o, ledger: l}
	for i := range o.Connections {
		rng := rand.New(rand.NewPCG(o.Seed, uint64(i)))
		w := &worker{load: load, rng: rng}
		w.mix = mix{
			rng: rng, topic: o.Topic, classic: o.Classic, size: o.ValueBytes,
			label: fmt.Sprintf("%x-%d", o.Seed, i),
		}
		if i%8 != 7 {
			w.mix.key = fmt.Appendf(nil, "key %d/%%", i) // not harmless in a URL
		}
		load.workers = append(load.workers, w)
	}
	return load
}

// Acknowledged is how many requests have been acknowledged so far.
func (l *Load) Acknowledged() int64 { return l.acknowledged.Load() }

// Unknown is how many answers left the outcome open, so far: those that said so,
// and those that did not come.
func (l *Load) Unknown() int64 { return l.unknown.Load() }

// UnderWay is how many requests are sent and not answered.
func (l *Load) UnderWay() int64 { return l.underWay.Load() }

// Run sends to the targets, one for each connection in turn, until ctx ends and
// the requests under way have their answer or Patience is over. A connection
// that breaks is made anew. Run may be called again, with other targets.
func (l *Load) Run(ctx context.Context, targets ...Target) error {
	for _, t := range targets {
		if _, err := HostOf(t.URL); err != nil {
			return err
		}
	}
	var all sync.WaitGroup
	for i, w := range l.workers {
		all.Go(func() { w.run(ctx, targets[i%len(targets)]) })
	}
	all.Wait()
	return nil
}

// Pauses of a worker that got nowhere.
const (
	redialPause = 20 * time.Millisecond
	refusePause = 20 * time.Millisecond
)

func (w *worker) run(ctx context.Context, target Target) {
	for ctx.Err() == nil {
		conn, err := Dial(ctx, target.URL)
		if err != nil {
			w.pause(ctx, redialPause)
			continue
		}
		w.drive(ctx, conn, target)
		conn.Close()
	}
}

// drive sends over one connection until it breaks or ctx ends.
func (w *worker) drive(ctx context.Context, conn *Conn, target Target) {
	stream := NoStream
	if target.Ordered && w.mix.key != nil {
		stream = w.load.ledger.NewStream()
	}
	for at := 0; ctx.Err() == nil; at++ {
		p := w.take(stream, at, target.URL)
		outcome, alive := w.send(conn, p.request)
		w.load.ledger.Answered(p.send, outcome)
		switch outcome {
		case Acknowledged:
			w.load.acknowledged.Add(1)
		case Unknown:
			w.load.unknown.Add(1)
			if p.repeatable && w.rng.IntN(2) == 0 {
				w.keep(p)
			}
		case Refused:
			w.pause(ctx, refusePause)
		}
		if !alive {
			return
		}
		if w.load.opts.Pace > 0 {
			w.pause(ctx, w.load.opts.Pace)
		}
	}
}

// keep remembers a request that is to be sent again, unless there are too many.
func (w *worker) keep(p pending) {
	if !w.load.opts.Elsewhere {
		if len(w.unknown) < maxUnknown {
			w.unknown = append(w.unknown, p)
		}
		return
	}
	l := w.load
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.elsewhere) < maxUnknown*len(l.workers) {
		l.elsewhere = append(l.elsewhere, p)
	}
}

// again returns a request to be sent again to a target, if there is one.
func (w *worker) again(target string) (pending, bool) {
	if n := len(w.unknown); n > 0 {
		p := w.unknown[n-1]
		w.unknown = w.unknown[:n-1]
		return p, true
	}
	l := w.load
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.elsewhere, func(p pending) bool { return p.at != target })
	if i < 0 {
		return pending{}, false
	}
	p := l.elsewhere[i]
	l.elsewhere = slices.Delete(l.elsewhere, i, i+1)
	return p, true
}

// take returns the request to send now, entered in the ledger.
func (w *worker) take(stream Stream, at int, target string) pending {
	if p, ok := w.again(target); ok {
		p.at = target
		w.load.ledger.Again(p.send)
		return p
	}
	r := w.mix.next()
	return pending{w.load.ledger.Sending(r.name, stream, at, r.prints...), target, r}
}

// send returns the outcome, and whether the connection can be used further.
func (w *worker) send(conn *Conn, r request) (Outcome, bool) {
	if conn.SetDeadline(time.Now().Add(w.load.opts.Patience)) != nil {
		return Refused, false // closed, nothing was sent
	}
	w.buf = AppendPost(w.buf[:0], conn.host, r.path, r.contentType, r.headers, r.body)
	w.load.underWay.Add(1)
	defer w.load.underWay.Add(-1)
	// An answer whose header came whole counts, even if the rest is cut off:
	// the promise is given with the status.
	answer, err := conn.Do(w.buf)
	return Judged(answer.Status), err == nil && !answer.Close
}

// Judged tells what a status says about the messages of a request.
func Judged(status int) Outcome {
	switch {
	case status >= 200 && status < 300:
		return Acknowledged
	case status >= 400 && status < 500, status == 503, status == 507:
		return Refused
	}
	return Unknown
}

func (w *worker) pause(ctx context.Context, d time.Duration) {
	_ = rest(ctx, d/2+rand.N(d)) // the caller looks at ctx
}
