package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// errUnanswered: a broker that throttles answers for no partition.
var errUnanswered = errors.New("the leader did not answer for the partition")

// fetch is what one request to one broker wants of a topic.
type fetch struct {
	topic string
	id    [16]byte // of the topic; zero where the hub knows none
	level kgo.IsolationLevel
	// wait is how long the broker may wait for something to come.
	wait time.Duration
	// bytes bounds the answer, and partBytes what is in it of one partition; but
	// the first batch comes whole, however large.
	bytes, partBytes int32
	positions        []position
}

// position is where a partition is to be read from.
type position struct {
	partition int32
	from      int64
}

// send asks a broker once, and calls got for each partition that it answered for.
func (f *fetch) send(ctx context.Context, client *kgo.Client, broker int32, got func(*kmsg.FetchResponseTopicPartition)) error {
	req := kmsg.NewPtrFetchRequest()
	req.MinBytes, req.MaxBytes, req.MaxWaitMillis = 1, f.bytes, int32(f.wait.Milliseconds())
	if f.level == kgo.ReadCommitted() {
		req.IsolationLevel = 1
	}
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = f.topic, f.id // the version spoken decides which is sent
	for _, p := range f.positions {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = p.partition, p.from, f.partBytes
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	answer, err := client.Broker(int(broker)).Request(ctx, req)
	if err != nil {
		return err
	}
	resp, ok := answer.(*kmsg.FetchResponse)
	if !ok || len(resp.Topics) != 1 {
		return errUnanswered
	}
	for i := range resp.Topics[0].Partitions {
		got(&resp.Topics[0].Partitions[i])
	}
	return nil
}

// decode reads what a broker answered for a partition: the records in it with
// their markers, and where to read on. Records point into the answer.
func (f *fetch) decode(rp *kmsg.FetchResponseTopicPartition, from int64) (fp kgo.FetchPartition, next int64) {
	return kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		KeepControlRecords: true, Offset: from, IsolationLevel: f.level, Topic: f.topic, Partition: rp.Partition,
	}, rp, kgo.DefaultDecompressor(), nil)
}

// stable is the end that readers of that level see, by an answer.
func (f *fetch) stable(fp *kgo.FetchPartition) int64 {
	if f.level == kgo.ReadCommitted() && fp.LastStableOffset >= 0 {
		return fp.LastStableOffset
	}
	return fp.HighWatermark
}

// piece is what a broker answered for a partition, in memory of its own.
type piece struct {
	FeedBatch
	end int64 // of committed records, -1 where the broker does not say
	err error
}

// size is the memory of its keys and values.
func (p *piece) size() (n int) {
	for i := range p.Records {
		n += len(p.Records[i].Key) + len(p.Records[i].Value)
	}
	return n
}

// pieceOf makes a piece of an answer. Of an answer that is damaged further on it
// has what stands before. stamps spares a string for each record.
func (f *fetch) pieceOf(rp *kmsg.FetchResponseTopicPartition, from int64, stamps map[string]string) piece {
	fp, next := f.decode(rp, from)
	p := piece{FeedBatch: FeedBatch{Partition: rp.Partition, From: from, Next: max(from, next)}, err: fp.Err, end: -1}
	if rp.ErrorCode == 0 {
		p.end = f.stable(&fp)
	}
	n := 0
	for _, r := range fp.Records {
		if !r.Attrs.IsControl() {
			n++
		}
	}
	if n > 0 {
		p.Records = make([]FeedRecord, 0, n)
	}
	for _, r := range fp.Records {
		if !r.Attrs.IsControl() {
			p.Records = append(p.Records, feedRecordOf(r, stamps))
		}
	}
	return p
}

// maxStamps bounds how many names of stamps are kept to be shared. Who writes to
// the topic chooses them.
const maxStamps = 1024

func feedRecordOf(r *kgo.Record, stamps map[string]string) FeedRecord {
	m := parseMarks(r.Headers)
	out := FeedRecord{
		Partition: r.Partition, Offset: r.Offset, ID: m.id, HasID: m.hasID, Replay: m.replay,
		Accepted: m.accepted, Timestamp: r.Timestamp,
	}
	if out.Accepted.IsZero() {
		out.Accepted = r.Timestamp
	}
	stamp, known := stamps[m.stamp]
	if !known {
		stamp = m.stamp
		if len(stamps) < maxStamps {
			stamps[stamp] = stamp
		}
	}
	out.Stamp = stamp
	out.Key, out.Value = own(r.Key, r.Value)
	return out
}

// own copies key and value into one piece of memory. The answer that they stand
// in is a megabyte, which one record that is kept would keep as a whole.
func own(key, value []byte) (ownKey, ownValue []byte) {
	both := append(append(make([]byte, 0, len(key)+len(value)), key...), value...)
	if key != nil {
		ownKey = both[:len(key):len(key)]
	}
	if value != nil {
		ownValue = both[len(key):]
	}
	return ownKey, ownValue
}
