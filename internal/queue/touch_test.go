package queue_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/queue"
)

// TestLaneMadeWithinAStepOfTheServersClock: a forwarder lists the lanes between
// the making of two, all within one step of the server's clock. Its host has no way
// of telling that the directory changed again, until it is changed once more.
func TestLaneMadeWithinAStepOfTheServersClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := faultfs.NewShare(1, faultfs.ShareOptions{Granularity: 10 * time.Millisecond})
		here, there := share.Host("here"), share.Host("there")
		started(t, here, only(queue.Writes))
		f := started(t, here, only(queue.Drains))
		synctest.Wait()
		late := started(t, there, only(queue.Writes))
		appendOne(t, late, "a")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		for n := range 2 {
			if _, err := f.Claim(ctx); err != nil {
				t.Fatalf("%d of 2 chains found: %v", n, err)
			}
		}
	})
}
