package forward

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/message"
)

// Log is what a forwarder reads of the hub to find late twins; the Kafka Sink is
// one. Where messages go to another stamp there is none: that stamp's forwarder
// looks, by the time at which they were first accepted.
type Log interface {
	// Window is the readers' look-back in offsets.
	Window() int
	// Since returns for each partition the offsets from the first record that was
	// produced at or after a time to the present end, in the order asked; cut are
	// those, by index, of which records of after that time may be gone.
	Since(ctx context.Context, of []message.Mark, t time.Time) (spans []message.Span, cut map[int]bool, err error)
	// Copies calls found for each message in the spans, whoever sent it, in the
	// order of each partition; not for replays. lost are partitions of which
	// something was removed before it was read.
	Copies(ctx context.Context, of []message.Span, found func(message.Copy)) (lost []message.Mark, err error)
}

// late looks for twins: copies of a message that was stored at another stamp, too,
// because its client or the door repeated the request there. Readers drop the
// second copy where it stands within their look-back. A forwarder that was cut off
// for longer sends its copy, or finds the other's, far behind that. So before it
// sends what was accepted more than late_after ago it reads the partitions from
// lateSlack before that, follows them to within a quarter of the look-back of
// their ends before each batch, and does not send what is there, if either copy is
// marked as a repeat.
//
// Of two forwarders that do so at the same time the one may not see what the other
// is about to send: then both copies stand within the look-back.
//
// It is shared by all chains, so that the log is read once.
type late struct {
	log      Log
	sink     Sink
	after    time.Duration
	distance int64 // W/4
	batch    int   // messages sent between two looks, at most
	metrics  *metrics
	marked   idRoom
	plain    idRoom
	reads    chan struct{} // holds a token for each read under way

	duplicates, unsure atomic.Int64 // since the process began
	watched            atomic.Int64 // partitions in all

	mu     sync.Mutex
	topics map[string]*lateTopic // guarded by mu

	all sync.Map // lateKey → *past
}

type lateKey struct {
	topic     string
	partition int32
}

// lateTopic is one topic's. Its parts belong to who has the token in busy.
type lateTopic struct {
	name  string
	busy  chan struct{}
	parts map[int32]*past
	used  time.Time
	stale atomic.Bool // the topic was made anew
}

const (
	// lateSlack is how far the clocks of two stamps may be apart.
	lateSlack = 5 * time.Minute
	// lateMargin is from how much earlier on it is read: messages are not sent quite
	// in the order of their times, and to begin anew for each would cost much.
	lateMargin = time.Minute
	// lateReads is how many logs are read at a time.
	lateReads = 2
	// lateIdle is after how long without a late message what was read is forgotten.
	lateIdle = time.Minute
)

// newLate returns nil where there is no log.
func newLate(o Options, log Log, sink Sink, m *metrics) *late {
	if log == nil {
		return nil
	}
	l := &late{
		log: log, sink: sink, after: o.LateAfter, distance: int64(log.Window() / 4), metrics: m,
		reads: make(chan struct{}, lateReads), topics: map[string]*lateTopic{},
	}
	if l.batch = max(1, int(l.distance)); log.Window() == 0 { // nobody looks back
		l.batch, l.distance = o.Batch, int64(o.Batch)
	}
	l.marked.left.Store(int64(o.LateIDs))
	l.plain.left.Store(int64(o.LateIDs))
	return l
}

// due reports whether a message is so late that its twin is to be looked for. A
// replay is sent whatever the hub holds.
func (l *late) due(m *message.Stored) bool {
	return l != nil && !m.Replay && time.Since(m.Accepted()) > l.after
}

// landed notes where a message of this process stands.
func (l *late) landed(s *slot, offset int64) {
	if l == nil || l.watched.Load() == 0 {
		return
	}
	if p, ok := l.all.Load(lateKey{s.msg.Topic, s.partition}); ok {
		p.(*past).landed(&message.Copy{
			ID: s.msg.ID, Repeat: s.msg.Repeat, Produced: time.Now(),
			At: message.Mark{Topic: s.msg.Topic, Partition: s.partition, Offset: offset},
		}, s.msg.Replay)
	}
}

func (l *late) topic(name string) *lateTopic {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.topics[name]
	if t == nil {
		t = &lateTopic{name: name, busy: make(chan struct{}, 1), parts: map[int32]*past{}}
		l.topics[name] = t
	}
	return t
}

