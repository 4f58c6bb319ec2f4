package queue_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// TestChainRemovedByAnother: a process that slept while another drained a chain
// and removed it does not hold on to what is gone.
func TestChainRemovedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := faultfs.NewShare(1, faultfs.ShareOptions{Calm: true})
		first := share.Host("first")
		gateway, stopGateway := begin(t, share.Host("gateway"), only(queue.Writes))
		appendOne(t, gateway, "a")
		a, stopA := begin(t, first, only(queue.Drains))
		defer stopA()
		c := claim(t, a)
		slow := share.Host("slow")
		b, stopB := begin(t, slow, only(queue.Drains))
		defer stopB()
		wait(time.Minute)
		stopGateway()
		wait(30 * time.Second)
		slow.Pause()
		msgs, err := drainChain(c, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Save(t.Context(), upTo(msgs)); err != nil {
			t.Fatal(err)
		}
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait(time.Hour)
		if left := names(t, first, "queue/lanes"); len(left) != 0 {
			t.Fatalf("lanes left: %d", len(left))
		}
		slow.Resume()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for {
			c, err := b.Claim(ctx)
			if errors.Is(err, context.DeadlineExceeded) {
				break
			}
			if err != nil {
				t.Logf("claim: %v", err)
				wait(time.Second)
				continue
			}
			for {
				var msgs []message.Stored
				msgs, err = c.Next(ctx, 10)
				if len(msgs) > 0 {
					t.Fatalf("handed out again: %q", values(msgs))
				}
				if errors.Is(err, io.EOF) || ctx.Err() != nil {
					break
				}
				wait(time.Minute)
			}
			if !errors.Is(err, io.EOF) {
				t.Fatalf("held for an hour, with nothing to read: %v", err)
			}
			if err := c.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		wait(time.Hour)
		if left := names(t, first, "queue/claims"); len(left) != 0 {
			t.Errorf("claims left: %q, %q", left, names(t, first, "queue/claims/"+left[0]))
		}
	})
}
