package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Produced is what produce prints.
type Produced struct {
	Records int64 `json:"records"`
	// Bytes is the size of keys, values and headers.
	Bytes int64 `json:"bytes"`
	// Seconds is from the first call of Produce to the last acknowledgement.
	Seconds float64 `json:"seconds"`
}

// produce reads n records of a topic into memory and produces the same (key,
// value, headers, partition) to another as fast as the client can: idempotent,
// acknowledged by all replicas, no compression and no linger, as Postroad's
// forwarder does, with nothing else to do.
func produce(ctx context.Context, brokers, from, to string, n int) (p Produced, err error) {
	records, err := load(ctx, brokers, from, n)
	if err != nil {
		return Produced{}, fmt.Errorf("load %s: %w", from, err)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(math.MaxInt32),
		kgo.MaxBufferedBytes(maxBuffered),
		kgo.DisableClientMetrics(),
	)
	if err != nil {
		return Produced{}, err
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return Produced{}, err
	}
	var mu sync.Mutex
	var errs []error // guarded by mu
	began := time.Now()
	for _, r := range records {
		p.Bytes += int64(len(r.Key) + len(r.Value))
		for _, h := range r.Headers {
			p.Bytes += int64(len(h.Key) + len(h.Value))
		}
		client.Produce(ctx, &kgo.Record{Topic: to, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers},
			func(_ *kgo.Record, err error) {
				if err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, err)
				}
			})
	}
	if err := client.Flush(ctx); err != nil {
		return Produced{}, err
	}
	p.Records, p.Seconds = int64(len(records)), time.Since(began).Seconds()
	mu.Lock()
	defer mu.Unlock()
	if len(errs) > 0 {
		return Produced{}, fmt.Errorf("%d records were not taken, the first: %w", len(errs), errs[0])
	}
	return p, nil
}

// maxBuffered is how much waits in the client at the most, in bytes.
const maxBuffered = 64 << 20

// load reads the first n records of a topic.
func load(ctx context.Context, brokers, topic string, n int) ([]*kgo.Record, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableClientMetrics(),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	records := make([]*kgo.Record, 0, n)
	for len(records) < n {
		wait, cancel := context.WithTimeout(ctx, silence)
		fetches := client.PollFetches(wait)
		ended := wait.Err()
		cancel()
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.DeadlineExceeded) {
				return nil, e.Err
			}
		}
		if fetches.NumRecords() == 0 && ended != nil {
			return nil, fmt.Errorf("%d records and no more for %v, want %d", len(records), silence, n)
		}
		records = append(records, fetches.Records()...)
	}
	return records[:n], nil
}

// silence is how long nothing may come while records are loaded.
const silence = 20 * time.Second
