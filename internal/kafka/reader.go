package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/message"
)

// Reader follows topics. Its methods are safe for concurrent use.
type Reader struct {
	opts Options
	deps Deps
	link *link
}

// NewReader makes a Reader; it connects to nothing yet.
func NewReader(opts Options, deps Deps) (*Reader, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	deps.setDefaults()
	link, err := newLink(opts, deps.Log)
	if err != nil {
		return nil, err
	}
	return &Reader{opts: link.opts, deps: deps, link: link}, nil
}

// Record is one record of a topic as a reader sees it.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	// Timestamp is Kafka's: when the record was produced.
	Timestamp time.Time
	// Key is nil where the record has none.
	Key     []byte
	Value   []byte
	Headers []message.Header
	// ID is the dedupe id, where HasID.
	ID    message.ID
	HasID bool
	// Lane and Seq are where the message was first accepted, at Stamp, at the
	// time Accepted; zero where the record does not say.
	Lane     string
	Seq      uint64
	Stamp    string
	Accepted time.Time
}

// From says where following begins; the zero value is the beginning.
type From struct {
	kind    fromKind
	at      time.Time
	offsets map[int32]int64
}

type fromKind int

const (
	fromBeginning fromKind = iota
	fromEnd
	fromTime
	fromOffsets
)

// FromBeginning begins with the oldest record the topic holds.
func FromBeginning() From { return From{} }

// FromEnd shows only what is appended after following began.
func FromEnd() From { return From{kind: fromEnd} }

// FromTime begins with the first record produced at or after t.
func FromTime(t time.Time) From { return From{kind: fromTime, at: t} }

// FromOffsets begins at the given offset of each partition, and with the oldest
// record of partitions that are not given.
func FromOffsets(o map[int32]int64) From { return From{kind: fromOffsets, offsets: o} }

// FollowOptions say what Follow reads.
type FollowOptions struct {
	Topic string
	From  From
	// UntilEnd makes Follow return once it has shown what the topic held when
	// it began. A missing topic is then message.ErrNotFound; otherwise it is
	// waited for.
	UntilEnd bool
	// Ready, if not nil, is called once, when reading has begun: everything
	// appended from then on will be shown.
	Ready func()
}

// Follow calls fn for each message of a topic, each dedupe id once by the rule
// of message.Window, in order within a partition. Records without an id are
// always shown. It reads only what is committed, and reading begins a window
// earlier than showing does, so that it decides as if it had read from the
// beginning. Records that a replay wrote serve a hub that lost data: they are
// shown as history, where the window does not hold their id, and not to whoever
// follows while they arrive; the window never holds them. The hub may go away and come back. A record that retention removed
// before it was read is missing; the log says so.
//
// It returns nil where ctx ended or UntilEnd is reached, fn's error, or an
// error of class hold.
func (r *Reader) Follow(ctx context.Context, o FollowOptions, fn func(Record) error) error {
	f := &follower{opts: r.opts, deps: r.deps, link: r.link, want: o, fn: fn, parts: map[int32]*followed{}}
	fails := 0
	for {
		err := f.session(ctx)
		var stop *stopError
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the caller ended it
		case errors.As(err, &stop):
			return stop.err
		case Classify(err) == ClassHold && !errors.Is(err, kerr.UnknownTopicOrPartition) && !errors.Is(err, kerr.UnknownTopicID):
			return r.link.classified(fmt.Sprintf("follow topic %q", o.Topic), err)
		case f.progressed:
			fails = 0
		}
		if o.UntilEnd && errors.Is(err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("topic %q: %w", o.Topic, message.ErrNotFound)
		}
		fails++
		if sleep(ctx, backoff(fails)) != nil {
			return nil
		}
	}
}

// stopError ends Follow with err.
type stopError struct{ err error }

func (e *stopError) Error() string { return fmt.Sprintf("stop: %v", e.err) }

// follower is one call of Follow. It is used by one goroutine.
type follower struct {
	opts       Options
	deps       Deps
	link       *link
	want       FollowOptions
	fn         func(Record) error
	parts      map[int32]*followed
	id         [16]byte // of the topic that parts are of; zero where the hub knows none
	began      bool
	progressed bool
}

