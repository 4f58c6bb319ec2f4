package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What Follow asks of each broker at a time. In memory are, of each broker that
// leads partitions of the topic, one answer that waits to be taken, and of one of
// them another in the hands of fn: each of feedBytes, and as much again while it is
// read. Where batches are compressed an answer grows: once one is of more than
// feedBytes half as much is asked for, down to feedLeast, and a batch comes whole,
// however large.
const (
	feedBytes     = 2 << 20
	feedLeast     = 64 << 10
	feedPartBytes = 512 << 10
	// feedWait is how long a broker waits where nothing comes, and so how often fn
	// is called for a partition at least.
	feedWait = time.Second
	// feedLook is how often the hub is asked whether the topic is what it was, and
	// who leads its partitions.
	feedLook = 2 * time.Second
	// feedMissing is how often in a row the hub may not know the topic before it is
	// gone: a broker that has just started may not know yet.
	feedMissing = 3
)

// noLeader stands for a broker that is not known.
const noLeader = int32(-1)

// Follow reads every partition from the offset given for it and calls fn with
// what comes, in order within a partition, until ctx ends (nil), fn fails (its
// error) or the topic is not what Describe found (ErrChanged). fn is called from
// one goroutine, and at least once in two seconds for each partition that the hub
// answers for, with no records where there are none. While the hub is away, or
// refuses, it is tried again with jitter, at most a second apart, and the log says
// so.
//
// An offset that the hub no longer holds is skipped to the first one held, which
// shows as a gap between FeedBatch.From and the Next before. An offset above the
// partition's end is ErrChanged: records that were read are gone.
func (f *Feed) Follow(ctx context.Context, topic string, from []int64, fn func(*FeedBatch) error) error {
	defer f.pin(topic)()
	t, err := f.describedAtLast(ctx, topic)
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // the caller ended it
	case err != nil:
		return err
	case int(t.Partitions) != len(from):
		return fmt.Errorf("follow topic %q: %w: it has %d partitions instead of %d", topic, ErrChanged, t.Partitions, len(from))
	}
	client, err := f.open()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &feeding{
		feed: f, client: client, topic: topic, was: t, fn: fn, parts: make([]feedPart, len(from)), busy: map[int32]bool{},
		answers: make(chan answered), looks: make(chan looked), brokers: map[int32]*feedBroker{},
	}
	for p, at := range from {
		w.parts[p] = feedPart{next: at, leader: noLeader}
	}
	defer func() {
		cancel()
		f.drop(client)
		w.wg.Wait()
	}()
	if err := w.run(ctx); ctx.Err() == nil {
		return fmt.Errorf("follow topic %q: %w", topic, err)
	}
	return nil
}

// describedAtLast is described, for as long as the hub is away.
func (f *Feed) describedAtLast(ctx context.Context, topic string) (FeedTopic, error) {
	for fails := 1; ; fails++ {
		t, err := f.described(ctx, topic)
		if err == nil || Classify(err) != ClassRetry {
			return t, err
		}
		if e := sleep(ctx, backoff(fails)); e != nil {
			return t, err
		}
	}
}

// feeding is one call of Follow. It is used by one goroutine, beside those that
// wait for an answer each.
type feeding struct {
	feed   *Feed
	client *kgo.Client
	topic  string
	was    FeedTopic
	fn     func(*FeedBatch) error
	parts  []feedPart

	busy    map[int32]bool // brokers that are being asked
	turn    int            // counts answers
	answers chan answered
	brokers map[int32]*feedBroker

	looking bool
	lookAt  time.Time
	looks   chan looked
	missing int       // looks in a row that did not find the topic
	fails   int       // looks in a row that failed
	said    time.Time // when the log was told of trouble

	wg sync.WaitGroup
}

// feedBroker is what is known of a broker.
type feedBroker struct {
	room   int32             // how many bytes it is asked for
	stamps map[string]string // of who decodes its answers
}

// feedPart is what is known of one partition.
type feedPart struct {
	next   int64
	end    int64 // as fn was told
	told   time.Time
	leader int32
	fails  int // answers in a row that were errors
	// out says that the hub holds nothing at next.
	out bool
	// met says that it was answered for.
	met bool
	// served is the turn in which records came last.
	served int
}

