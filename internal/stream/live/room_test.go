package live_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/message"
	"postroad/internal/stream/live"
	"postroad/internal/stream/live/livetest"
)

// narrow runs a node that asks room before it takes up records, while do does.
func narrow(t *testing.T, partitions int32, room func(context.Context) error, do func(*livetest.Log, *live.Engine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		hub := livetest.NewLog()
		hub.Make(topicName, partitions)
		e, err := live.New(options(), live.Deps{Log: hub, Logger: slog.New(slog.DiscardHandler), Room: room})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = e.Run(ctx) }()
		synctest.Wait()
		do(hub, e)
		cancel()
		<-ended
	})
}

// That nothing came of a partition needs no room: a topic of many silent partitions
// would take longer to say so than a node may be behind.
func TestNoRoomIsAskedForNothing(t *testing.T) {
	var asked atomic.Int64
	room := func(context.Context) error { asked.Add(1); return nil }
	narrow(t, 2, room, func(hub *livetest.Log, _ *live.Engine) {
		<-time.After(10 * time.Second)
		synctest.Wait()
		quiet := asked.Load()
		hub.Send(topicName, "k", "a")
		<-time.After(10 * time.Second)
		synctest.Wait()
		if after := asked.Load(); quiet != 0 || after != 1 {
			t.Errorf("asked %d times while nothing came, and %d times in all", quiet, after)
		}
	})
}

// A node that waits for room has heard of the hub: it does not say that the hub is
// silent, which would send all its clients away while it is merely slow.
func TestHeardOfBeforeThereIsRoom(t *testing.T) {
	room := func(ctx context.Context) error {
		select {
		case <-time.After(7 * time.Second): // two of them are longer than max_lag
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	narrow(t, 2, room, func(hub *livetest.Log, e *live.Engine) {
		<-time.After(2 * time.Second)
		seen := map[int32]bool{}
		for i := 0; len(seen) < 2; i++ {
			k := fmt.Sprint(i)
			if p := message.PartitionOf([]byte(k), 2); !seen[p] {
				seen[p] = true
				hub.Send(topicName, k, "a")
			}
		}
		for i := range 60 {
			<-time.After(500 * time.Millisecond)
			if err := e.Ready(); err != nil {
				t.Errorf("%v later: %v", time.Duration(i+1)*500*time.Millisecond, err)
				return
			}
		}
	})
}
