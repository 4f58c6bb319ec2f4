package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Silence is no end: the leader may be in an election, or a fetch slow. But a
// log may end in nothing readable, because compaction removed it, and then no
// record ever comes. So after idleChecks polls in a row without a record the
// leader is asked what stands between the position and the end; after
// silentPolls of them, with records there that do not come, reading is given up
// to be tried afresh.
const (
	idleChecks  = 3
	silentPolls = 30
)

var (
	errShort  = errors.New("the partition now ends before the end it had")
	errSilent = errors.New("records are there and do not come")
)

// span is a part of a partition to be read: offsets [from, end).
type span struct{ from, end int64 }

// passed asks the leader of a partition, past every cache, whether nothing
// readable is left of the span. Only the leader's answer counts; the error says
// why there was none, or that the partition has become shorter.
func (o Options) passed(ctx context.Context, client *kgo.Client, of partitionKey, sp span, level kgo.IsolationLevel) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, o.RequestTimeout)
	defer cancel()
	for sp.from < sp.end {
		rp, err := fetchOnce(ctx, client, of, sp.from, level)
		if err != nil {
			return false, fmt.Errorf("ask for the end of %s/%d: %w", of.topic, of.partition, err)
		}
		fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
			KeepControlRecords: true, Offset: sp.from, IsolationLevel: level, Topic: of.topic, Partition: of.partition,
		}, rp, kgo.DefaultDecompressor(), nil)
		stable := fp.HighWatermark
		if level == kgo.ReadCommitted() && fp.LastStableOffset >= 0 {
			stable = fp.LastStableOffset
		}
		switch {
		case fp.Err != nil:
			return false, fmt.Errorf("ask for the end of %s/%d: %w", of.topic, of.partition, fp.Err)
		case stable < sp.end && fp.HighWatermark >= sp.end:
			return false, nil // a transaction is open; its outcome is not known yet
		case stable < sp.end:
			return false, fmt.Errorf("%s/%d: %w", of.topic, of.partition, errShort)
		case len(fp.Records) > 0:
			return fp.Records[0].Offset >= sp.end, nil
		case len(rp.RecordBatches) == 0:
			return true, nil
		case next <= sp.from:
			return false, fmt.Errorf("%s/%d: %w", of.topic, of.partition, errSilent)
		}
		sp.from = next // batches that were emptied, or aborted
	}
	return true, nil
}

// fetchOnce makes one fetch request to the leader, which answers at once.
func fetchOnce(ctx context.Context, client *kgo.Client, of partitionKey, from int64, level kgo.IsolationLevel) (*kmsg.FetchResponseTopicPartition, error) {
	topic, err := topicOf(ctx, client, of.topic)
	if err != nil {
		return nil, err
	}
	leader := int32(-1)
	for _, p := range topic.Partitions {
		if p.Partition == of.partition {
			leader = p.Leader
		}
	}
	if leader < 0 {
		return nil, errors.New("the partition has no leader")
	}
	ask := fetch{topic: of.topic, id: topic.TopicID, level: level, bytes: 1 << 20, partBytes: 1 << 20, positions: []position{{of.partition, from}}}
	var rp *kmsg.FetchResponseTopicPartition
	if err := ask.send(ctx, client, leader, func(p *kmsg.FetchResponseTopicPartition) { rp = p }); err != nil {
		return nil, err
	}
	if rp == nil {
		return nil, errUnanswered
	}
	return rp, nil
}

// pollWithin polls for at most d. A poll that brings nothing is no error.
func pollWithin(ctx context.Context, client *kgo.Client, d time.Duration) kgo.Fetches {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return client.PollFetches(ctx)
}