// followed is what is known of one partition.
type followed struct {
	window *message.Window
	show   int64 // records below are read for the look-back only
	// history is where what the topic held ended when following began: replays
	// below are shown. What a replay appends later is nothing new to whoever
	// follows.
	history int64
	next    int64 // the next offset to read
	end     int64 // with UntilEnd: done when next gets here
}

// session resolves where to read, and reads until an error or the end.
func (f *follower) session(ctx context.Context) error {
	f.progressed = false
	client, err := kgo.NewClient(append(f.link.common(f.deps.Log, nil, nil),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // they end a span and take an offset
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(time.Second),
		kgo.FetchMaxBytes(8<<20),
		kgo.FetchMaxPartitionBytes(1<<20),
	)...)
	if err != nil {
		return &stopError{err}
	}
	defer client.Close()
	if err := f.resolve(ctx, client); err != nil {
		return err
	}
	f.begin()
	return f.read(ctx, client)
}

// begin notes that nothing appended from now on will be missed.
func (f *follower) begin() {
	if f.want.Ready != nil && !f.began {
		f.want.Ready()
	}
	f.began = true
}

// resolve finds where each partition is to be read from, the first time by
// what is wanted, afterwards by how far reading got, and adds the partitions
// to the client.
func (f *follower) resolve(ctx context.Context, client *kgo.Client) error {
	topic, err := topicOf(ctx, client, f.want.Topic)
	if err != nil {
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			f.begin() // what is appended once it exists is all new
		}
		return err
	}
	f.meet(topic.TopicID)
	adm := kadm.NewClient(client)
	starts, err := adm.ListStartOffsets(ctx, f.want.Topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return err
	}
	ends, err := adm.ListCommittedOffsets(ctx, f.want.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return err
	}
	var times kadm.ListedOffsets
	if f.want.From.kind == fromTime && !f.began {
		if times, err = adm.ListOffsetsAfterMilli(ctx, f.want.From.at.UnixMilli(), f.want.Topic); err != nil {
			return err
		}
	}
	assign := map[int32]kgo.Offset{}
	for p := range int32(len(topic.Partitions)) {
		start, ok1 := starts.Lookup(f.want.Topic, p)
		end, ok2 := ends.Lookup(f.want.Topic, p)
		if !ok1 || !ok2 {
			return kerr.LeaderNotAvailable // the count is ahead of the offsets
		}
		fp := f.place(p, start.Offset, end.Offset, times)
		if !f.want.UntilEnd || fp.next < fp.end {
			assign[p] = kgo.NewOffset().At(fp.next)
		}
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{f.want.Topic: assign})
	return nil
}

// meet forgets all partitions where the topic is not the one that they are of:
// it was deleted and made anew, with other records at the same offsets. What it
// holds by now was all appended since following began.
func (f *follower) meet(id [16]byte) {
	if f.remade(id) {
		f.deps.Log.Warn("topic was made anew, following it from its beginning", "topic", f.want.Topic)
		clear(f.parts)
	}
	if id != ([16]byte{}) {
		f.id = id
	}
}

// remade reports whether id is of another topic of that name. Hubs without
// topic ids cannot tell.
func (f *follower) remade(id [16]byte) bool {
	none := [16]byte{}
	return id != none && f.id != none && id != f.id
}

// place makes or mends what is known of a partition that holds [start, end).
func (f *follower) place(p int32, start, end int64, times kadm.ListedOffsets) *followed {
	fp := f.parts[p]
	if fp != nil {
		fp.end = min(fp.end, end) // a log cut short never gets to the end it had
	}
	if fp != nil && fp.next >= start && fp.next <= end {
		return fp
	}
	w := int64(f.opts.Window)
	switch {
	case fp != nil && fp.next > end: // made anew: other offsets, other records
		f.deps.Log.Warn("partition begins anew", "topic", f.want.Topic, "partition", p, "position", fp.next, "end", end)
		*fp = followed{window: message.NewWindow(f.opts.Window), show: start, next: start, end: fp.end}
	case fp != nil:
		f.deps.Log.Warn("records were removed before they were read", "topic", f.want.Topic, "partition", p, "from", fp.next, "to", start)
		fp.next = start
	default:
		show := start
		if !f.began { // else the partition is new, and all of it is wanted
			show = f.wanted(p, start, end, times)
		}
		fp = &followed{window: message.NewWindow(f.opts.Window), show: show, next: max(start, show-w), end: end}
		if !f.began {
			fp.history = end
		}
		f.parts[p] = fp
	}
	return fp
}