// answered is a broker's answer.
type answered struct {
	broker int32
	asked  []position
	pieces []piece
	size   int // of the keys and values in it
	err    error
}

// looked is what a look at the topic brought.
type looked struct {
	topic   kmsg.MetadataResponseTopic
	cluster string
	bounds  []FeedBounds // where they were asked for
	err     error
}

func (w *feeding) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		w.look(ctx)
		w.ask(ctx)
		if w.looking {
			timer.Stop() // its answer is waited for
		} else {
			timer.Reset(max(0, time.Until(w.lookAt)))
		}
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case a := <-w.answers:
			err = w.take(ctx, &a)
		case l := <-w.looks:
			err = w.learn(&l)
		case <-timer.C:
		}
		if err != nil {
			return err
		}
	}
}

// look asks for the topic once it is time to.
func (w *feeding) look(ctx context.Context) {
	if w.looking || time.Now().Before(w.lookAt) {
		return
	}
	w.looking, w.lookAt = true, time.Now().Add(feedLook)
	bounds := false
	for p := range w.parts {
		bounds = bounds || w.parts[p].out
	}
	w.wg.Go(func() {
		var l looked
		l.topic, l.cluster, l.err = topicIn(ctx, w.client, w.topic)
		if l.err == nil && bounds {
			l.bounds, l.err = boundsOf(ctx, w.client, w.topic, w.was.Partitions, false)
		}
		select {
		case w.looks <- l:
		case <-ctx.Done():
		}
	})
}

// lookWithin brings the next look forward.
func (w *feeding) lookWithin(d time.Duration) {
	if at := time.Now().Add(d); at.Before(w.lookAt) {
		w.lookAt = at
	}
}

// learn takes what a look brought.
func (w *feeding) learn(l *looked) error {
	w.looking = false
	if w.missing++; !unknownTopic(l.err) {
		w.missing = 0
	}
	if w.missing >= feedMissing {
		return fmt.Errorf("%w: %w", ErrChanged, l.err)
	}
	if l.err != nil {
		w.fails++
		w.trouble(fmt.Errorf("look it up: %w", l.err))
		w.lookWithin(backoff(w.fails))
		return nil
	}
	w.fails = 0
	if err := w.was.same(&l.topic, l.cluster); err != nil {
		return err
	}
	for p := range w.parts {
		if err := w.place(int32(p), l); err != nil {
			return err
		}
	}
	for i := range l.topic.Partitions {
		found := &l.topic.Partitions[i]
		if found.Partition < 0 || int(found.Partition) >= len(w.parts) {
			continue
		}
		part := &w.parts[found.Partition]
		if part.leader = found.Leader; part.leader < 0 {
			part.leader = noLeader
			part.fails++
			w.lookWithin(backoff(part.fails))
		}
	}
	return nil
}

// place finds where reading goes on in a partition that holds nothing at next.
func (w *feeding) place(p int32, l *looked) error {
	part := &w.parts[p]
	if !part.out || l.bounds == nil {
		return nil
	}
	part.out = false
	switch b := l.bounds[p]; {
	case part.next < b.Start:
		w.feed.deps.Log.Warn("records were removed before they were read", "topic", w.topic, "partition", p, "from", part.next, "to", b.Start)
		part.next, part.fails = b.Start, 0
	case part.next > b.End:
		return fmt.Errorf("%w: partition %d ends at %d, and was read to %d", ErrChanged, p, b.End, part.next)
	}
	return nil
}

// ask sends a request to each broker that is not being asked and leads partitions.
// Those that brought records last stand at its end, because an answer is filled in
// that order: partitions with a backlog would starve the others.
func (w *feeding) ask(ctx context.Context) {
	wants := map[int32][]position{}
	for p := range w.parts {
		if part := &w.parts[p]; part.leader != noLeader && !part.out && !w.busy[part.leader] {
			wants[part.leader] = append(wants[part.leader], position{int32(p), part.next})
		}
	}
	for broker, positions := range wants {
		slices.SortStableFunc(positions, func(a, b position) int { return w.parts[a.partition].served - w.parts[b.partition].served })
		w.busy[broker] = true
		b := w.brokers[broker]
		if b == nil {
			b = &feedBroker{room: feedBytes, stamps: map[string]string{}}
			w.brokers[broker] = b
		}
		wait := feedWait
		for _, p := range positions {
			if !w.parts[p.partition].met { // fn is told at once how far it goes
				wait = 0
			}
		}
		f := fetch{
			topic: w.topic, id: w.was.ID, level: kgo.ReadCommitted(), wait: wait,
			bytes: b.room, partBytes: min(feedPartBytes, b.room), positions: positions,
		}
		w.wg.Go(func() { w.fetch(ctx, broker, &f, b.stamps) })
	}
}

