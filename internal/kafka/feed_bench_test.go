package kafka

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/message"
)

// BenchmarkFeed reads records of 256 bytes, with the headers that a stamp gives
// them, from a hub in this process: by a Feed, and for comparison by a bare
// consumer, which keeps no bytes.
func BenchmarkFeed(b *testing.B) {
	const n = 50_000
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "messages"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	addr := c.ListenAddrs()[0]
	s := startSink(b, options(addr))
	for first := uint64(0); first < n; first += 5000 {
		msgs := make([]message.Stored, 5000)
		for i := range msgs {
			msgs[i] = stored(first + uint64(i) + 1)
			msgs[i].Key, msgs[i].Value = fmt.Appendf(nil, "key %d", i%1000), make([]byte, 256)
		}
		produce(b, s, int32(first/5000%4), msgs...)
	}
	b.Run("feed", func(b *testing.B) {
		f := newFeed(b, options(addr), nil)
		for b.Loop() {
			got, enough := 0, errors.New("enough")
			err := f.Follow(b.Context(), "messages", []int64{0, 0, 0, 0}, func(batch *FeedBatch) error {
				if got += len(batch.Records); got == n {
					return enough
				}
				return nil
			})
			if !errors.Is(err, enough) {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("bare consumer", func(b *testing.B) {
		for b.Loop() {
			bare(b, addr, n)
		}
		b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "records/s")
	})
}

func bare(b *testing.B, addr string, n int) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics("messages"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	for got := 0; got < n; {
		got += client.PollFetches(context.Background()).NumRecords()
	}
}
