package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// scanned are the offsets that Scan shows.
func scanned(t testing.TB, f *Feed, partition int32, from, to int64) ([]int64, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	var out []int64
	err := f.Scan(ctx, "messages", partition, from, to, func(rs []FeedRecord) error {
		for i := range rs {
			out = append(out, rs[i].Offset)
		}
		return nil
	})
	return out, err
}

func TestFeedScans(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t)
	p, tx := newWriter(t, []string{addr}), newWriter(t, []string{addr}, kgo.TransactionalID("t"))
	p.write("messages", 1, 2)                      // 0, 1
	tx.transaction("messages", 1, 3, kgo.TryAbort) // 2, 3, 4, marker at 5
	p.write("messages", 1, 2)                      // 6, 7
	tx.transaction("messages", 1, 1, kgo.TryAbort) // 8, marker at 9
	p.remove("messages", 1, 1)
	f := newFeed(t, options(addr), nil)
	for _, row := range []struct {
		from, to int64
		want     []int64
		err      error
	}{
		{1, 10, []int64{1, 6, 7}, nil},
		{1, 1, nil, nil},
		{1, 2, []int64{1}, nil},
		{1, 7, []int64{1, 6}, nil},
		{2, 6, nil, nil}, // all aborted
		{3, 5, nil, nil},
		{8, 10, nil, nil}, // the tail is aborted
		{0, 10, nil, ErrGone},
	} {
		if got, err := scanned(t, f, 1, row.from, row.to); !errors.Is(err, row.err) || !slices.Equal(got, row.want) {
			t.Errorf("[%d, %d): %v, %v; want %v, %v", row.from, row.to, got, err, row.want, row.err)
		}
	}
	enough := errors.New("enough")
	if err := f.Scan(t.Context(), "messages", 1, 1, 10, func([]FeedRecord) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("ended by fn: %v", err)
	}
	if _, err := scanned(t, f, 7, 0, 1); !errors.Is(err, ErrGone) {
		t.Errorf("a partition that is not there: %v", err)
	}
	p.remake("messages", 3)
	newWriter(t, []string{addr}).write("messages", 1, 12)
	if got, err := scanned(t, f, 1, 1, 10); !errors.Is(err, ErrGone) || len(got) > 0 {
		t.Errorf("of a topic made anew: %v, %v", got, err)
	}
}

// Records are read to the end of the span though there are many of them, by many
// scans at once, over one connection to the broker.
func TestFeedScansManyAtOnce(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t)
	p := newWriter(t, []string{addr})
	for range 600 {
		p.client.Produce(t.Context(), &kgo.Record{Topic: "messages", Partition: 1, Value: make([]byte, 10<<10)}, nil)
	}
	if err := p.client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var asked sync.Map
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked.Store(r.(*kmsg.FetchRequest).MaxWaitMillis, true)
		return nil, nil, false
	})
	f := newFeed(t, options(addr), nil)
	var wg sync.WaitGroup
	for i := range int64(8) {
		wg.Go(func() {
			got, err := scanned(t, f, 1, i, 600-i)
			if err != nil || int64(len(got)) != 600-2*i || got[0] != i {
				t.Errorf("scan %d: %d records, %v", i, len(got), err)
			}
		})
	}
	wg.Wait()
	if _, waits := asked.Load(int32(feedWait.Milliseconds())); waits {
		t.Error("a scan has the broker wait, and so holds up the others")
	}
}

// What fails for a while is tried again; what never comes is no end.
func TestFeedScanOverTrouble(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t)
	newWriter(t, []string{addr}).write("messages", 1, 3)
	f := newFeed(t, options(addr), nil)
	n := 0
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		switch n++; n {
		case 1, 3:
			return r.ResponseKind(), nil, true // it throttles
		case 2, 4:
			return nil, errors.New("gone"), true
		}
		return nil, nil, false
	})
	if got, err := scanned(t, f, 1, 0, 3); err != nil || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestFeedScanOfAnEmptiedTail(t *testing.T) {
	t.Parallel()
	for _, compacted := range []bool{true, false} {
		t.Run(fmt.Sprintf("compacted %v", compacted), func(t *testing.T) {
			t.Parallel()
			c, addr := startCluster(t)
			newWriter(t, []string{addr}).write("messages", 1, 10)
			f := newFeed(t, options(addr), nil)
			if _, err := f.Describe(t.Context(), "messages"); err != nil {
				t.Fatal(err)
			}
			f.mu.Lock()
			topic := f.topics["messages"]
			topic.Compacted = compacted
			f.topics["messages"] = topic
			f.mu.Unlock()
			emptied(c, 10)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			err := f.Scan(ctx, "messages", 1, 4, 10, func([]FeedRecord) error { return nil })
			if compacted != (err == nil) {
				t.Errorf("records that do not come: %v", err)
			}
		})
	}
}