// enter returns a topic for the caller alone, until leave. The error is ctx's.
func (l *late) enter(ctx context.Context, name string) (*lateTopic, error) {
	t := l.topic(name)
	select {
	case t.busy <- struct{}{}:
		return t, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// tryEnter is enter where nobody else has the topic, else nil.
func (l *late) tryEnter(name string) *lateTopic {
	t := l.topic(name)
	select {
	case t.busy <- struct{}{}:
		return t
	default:
		return nil
	}
}

func (t *lateTopic) leave() {
	t.used = time.Now()
	<-t.busy
}

// tidy forgets topics of which no late message came for a while.
func (l *late) tidy() {
	if l == nil || l.watched.Load() == 0 {
		return
	}
	l.mu.Lock()
	var all []*lateTopic
	for _, t := range l.topics {
		all = append(all, t)
	}
	l.mu.Unlock()
	for _, t := range all {
		select {
		case t.busy <- struct{}{}:
			if time.Since(t.used) > lateIdle {
				l.empty(t)
			}
			<-t.busy
		default: // in use
		}
	}
}

// remade has what was read of a topic forgotten: it is another one now.
func (l *late) remade(name string) {
	if l != nil && l.watched.Load() > 0 {
		l.topic(name).stale.Store(true)
	}
}

// empty is called by who has t.
func (l *late) empty(t *lateTopic) {
	for id := range t.parts {
		l.drop(t, id)
	}
}

func (l *late) drop(t *lateTopic, partition int32) {
	p := t.parts[partition]
	if p == nil {
		return
	}
	delete(t.parts, partition)
	l.all.Delete(lateKey{t.name, partition})
	l.watched.Add(-1)
	p.forget()
}

// plan finds out what is to be read before messages may be sent that were
// accepted at the given times at the earliest, by partition: ahead so that what is
// marked is known to within a quarter of the look-back of the ends, near of what
// is not.
func (l *late) plan(ctx context.Context, t *lateTopic, oldest map[int32]time.Time) (ahead, near []message.Span, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if t.stale.CompareAndSwap(true, false) {
		l.empty(t)
	}
	if err := l.begin(ctx, t, oldest); err != nil {
		return nil, nil, err
	}
	var marks []message.Mark
	high := map[int32]int64{}
	for id := range oldest {
		marks = append(marks, message.Mark{Topic: t.name, Partition: id})
		high[id] = t.parts[id].high() // before the ends are asked for: it goes up meanwhile
	}
	ends, err := l.sink.Ends(ctx, marks)
	if err != nil {
		return nil, nil, err
	}
	l.spare(t, oldest)
	promised := int64(0) // of the room for ids, to spans before
	for _, end := range ends {
		p := t.parts[end.Partition]
		if end.Offset < high[end.Partition] {
			l.drop(t, end.Partition)
			return nil, nil, errLateAnew
		}
		if span, some := p.unread(end.Offset, l.distance); some {
			ahead = append(ahead, span)
		} else if span, some := p.nearer(promised); some {
			near = append(near, span)
			promised += span.To - span.From
		}
	}
	return ahead, near, nil
}

// spare makes room for ids where some partition lacks it: what the messages that
// are sent next do not need is forgotten.
func (l *late) spare(t *lateTopic, oldest map[int32]time.Time) {
	lags := false
	for id := range oldest {
		lags = lags || t.parts[id].lags()
	}
	for id, at := range oldest {
		if lags {
			t.parts[id].spare(at.Add(-lateSlack))
		}
	}
}

// begin finds where reading begins in partitions of which nothing was read, or
// not from so early on.
func (l *late) begin(ctx context.Context, t *lateTopic, oldest map[int32]time.Time) error {
	var marks []message.Mark
	from := time.Time{}
	for id, at := range oldest {
		at = at.Add(-lateSlack)
		if p := t.parts[id]; p != nil && !at.Before(p.from) {
			continue
		}
		marks = append(marks, message.Mark{Topic: t.name, Partition: id})
		if at = at.Add(-lateMargin); from.IsZero() || at.Before(from) {
			from = at
		}
	}
	if len(marks) == 0 {
		return nil
	}
	spans, cut, err := l.log.Since(ctx, marks, from)
	if err != nil {
		return err
	}
	for i, s := range spans {
		l.drop(t, s.Partition)
		p := &past{topic: t.name, partition: s.Partition, from: from, cut: cut[i], next: s.From, near: s.From}
		if cut[i] && s.From >= s.To {
			p.cut, p.cutTo = false, time.Now()
		}
		p.marked.room, p.plain.room = &l.marked, &l.plain
		t.parts[s.Partition] = p
		l.all.Store(lateKey{t.name, s.Partition}, p)
		l.watched.Add(1)
	}
	return nil
}

// read reads what plan said. What was read before an error is known.
func (l *late) read(ctx context.Context, t *lateTopic, ahead, near []message.Span) error {
	if len(ahead)+len(near) == 0 {
		return nil
	}
	select {
	case l.reads <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.reads }()
	if err := l.readSome(ctx, t, ahead, false); err != nil {
		return err
	}
	return l.readSome(ctx, t, near, true)
}

func (l *late) readSome(ctx context.Context, t *lateTopic, of []message.Span, forNear bool) error {
	if len(of) == 0 {
		return nil
	}
	n := 0
	lost, err := l.log.Copies(ctx, of, func(c message.Copy) {
		n++
		if p := t.parts[c.At.Partition]; p != nil {
			p.saw(&c, forNear)
		}
	})
	l.metrics.lateRead.Add(float64(n))
	for _, m := range lost {
		if p := t.parts[m.Partition]; p != nil {
			p.removed()
		}
	}
	if err != nil {
		return err
	}
	for _, s := range of {
		t.parts[s.Partition].done(s.To, forNear)
	}
	return nil
}
