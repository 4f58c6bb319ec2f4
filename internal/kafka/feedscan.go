package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// scanBytes bounds one answer of a scan; it and what is copied of it are in
	// memory at a time.
	scanBytes = 1 << 20
	// scanPatience is how long a scan waits where it gets no further: longer than
	// an election takes, and a broker to be missed.
	scanPatience = 30 * time.Second
)

// Scan calls fn with the records of one partition in [from, to), in order, and
// returns nil once it has read to there, though the last of them were aborted. to
// is not above the end that Bounds or Follow gave. The error matches ErrGone where
// the hub no longer holds from, or what follows it, or the topic is not the one
// that Describe found; fn may have been called before. Where the hub is away it
// tries again for half a minute. Its connections are those of all scans.
func (f *Feed) Scan(ctx context.Context, topic string, partition int32, from, to int64, fn func([]FeedRecord) error) error {
	t, err := f.described(ctx, topic)
	if err != nil {
		return err
	}
	s := &scanning{feed: f, topic: topic, was: t, partition: partition, next: from, to: to, fn: fn, leader: noLeader, stamps: map[string]string{}}
	err = s.run(ctx)
	var stop *stopError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &stop):
		return stop.err
	}
	act := fmt.Sprintf("scan %s/%d from %d to %d", topic, partition, from, to)
	if errors.Is(err, ErrGone) {
		return fmt.Errorf("%s: %w", act, err)
	}
	return f.link.classified(act, err)
}

// scanning is one call of Scan.
type scanning struct {
	feed      *Feed
	topic     string
	was       FeedTopic
	partition int32
	next, to  int64
	fn        func([]FeedRecord) error
	leader    int32
	empty     int // answers in a row that brought nothing, though there is something
	missing   int // looks in a row that did not find the topic
	stamps    map[string]string
}

func (s *scanning) run(ctx context.Context) error {
	at, moved := s.next, time.Now()
	for fails := 1; s.next < s.to; fails++ {
		err := s.step(ctx)
		var stop *stopError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrGone), errors.As(err, &stop):
			return err
		case s.next > at:
			at, moved, fails = s.next, time.Now(), 0
			continue
		case Classify(err) == ClassHold && !unknownTopic(err), time.Since(moved) > scanPatience:
			return err
		}
		if err := sleep(ctx, backoff(fails)); err != nil {
			return err
		}
	}
	return nil
}

// step asks the leader once, and hands over what it answered.
func (s *scanning) step(ctx context.Context) error {
	if s.leader == noLeader {
		if err := s.lookUp(ctx); err != nil {
			return err
		}
	}
	f := fetch{
		topic: s.topic, id: s.was.ID, level: kgo.ReadCommitted(), bytes: scanBytes, partBytes: scanBytes,
		positions: []position{{s.partition, s.next}},
	}
	p := piece{err: errUnanswered}
	err := f.send(ctx, s.feed.client, s.leader, func(rp *kmsg.FetchResponseTopicPartition) { p = f.pieceOf(rp, s.next, s.stamps) })
	if err == nil {
		err = p.err
	}
	if err != nil {
		s.leader = noLeader
	}
	if errors.Is(err, kerr.OffsetOutOfRange) {
		return s.gone(ctx)
	}
	if p.Next > s.next && p.end >= 0 {
		s.next, s.empty = p.Next, 0
		return s.hand(p.Records)
	}
	if err == nil {
		err = s.nothing(p.end)
	}
	return err
}

// hand gives fn the records below to.
func (s *scanning) hand(records []FeedRecord) error {
	n := len(records)
	for n > 0 && records[n-1].Offset >= s.to {
		n--
	}
	if n == 0 {
		return nil
	}
	if err := s.fn(records[:n]); err != nil {
		return &stopError{err}
	}
	return nil
}

// nothing judges an answer without anything at next. That is no end: a tiered
// store may be slow. Only of a compacted topic it is, in the end.
func (s *scanning) nothing(end int64) error {
	if end < s.to {
		s.leader = noLeader
		return fmt.Errorf("%w: end %d, wanted to %d", errShort, end, s.to)
	}
	if s.empty++; s.was.Compacted && s.empty > idleChecks {
		s.next = s.to
		return nil
	}
	return errSilent
}

// lookUp finds the leader.
func (s *scanning) lookUp(ctx context.Context) error {
	found, cluster, err := topicIn(ctx, s.feed.client, s.topic)
	if s.missing++; !unknownTopic(err) {
		s.missing = 0
	}
	switch {
	case s.missing >= feedMissing:
		return fmt.Errorf("%w: %w", ErrGone, err)
	case err != nil:
		return err
	}
	if err := s.was.same(&found, cluster); err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	for i := range found.Partitions {
		if found.Partitions[i].Partition == s.partition {
			s.leader = max(found.Partitions[i].Leader, noLeader)
			if s.leader == noLeader {
				return kerr.LeaderNotAvailable
			}
			return nil
		}
	}
	return fmt.Errorf("%w: it has no such partition", ErrGone)
}

// gone says whether the hub has removed what stands at next.
func (s *scanning) gone(ctx context.Context) error {
	bounds, err := boundsOf(ctx, s.feed.client, s.topic, s.was.Partitions, false)
	if err != nil {
		return err
	}
	if b := bounds[s.partition]; s.next < b.Start {
		return fmt.Errorf("%w: it begins at %d", ErrGone, b.Start)
	}
	return errShort
}

// unknownTopic tells errors by which the hub says that it has no such topic.
func unknownTopic(err error) bool {
	return errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID)
}
