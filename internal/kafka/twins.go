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

// Window is the readers' look-back in offsets, as the settings have it.
func (s *Sink) Window() int { return s.opts.Window }

// Since returns for each partition the offsets from the first record that was
// produced at or after a time to the partition's present end, in the order asked.
// cut are those, by their index, of which the hub may have dropped records that
// were: nothing older is left there to show that it has not.
func (s *Sink) Since(ctx context.Context, of []message.Mark, t time.Time) (spans []message.Span, cut map[int]bool, err error) {
	client, err := s.current()
	if err != nil {
		return nil, nil, err
	}
	adm, topics := kadm.NewClient(client), topicsOf(of)
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, nil, s.link.classified("list the beginnings of partitions", err)
	}
	firsts, err := adm.ListOffsetsAfterMilli(ctx, t.UnixMilli(), topics...)
	if err != nil {
		return nil, nil, s.link.classified("look for a time in partitions", err)
	}
	ends, err := adm.ListEndOffsets(ctx, topics...) // last: not below what the others say
	if err != nil {
		return nil, nil, s.link.classified("list the ends of partitions", err)
	}
	cut = map[int]bool{}
	for i, m := range of {
		start, ok1 := starts.Lookup(m.Topic, m.Partition)
		first, ok2 := firsts.Lookup(m.Topic, m.Partition)
		end, ok3 := ends.Lookup(m.Topic, m.Partition)
		err := errors.Join(start.Err, first.Err, end.Err)
		if !ok1 || !ok2 || !ok3 {
			err = kerr.UnknownTopicOrPartition
		}
		if err != nil {
			return nil, nil, s.link.classified(fmt.Sprintf("look for a time in %s/%d", m.Topic, m.Partition), err)
		}
		from := first.Offset
		if from < 0 { // nothing so late
			from = end.Offset
		}
		cut[i] = start.Offset > 0 && from <= start.Offset
		spans = append(spans, message.Span{Topic: m.Topic, Partition: m.Partition, From: max(from, start.Offset), To: end.Offset})
	}
	return spans, cut, nil
}

// Copies reads spans and calls found for each message there that any stamp sent,
// in the order of each partition. Records that a replay wrote are not shown to who
// follows, so they are no copies; nor is what was aborted. What stands in a transaction that is still open is waited for.
//
// lost are partitions of which retention removed something before it was read.
// found may have been called before an error.
func (s *Sink) Copies(ctx context.Context, of []message.Span, found func(message.Copy)) (lost []message.Mark, err error) {
	client, err := s.current()
	if err != nil {
		return nil, err
	}
	want := spans{}
	for _, o := range of {
		if o.From >= o.To {
			continue
		}
		if want[o.Topic] == nil {
			want[o.Topic] = map[int32]span{}
		}
		want[o.Topic][o.Partition] = span{o.From, o.To}
	}
	lost, err = s.link.readSpans(ctx, s.deps, client, want, func(r *kgo.Record) {
		if m := parseMarks(r.Headers); m.hasID && !m.replay {
			found(message.Copy{
				ID: m.id, Repeat: m.repeat, Produced: r.Timestamp,
				At: message.Mark{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset},
			})
		}
	})
	return lost, s.link.classified("read what other stamps sent", err)
}
