package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/message"
)

const (
	// transactionTimeout is after how long the hub aborts a transaction by itself.
	transactionTimeout = 10 * time.Second
	// giveUpAfter is how long the answers in a transaction may take: less than
	// that. patience is that of one with a partition that did not answer before.
	giveUpAfter = 7 * time.Second
	patience    = 2 * time.Second
	// leftOutFor bounds how long a partition that did not answer is left out.
	leftOutFor = 30 * time.Second
)

// run makes transactions of what is produced until ctx ends.
func (x *Session) run(ctx context.Context) {
	defer close(x.ended)
	defer func() {
		x.drop()
		x.failAll(&Error{class: ClassRetry, err: ErrClosed})
		x.tellWritten(&Error{class: ClassRetry, err: ErrClosed})
	}()
	for fails := 0; x.work(ctx); {
		err := x.reopen(ctx)
		if err == nil {
			x.giveBackStale()
			err = x.transact(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		x.tellWritten(err)
		if err == nil {
			fails = 0
			continue
		}
		(*x.sink.health.Load())(err) // so that the hub is probed
		x.sink.deps.Log.Debug("a transaction failed, trying again", "chain", x.opts.Chain, "err", err, "fails", fails+1)
		fails++
		if sleep(ctx, backoff(fails)) != nil {
			return
		}
	}
}

// work waits until there is something to do; false says that ctx has ended.
func (x *Session) work(ctx context.Context) bool {
	for ctx.Err() == nil {
		x.mu.Lock()
		some := len(x.pending) > 0 || x.finish
		x.mu.Unlock()
		if some {
			return true
		}
		select {
		case <-x.more:
		case <-ctx.Done():
		}
	}
	return false
}

// reopen begins anew where the last transaction failed. What the hub refuses until
// somebody changes something is told to everybody who waits.
func (x *Session) reopen(ctx context.Context) error {
	if x.client != nil && x.by.current() {
		return nil
	}
	x.drop()
	_, err := x.open(ctx)
	if err != nil && Classify(err) == ClassHold {
		x.failAll(chainError{err})
	}
	return err
}

// drop gives the client up. What it had under way is answered soon.
func (x *Session) drop() {
	x.mu.Lock()
	client := x.client
	x.client = nil
	x.mu.Unlock()
	if client != nil {
		client.Close()
	}
}

// txn is one transaction. Owned by the loop, but for what is guarded by mu.
type txn struct {
	x      *Session
	client *kgo.Client
	tries  []*try
	record *try // of the chain's progress; nil until it is sent

	changed chan struct{} // has a token when the last answer or an error came
	mu      sync.Mutex
	left    int   // guarded by mu: tries that are not answered
	err     error // guarded by mu: the first of those that came
}

// try is one record on its way. As a context it never ends and reads no field, see
// wire.
type try struct {
	txn  *txn
	e    *entry // nil for the record of progress
	rec  kgo.Record
	hdrs []kgo.RecordHeader
	buf  []byte

	answered bool // guarded by txn.mu, and all below
	offset   int64
	err      error
}

func (*try) Deadline() (time.Time, bool) { return time.Time{}, false }
func (*try) Done() <-chan struct{}       { return nil }
func (*try) Err() error                  { return nil }
func (*try) Value(any) any               { return nil }

// tried is the promise of every record.
func tried(r *kgo.Record, err error) {
	w := r.Context.(*try)
	t := w.txn
	t.mu.Lock()
	defer t.mu.Unlock()
	w.answered, w.offset, w.err = true, r.Offset, err
	if t.left--; t.left == 0 || err != nil {
		wake(t.changed)
	}
	if t.err == nil {
		t.err = err
	}
}

// produce sends one record. e is nil for the record of progress.
func (t *txn) produce(w *try) {
	t.mu.Lock()
	t.left++
	t.mu.Unlock()
	w.txn, w.rec.Context = t, w
	t.client.Produce(w, &w.rec, tried)
}

// send sends a message.
func (t *txn) send(e *entry) {
	s := t.x.sink
	w := t.x.tries.Get().(*try)
	w.e = e
	w.hdrs, w.buf = appendHeaders(w.hdrs[:0], w.buf[:0], e.m, &s.attributes, s.deps.Stamp)
	w.rec = kgo.Record{
		Topic: e.key.topic, Partition: e.key.partition, Key: e.m.Key, Value: e.m.Value, Headers: w.hdrs,
		Timestamp: time.Now(), // of producing, as the Sink's
	}
	t.tries = append(t.tries, w)
	t.produce(w)
}

// answers waits until everything is answered, or until an error came where early
// is set. It reports whether everything is.
func (t *txn) answers(stop <-chan struct{}, early bool) bool {
	for {
		t.mu.Lock()
		all, err := t.left == 0, t.err
		t.mu.Unlock()
		if all || early && err != nil {
			return all
		}
		select {
		case <-t.changed:
		case <-stop:
			return false
		}
	}
}

// transact makes one transaction. The error is why it failed as a whole; all of it
// is sent again then.
func (x *Session) transact(ctx context.Context) error {
	t := &txn{x: x, client: x.client, changed: make(chan struct{}, 1)}
	if err := t.client.BeginTransaction(); err != nil {
		x.drop()
		return fmt.Errorf("begin a transaction: %w", err)
	}
	limit, cancel := context.WithTimeout(ctx, x.allowance())
	defer cancel()
	next, finish := x.gather(limit, t)
	if len(t.tries) == 0 && !finish {
		return t.end(ctx, kgo.TryAbort) // nothing was sent: no exchange with the hub
	}
	whole := t.answers(limit.Done(), true)
	t.mu.Lock()
	failed := t.err != nil
	t.mu.Unlock()
	if failed {
		whole = t.answers(limit.Done(), false)
	}
	if failed || !whole {
		return x.abort(ctx, t, whole)
	}
	if err := t.end(ctx, kgo.TryCommit); err != nil {
		// It may have been committed: the record tells, when it is read again.
		x.drop()
		return x.again(t, true, fmt.Errorf("commit: %w", err))
	}
	x.committed(t, next, finish)
	return nil
}

// allowance is how long a transaction may take.
func (x *Session) allowance() time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.pending[:min(len(x.pending), x.opts.Messages)] {
		if p := x.parts[e.key]; p != nil && p.fails > 0 {
			return patience
		}
	}
	return giveUpAfter
}

// gather sends what is produced until it is time to commit, and then the record.
func (x *Session) gather(ctx context.Context, t *txn) (next inHub, finish bool) {
	timer := time.NewTimer(x.opts.Interval)
	defer timer.Stop()
	var failed bool
	for last := false; ; {
		x.load(t)
		t.mu.Lock()
		failed = t.err != nil
		t.mu.Unlock()
		if failed || last || len(t.tries) >= x.opts.Messages || ctx.Err() != nil {
			break
		}
		select {
		case <-x.more:
		case <-x.hurry:
			last = true
		case <-timer.C:
			last = true
		case <-t.changed: // an error, or all answers: the first ends it
		case <-ctx.Done():
		}
	}
	next = x.state.clone()
	x.mu.Lock()
	finish = x.finish
	for _, l := range x.floors {
		next.raise(l.Lane, l.Next)
	}
	x.mu.Unlock()
	for _, w := range t.tries {
		next.take(w.e.m)
	}
	if !failed && (len(t.tries) > 0 || finish) {
		t.record = &try{rec: kgo.Record{Topic: x.opts.Topic, Partition: x.home, Key: []byte(x.key()), Timestamp: time.Now()}}
		if !finish {
			t.record.rec.Value = next.encode()
		}
		t.produce(t.record)
	}
	return next, finish
}

// load sends what waits, and answers for what is in the hub already.
func (x *Session) load(t *txn) {
	x.mu.Lock()
	n := min(len(x.pending), x.opts.Messages-len(t.tries))
	batch := x.pending[:n:n]
	if x.pending = x.pending[n:]; len(x.pending) == 0 {
		x.pending = nil
	}
	x.mu.Unlock()
	for _, e := range batch {
		if x.state.holds(e.m) {
			offset := e.offset
			if offset < 0 {
				offset = OffsetThere
			}
			e.done(offset, nil)
			continue
		}
		e.offset = -1
		t.send(e)
	}
}

// end ends the transaction. An error of a commit leaves its outcome unknown.
func (t *txn) end(ctx context.Context, how kgo.TransactionEndTry) error {
	ctx, cancel := context.WithTimeout(ctx, max(transactionTimeout, t.x.sink.opts.RequestTimeout))
	defer cancel()
	return t.client.EndTransaction(ctx, how)
}

// tell counts a transaction that has ended.
func (x *Session) tell(outcome string) {
	if x.opts.Ended != nil {
		x.opts.Ended(outcome)
	}
}

// committed notes and tells that a transaction is in the hub.
func (x *Session) committed(t *txn, next inHub, finish bool) {
	x.tell("committed")
	x.state = next
	x.mu.Lock()
	x.at = message.Mark{Topic: x.opts.Topic, Partition: x.home, Offset: t.record.offset}
	if finish {
		x.finish, x.at = false, message.Mark{}
	}
	for _, w := range t.tries {
		if p := x.parts[w.e.key]; p != nil {
			p.fails, p.until = 0, time.Time{}
		}
	}
	x.mu.Unlock()
	for _, w := range t.tries {
		done, offset := w.e.done, w.offset
		clear(w.hdrs)
		*w = try{hdrs: w.hdrs[:0], buf: w.buf[:0]}
		x.tries.Put(w)
		done(offset, nil)
	}
}

// abort ends a transaction in which something went wrong. Where the hub refused
// messages, or did not answer for some partitions while it did for others, those
// partitions are given back, and the rest is sent again; else all of it is.
func (x *Session) abort(ctx context.Context, t *txn, whole bool) error {
	why, from, alive, other := t.judge()
	if err := x.resize(t, from); err != nil {
		other = err
	}
	if !whole || other != nil {
		x.drop()
		never := make(chan struct{})
		t.answers(never, false) // a client that is closed answers everything
	} else if err := t.end(ctx, kgo.TryAbort); err != nil {
		x.drop()
	}
	switch {
	case ctx.Err() != nil:
		return x.again(t, false, ctx.Err())
	case t.record != nil && other == nil && t.record.err != nil && whole:
		// The record of progress was refused: nothing can be sent.
		err := chainError{&Error{class: ClassHold, err: fmt.Errorf("write progress to topic %q: %w", x.opts.Topic, t.record.err)}}
		_ = x.again(t, false, err)
		x.failAll(err)
		return err
	case !whole && len(from) == 0 && alive:
		from = x.silent(t, why)
	}
	if len(from) == 0 {
		if other == nil {
			other = fmt.Errorf("the hub did not answer in a transaction: %w", context.DeadlineExceeded)
		}
		return x.again(t, false, other)
	}
	x.tell("aborted")
	x.giveBack(t.entries(), why, from)
	return nil
}

// judge looks at the answers there are: which messages were refused, and so which
// partitions are to be given back; whether any answer came; and an error that
// is not one message's.
func (t *txn) judge() (why map[*entry]error, from map[partitionKey]*isle, alive bool, other error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	why, from = map[*entry]error{}, map[partitionKey]*isle{}
	if t.record != nil && t.record.answered {
		alive = t.record.err == nil
		if t.record.err != nil && Classify(t.record.err) == ClassRetry {
			other = t.record.err
		}
	}
	for _, w := range t.tries {
		switch {
		case !w.answered:
			why[w.e] = errNoAnswer
		case w.err == nil:
			alive = true
		case staleTopic(w.err):
			other = w.err // the client is of no use any more
			why[w.e], from[w.e.key] = w.err, &isle{}
		case Classify(w.err) != ClassRetry:
			why[w.e], from[w.e.key] = w.err, &isle{}
		case other == nil && !errors.Is(w.err, kgo.ErrAborting):
			other = w.err
		}
	}
	return why, from, alive, other
}

// silent returns the partitions that did not answer.
func (x *Session) silent(t *txn, why map[*entry]error) map[partitionKey]*isle {
	from := map[partitionKey]*isle{}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, w := range t.tries {
		key := w.e.key
		if why[w.e] == nil || from[key] != nil {
			continue
		}
		p := &isle{fails: 1}
		if was := x.parts[key]; was != nil {
			p.fails = was.fails + 1
		}
		p.until = time.Now().Add(min(time.Second<<min(p.fails, 5), leftOutFor))
		from[key] = p
	}
	return from
}

func (t *txn) entries() []*entry {
	out := make([]*entry, len(t.tries))
	for i, w := range t.tries {
		out[i] = w.e
	}
	return out
}

// again has all of a transaction sent again, before what waits. Where it may have
// been committed, the offsets are kept.
func (x *Session) again(t *txn, may bool, why error) error {
	x.tell("failed")
	for _, w := range t.tries {
		if may {
			w.e.offset = w.offset
		}
	}
	x.requeue(t.entries())
	return why
}
