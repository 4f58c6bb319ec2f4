package live

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/message"
)

// state is a topic as the hub described it once: its partitions and all that is
// known of them. Where the topic is not what it was another state takes its place.
type state struct {
	topic *topic
	is    Topic
	parts []*partition
	ends  []int64 // what it held when reading began
	fresh *asker
	// changed has the topic opened anew. It is set once, before others see the state.
	changed func()
	// loaded says that all it held when reading began was read.
	loaded atomic.Bool

	// foreignUntil is until when the topic counts as foreign-partitioned, in
	// nanoseconds since 1970; 0 where no foreign record was ever seen.
	foreignUntil atomic.Int64
	// foreignBelow holds, by partition, the offset at and below which no position
	// of a key can be trusted, since one of its records may stand elsewhere.
	foreignBelow []atomic.Int64

	mu sync.Mutex
	// absent are the subscriptions of a topic that the hub does not have, which
	// end when it has. Guarded by mu.
	absent map[*Subscription]struct{}
	over   bool // guarded by mu
}

func (st *state) flaws() *flaws { return &st.topic.engine.flaws }

// home is the partition that a key of that hash belongs to.
func (st *state) home(hash uint32) int32 {
	return message.PartitionOfHash(hash, int32(len(st.parts)))
}

// foreign reports whether records of one key may stand in several partitions, so
// that neither their order nor what was missed can be told.
func (st *state) foreign() bool {
	return time.Now().UnixNano() < st.foreignUntil.Load() && !st.flaws().foreignFine
}

// doubtUnread takes note of the positions from which a key is not to be recovered,
// since a record of it may stand in another partition below where that is read
// from: where it is not read as far back as clients may be recovered.
func (st *state) doubtUnread(o *Options) {
	if len(st.parts) == 1 || o.LastValues.Age >= o.Recovery.MaxAge {
		return
	}
	whole := true
	for _, p := range st.parts {
		whole = whole && p.shows == 0
	}
	if whole {
		return // nothing ever stood below
	}
	for i, p := range st.parts {
		st.foreignBelow[i].Store(p.shows)
	}
}

// markForeign takes up that a record produced at that time stands in another
// partition than its key's. It is called by whoever reads the topic.
func (st *state) markForeign(produced time.Time) {
	horizon := st.topic.engine.opts.DedupeHorizon
	was := st.foreign()
	if now := time.Now(); st.loaded.Load() && now.After(produced) {
		// It came just now, however old its producer says it is: a record copied
		// from elsewhere, whose keys will go on to stand here.
		produced = now
	}
	if until := produced.Add(horizon).UnixNano(); until > st.foreignUntil.Load() {
		st.foreignUntil.Store(until)
	}
	if !st.loaded.Load() || st.flaws().foreignFine {
		return
	}
	var gone []*Subscription
	for i, p := range st.parts {
		p.mu.Lock()
		st.foreignBelow[i].Store(p.head)
		if !was {
			gone = p.everyone(gone, func(s *Subscription) bool { return s.subject.byKey() && len(s.more) == 0 })
		}
		p.mu.Unlock()
	}
	// They hear one partition only, and their positions would leave out what stands
	// elsewhere.
	for _, s := range gone {
		s.end(fmt.Errorf("%w: keys stand in several partitions", ErrChanged))
	}
}

// placeForeign finds, once everything was read, which positions came before the
// last foreign record.
func (st *state) placeForeign(ctx context.Context) error {
	until := st.foreignUntil.Load()
	if until == 0 {
		return nil
	}
	produced := time.Unix(0, until).Add(-st.topic.engine.opts.DedupeHorizon)
	offsets, err := st.topic.engine.deps.Log.OffsetsAt(ctx, st.topic.name, produced.Add(time.Millisecond))
	if err != nil {
		return fmt.Errorf("place %v in topic %q: %w", produced, st.topic.name, err)
	}
	for i := range min(len(offsets), len(st.parts)) {
		st.foreignBelow[i].Store(max(offsets[i], st.foreignBelow[i].Load()))
	}
	return nil
}

// confirm reports whether the hub's topic is still the one that st is of. Whatever
// was read of it meanwhile is another topic's where it is not: records missed in
// one that was made anew just then would be taken for none. Where it is not, the
// topic is opened anew: who follows it may not see what is other, and no reading
// would ever be answered again. Whether it is gone for good is his to find out.
func (st *state) confirm(ctx context.Context) error {
	if st.flaws().silentChange {
		return nil
	}
	is, err := st.topic.engine.deps.Log.Describe(ctx, st.topic.name)
	switch {
	case err == nil && is != st.is:
		st.changed()
		fallthrough
	case errors.Is(err, message.ErrNotFound):
		return fmt.Errorf("topic %q: %w: %w", st.topic.name, ErrChanged, ErrNotReady)
	case err != nil:
		return fmt.Errorf("describe topic %q: %w", st.topic.name, err)
	}
	return nil
}

// retire ends every subscription: the topic is not what it was.
func (st *state) retire() {
	st.mu.Lock()
	st.over = true
	var gone []*Subscription
	for s := range st.absent {
		gone = append(gone, s)
	}
	st.mu.Unlock()
	for _, p := range st.parts {
		p.mu.Lock()
		p.over = true
		gone = p.everyone(gone, func(*Subscription) bool { return true })
		p.mu.Unlock()
	}
	for _, s := range gone {
		s.end(ErrChanged)
	}
}

func (st *state) leave(s *Subscription) {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.absent, s)
}

// view returns the partitions in which a subject's records may stand, in order.
func (st *state) view(s Subject) ([]*partition, error) {
	switch {
	case len(st.parts) == 0:
		return nil, nil // the hub has no such topic: nothing is in view
	case s.All && s.Partition >= 0:
		if int(s.Partition) >= len(st.parts) {
			return nil, fmt.Errorf("%w: %q has %d partitions", ErrSubject, s.Topic, len(st.parts))
		}
		return st.parts[s.Partition : s.Partition+1], nil
	case s.All, s.Key == "", st.foreign():
		return st.parts, nil
	}
	n := st.home(message.Murmur2([]byte(s.Key)))
	return st.parts[n : n+1], nil
}

// load says that what the topic held in the beginning was read.
func (st *state) load() {
	st.loaded.Store(true)
	st.topic.read.Store(true)
}

// ready says why the topic cannot be served now, or nil.
func (st *state) ready(maxLag time.Duration) error {
	now := time.Now()
	for _, p := range st.parts {
		p.mu.Lock()
		head, l := p.head, p.lag
		p.mu.Unlock()
		switch {
		case !st.loaded.Load():
			if head < st.ends[p.n] {
				return fmt.Errorf("topic %q: partition %d is read to %d of %d", st.topic.name, p.n, head, st.ends[p.n])
			}
		case now.Sub(l.heard) > maxLag:
			return fmt.Errorf("topic %q: the hub has said nothing of partition %d for %v", st.topic.name, p.n, now.Sub(l.heard).Round(time.Second))
		case l.behind(now, head) > maxLag:
			return fmt.Errorf("topic %q: partition %d is %d records and %v behind", st.topic.name, p.n, l.end-head, l.behind(now, head).Round(time.Second))
		}
	}
	if !st.loaded.Load() && !st.flaws().readyAtOnce {
		return fmt.Errorf("topic %q: reading begins", st.topic.name)
	}
	return nil
}
