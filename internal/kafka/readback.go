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

// ReadBack reads each given partition from its mark to the end it has now and
// calls found for every message there that a stamp sent, with the place at
// which that stamp kept it and its mark. It is how a forwarder learns what is already in the
// hub. Records that a replay wrote do not count.
//
// lost are the marks that were out of range, because retention passed them, or
// the topic was deleted or made anew, each with the offset at which reading
// began instead: what stood before cannot be seen, and is to be sent again.
// found may have been called before an error.
//
// What stands in a transaction that is still open is waited for, so that it is
// known whether it is in the hub.
func (s *Sink) ReadBack(ctx context.Context, from []message.Mark, found func(p message.Place, at message.Mark)) (lost []message.Mark, err error) {
	client, err := s.current()
	if err != nil {
		return nil, err
	}
	spans, lost, err := spansOf(ctx, client, from)
	if err != nil {
		return lost, s.link.classified("read back: list offsets", err)
	}
	n, err := s.link.readSpans(ctx, s.deps, client, spans, func(r *kgo.Record) {
		m := parseMarks(r.Headers)
		if at := m.sender(); at.Seq > 0 {
			found(at, message.Mark{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset})
		}
	})
	return append(lost, n...), s.link.classified("read back", err)
}

type spans map[string]map[int32]span

// spansOf cuts the marks to what the partitions hold.
func spansOf(ctx context.Context, client *kgo.Client, from []message.Mark) (_ spans, lost []message.Mark, err error) {
	topics := topicsOf(from)
	if len(topics) == 0 {
		return nil, nil, nil
	}
	adm := kadm.NewClient(client)
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, nil, err
	}
	out := spans{}
	for _, m := range from {
		start, ok1 := starts.Lookup(m.Topic, m.Partition)
		end, ok2 := ends.Lookup(m.Topic, m.Partition)
		err := errors.Join(start.Err, end.Err)
		switch {
		case !ok1 || !ok2 || errors.Is(err, kerr.UnknownTopicOrPartition):
			lost = append(lost, message.Mark{Topic: m.Topic, Partition: m.Partition})
			continue
		case err != nil:
			return nil, lost, fmt.Errorf("%s/%d: %w", m.Topic, m.Partition, err)
		}
		sp := span{m.Offset, end.Offset}
		// A partition that ends before its mark is not the one that was
		// marked: it was made anew, and is read whole.
		if m.Offset < start.Offset || m.Offset > end.Offset {
			sp.from = start.Offset
			lost = append(lost, message.Mark{Topic: m.Topic, Partition: m.Partition, Offset: start.Offset})
		}
		if sp.from >= sp.end {
			continue
		}
		if out[m.Topic] == nil {
			out[m.Topic] = map[int32]span{}
		}
		out[m.Topic][m.Partition] = sp
	}
	return out, lost, nil
}

// readSpans reads the spans with a client of its own and calls fn for each
// record in them; lost are the partitions that retention overtook meanwhile. It
// returns without an error only where every span was read to its end.
func (l *link) readSpans(ctx context.Context, deps Deps, admin *kgo.Client, sp spans, fn func(*kgo.Record)) (lost []message.Mark, err error) {
	if len(sp) == 0 {
		return nil, nil
	}
	left := map[partitionKey]span{}
	assign := map[string]map[int32]kgo.Offset{}
	for topic, parts := range sp {
		assign[topic] = map[int32]kgo.Offset{}
		for p, s := range parts {
			assign[topic][p] = kgo.NewOffset().At(s.from)
			left[partitionKey{topic, p}] = s
		}
	}
	client, err := kgo.NewClient(append(l.common(deps.Log, nil, nil),
		kgo.ConsumePartitions(assign),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), // what was aborted is not in the hub
		kgo.KeepControlRecords(),                     // so that a span that ends in one is seen to end
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.DisableFetchSessions(),
		kgo.FetchMaxWait(250*time.Millisecond),
		kgo.FetchMaxBytes(8<<20), // a read may be of hours
		kgo.FetchMaxPartitionBytes(1<<20),
	)...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	for idle := 0; len(left) > 0; {
		fetches := pollWithin(ctx, client, time.Second)
		if ctx.Err() != nil {
			return lost, ctx.Err()
		}
		n, err := takeErrors(fetches, left)
		lost = append(lost, n...)
		if err != nil {
			return lost, err
		}
		if fetches.NumRecords() == 0 && len(n) == 0 {
			if idle++; idle > idleChecks {
				err = l.opts.strikePassed(ctx, admin, left)
			} else {
				err = admin.Ping(ctx)
			}
			if err == nil && idle > silentPolls && len(left) > 0 {
				err = errSilent
			}
			if err != nil {
				return lost, err
			}
			continue
		}
		idle = 0
		fetches.EachRecord(func(r *kgo.Record) {
			key := partitionKey{r.Topic, r.Partition}
			s, ok := left[key]
			if !ok {
				return
			}
			if r.Offset < s.end && !r.Attrs.IsControl() {
				fn(r)
			}
			if s.from = r.Offset + 1; s.from < s.end {
				left[key] = s
			} else {
				delete(left, key)
			}
		})
	}
	return lost, nil
}

// strikePassed strikes partitions off what is left where the hub says that the
// rest of the span holds nothing readable.
func (o Options) strikePassed(ctx context.Context, admin *kgo.Client, left map[partitionKey]span) error {
	for key, s := range left {
		done, err := o.passed(ctx, admin, key, s, kgo.ReadCommitted())
		if err != nil {
			return err
		}
		if done {
			delete(left, key)
		}
	}
	return nil
}

// takeErrors strikes partitions that retention overtook off what is left and
// returns the first other error.
func takeErrors(fetches kgo.Fetches, left map[partitionKey]span) (lost []message.Mark, err error) {
	fetches.EachError(func(topic string, p int32, e error) {
		key := partitionKey{topic, p}
		_, open := left[key]
		switch {
		case errors.Is(e, context.DeadlineExceeded) || errors.Is(e, context.Canceled):
		case open && (errors.Is(e, kerr.OffsetOutOfRange) || errors.Is(e, kerr.UnknownTopicOrPartition)):
			delete(left, key)
			lost = append(lost, message.Mark{Topic: topic, Partition: p})
		case err == nil:
			err = fmt.Errorf("fetch %s/%d: %w", topic, p, e)
		}
	})
	return lost, err
}
