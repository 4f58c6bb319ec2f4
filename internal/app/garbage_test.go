package app

import (
	"context"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGarbagePercent(t *testing.T) {
	for _, c := range []struct {
		live  uint64
		usual int
		want  int
	}{
		{0, 100, 1000},
		{1 << 20, 100, 1000},
		{8 << 20, 100, 400},
		{32 << 20, 100, 100},
		{1 << 30, 100, 100},
		{1 << 40, 0, 0},
		{16 << 20, 300, 300},
	} {
		if got := garbagePercent(c.live, c.usual); got != c.want {
			t.Errorf("%d bytes in use, usually %d %%: %d %%, want %d %%", c.live, c.usual, got, c.want)
		}
	}
}

// percentNow is what is in force.
func percentNow() uint64 {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// Little in use lets more garbage gather than usual, until it ends; what an
// operator has set stays.
func TestLessCollecting(t *testing.T) {
	for set, want := range map[string]bool{"": true, "100": false} {
		t.Run("GOGC="+set, func(t *testing.T) {
			t.Setenv("GOGC", set)
			runtime.GC() // what other tests have left is not in use
			before := percentNow()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- lessCollecting(ctx) }()
			if want {
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for end := time.Now().Add(time.Minute); percentNow() == before && time.Now().Before(end); {
					<-tick.C
				}
			}
			if more := percentNow() > before; more != want {
				t.Errorf("%d %% are in force, %d %% were", percentNow(), before)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if after := percentNow(); after != before {
				t.Errorf("%d %% are left in force, %d %% were", after, before)
			}
		})
	}
}