func (w *feeding) fetch(ctx context.Context, broker int32, f *fetch, stamps map[string]string) {
	a := answered{broker: broker, asked: f.positions}
	from := make(map[int32]int64, len(f.positions))
	for _, p := range f.positions {
		from[p.partition] = p.from
	}
	a.err = f.send(ctx, w.client, broker, func(rp *kmsg.FetchResponseTopicPartition) {
		if at, ok := from[rp.Partition]; ok { // some hubs leave out what an answer has no room for
			delete(from, rp.Partition)
			a.pieces = append(a.pieces, f.pieceOf(rp, at, stamps))
		}
	})
	if a.err == nil && len(a.pieces) == 0 {
		a.err = errUnanswered
	}
	for i := range a.pieces {
		a.size += a.pieces[i].size()
	}
	select {
	case w.answers <- a:
	case <-ctx.Done():
	}
}

// take takes a broker's answer: it asks it for what comes next, and hands over
// what came.
func (w *feeding) take(ctx context.Context, a *answered) error {
	delete(w.busy, a.broker)
	w.turn++
	w.brokers[a.broker].fit(a.size)
	fresh := a.pieces[:0]
	for i := range a.pieces {
		p := &a.pieces[i]
		part := &w.parts[p.Partition]
		if part.next != p.From || part.leader != a.broker { // another was asked meanwhile
			continue
		}
		part.met = part.met || p.end >= 0
		if part.next = p.Next; p.Next > p.From {
			part.served = w.turn
		}
		if p.err != nil {
			w.failed(part, p.Partition, p.err)
		} else {
			part.fails = 0
		}
		if p.end >= 0 {
			fresh = append(fresh, *p)
		}
	}
	if a.err != nil {
		w.silent(a)
	}
	w.ask(ctx)
	for i := range fresh {
		if err := w.hand(&fresh[i]); err != nil {
			return err
		}
	}
	return nil
}

// fit asks for less where answers become too large in memory, and for more again
// where they do not.
func (b *feedBroker) fit(size int) {
	switch {
	case size > feedBytes:
		b.room = max(feedLeast, b.room/2)
	case size < feedBytes/4:
		b.room = min(feedBytes, b.room*2)
	}
}

// silent notes that a broker did not answer.
func (w *feeding) silent(a *answered) {
	for _, asked := range a.asked {
		if part := &w.parts[asked.partition]; part.leader == a.broker {
			w.failed(part, asked.partition, a.err)
		}
	}
}

// failed notes that a partition was not answered for. Who leads it is looked up
// anew, the sooner the fewer such answers there were.
func (w *feeding) failed(part *feedPart, p int32, err error) {
	part.fails++
	w.lookWithin(backoff(part.fails))
	if errors.Is(err, kerr.OffsetOutOfRange) {
		part.out = true
		return
	}
	part.leader = noLeader
	if part.fails > 1 { // a leader that moves is no news
		w.trouble(fmt.Errorf("partition %d: %w", p, err))
	}
}

// trouble tells the log of what keeps a topic from being read, now and then.
func (w *feeding) trouble(err error) {
	if time.Since(w.said) < quietFor || errors.Is(err, context.Canceled) {
		return
	}
	w.said = time.Now()
	w.feed.deps.Log.Warn("cannot read the topic, trying again", "topic", w.topic, "err", w.feed.link.meant(err))
}

// hand gives fn a piece, unless it says nothing new and fn was called a moment
// ago: other partitions of the broker may be answered for many times a second.
func (w *feeding) hand(p *piece) error {
	part := &w.parts[p.Partition]
	p.End = max(p.end, p.Next) // a leader that was just elected knows of less than is there
	now := time.Now()
	if p.Next == p.From && p.End == part.end && now.Sub(part.told) < feedWait/2 {
		return nil
	}
	part.end, part.told = p.End, now
	return w.fn(&p.FeedBatch)
}
