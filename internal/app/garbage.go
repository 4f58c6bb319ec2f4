package app

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// spareGarbage is how many bytes of garbage may gather before they are looked
	// for. Go's own measure is as much as is in use, which in a door that carries
	// small requests is next to nothing: it would collect dozens of times a second,
	// for a tenth of what a request costs.
	spareGarbage = 32 << 20
	// mostGarbage is how much of it there may be in percent of what is in use, so
	// that what grows suddenly is not followed by ten times as much.
	mostGarbage = 1000
	// garbageLook is how often what is in use is looked at.
	garbageLook = time.Second
)

// garbagePercent is the share of what is in use by which memory may grow before
// garbage is collected: usual, or more while that is little.
func garbagePercent(live uint64, usual int) int {
	if live == 0 {
		return max(usual, mostGarbage)
	}
	return max(usual, int(min(spareGarbage*100/live, mostGarbage)))
}

// lessCollecting lets garbage gather until ctx ends. A limit of memory goes before
// it, and so does an operator's GOGC.
func lessCollecting(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		<-ctx.Done()
		return nil
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	now := garbagePercent(live[0].Value.Uint64(), 0)
	usual := debug.SetGCPercent(now)
	defer debug.SetGCPercent(usual)
	look := time.NewTicker(garbageLook)
	defer look.Stop()
	for {
		metrics.Read(live)
		// To set it stops the world for a moment: not for every byte.
		if next := garbagePercent(live[0].Value.Uint64(), usual); next < now*3/4 || next > now*5/4 {
			now = next
			debug.SetGCPercent(now)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}