func (f *follower) wanted(p int32, start, end int64, times kadm.ListedOffsets) int64 {
	switch f.want.From.kind {
	case fromEnd:
		return end
	case fromTime:
		if at, ok := times.Lookup(f.want.Topic, p); ok && at.Err == nil && at.Offset >= 0 {
			return at.Offset
		}
		return end
	case fromOffsets:
		if at, ok := f.want.From.offsets[p]; ok {
			return min(max(at, start), end)
		}
	}
	return start
}

// lookForPartitions is how often a follower asks whether there are new ones, or
// the topic is another.
const lookForPartitions = 15 * time.Second

// read hands over what comes in, until an error or the end.
func (f *follower) read(ctx context.Context, client *kgo.Client) error {
	looked, idle := time.Now(), 0
	for !f.done() {
		fetches := pollWithin(ctx, client, 2*time.Second)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var failed error
		fetches.EachError(func(_ string, p int32, err error) {
			if failed == nil && !errors.Is(err, context.DeadlineExceeded) {
				failed = fmt.Errorf("partition %d: %w", p, err)
			}
		})
		idle++
		for iter := fetches.RecordIter(); !iter.Done(); {
			idle, f.progressed = 0, true
			if err := f.take(iter.Next()); err != nil {
				return &stopError{err}
			}
		}
		if failed != nil {
			return failed
		}
		if f.want.UntilEnd && idle > idleChecks {
			if err := f.skipPassed(ctx, client, idle); err != nil {
				return err
			}
		}
		if time.Since(looked) > lookForPartitions {
			looked = time.Now()
			if t, err := topicOf(ctx, client, f.want.Topic); err == nil && (len(t.Partitions) > len(f.parts) || f.remade(t.TopicID)) {
				return errNewPartitions
			}
		}
	}
	return &stopError{nil}
}

var errNewPartitions = errors.New("the topic has new partitions")

// skipPassed moves partitions to their ends where the hub says that nothing
// readable stands before those. idle polls in a row have brought nothing.
func (f *follower) skipPassed(ctx context.Context, client *kgo.Client, idle int) error {
	for p, fp := range f.parts {
		if fp.next >= fp.end {
			continue
		}
		done, err := f.opts.passed(ctx, client, partitionKey{f.want.Topic, p}, span{fp.next, fp.end}, kgo.ReadCommitted())
		switch {
		case err != nil:
			return err
		case done:
			fp.next = fp.end
		case idle > silentPolls:
			return errSilent
		}
	}
	return nil
}

// done reports whether everything asked for was read.
func (f *follower) done() bool {
	if !f.want.UntilEnd {
		return false
	}
	for _, fp := range f.parts {
		if fp.next < fp.end {
			return false
		}
	}
	return true
}

// take decides about one record.
func (f *follower) take(r *kgo.Record) error {
	fp := f.parts[r.Partition]
	if fp == nil || r.Offset < fp.next || f.want.UntilEnd && r.Offset >= fp.end {
		if fp != nil {
			fp.next = max(fp.next, r.Offset+1)
		}
		return nil
	}
	fp.next = r.Offset + 1
	if r.Attrs.IsControl() {
		return nil
	}
	m := parseMarks(r.Headers)
	switch {
	case m.replay && (r.Offset >= fp.history || m.hasID && fp.window.Holds(m.id, r.Offset)):
		return nil
	case m.hasID && !m.replay && fp.window.Seen(m.id, r.Offset), r.Offset < fp.show:
		return nil
	}
	return f.fn(recordOf(r, &m))
}

func recordOf(r *kgo.Record, m *marks) Record {
	out := Record{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp,
		Key: r.Key, Value: r.Value, ID: m.id, HasID: m.hasID,
		Lane: m.place.Lane, Seq: m.place.Seq, Stamp: m.stamp, Accepted: m.accepted,
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, message.Header{Name: h.Key, Value: h.Value})
	}
	return out
}
