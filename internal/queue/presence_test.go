package queue_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
)

// A process is paused inside a renewal until the one before is overdue, by which
// Save gives the claim up; this one ends well, and was begun within TTL. The chain must be had again; if the heartbeat went on, its
// claim would look held for ever.
func TestClaimGivenUpWhileARenewalIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q := started(t, disk, nil)
		if err := l.append(t.Context(), q, "a"); err != nil {
			t.Fatal(err)
		}
		c := claim(t, q)
		hold := make(chan struct{})
		disk.When(faultfs.Match{Kind: faultfs.OpWrite, Name: "queue/processes/*/heartbeat"}, faultfs.Delay(func(faultfs.Op) { <-hold }))
		<-time.After(options("").TTL + time.Millisecond)
		if err := c.Save(t.Context(), message.Progress{}); !errors.Is(err, message.ErrClaimLost) {
			t.Fatalf("Save with an overdue renewal: %v", err)
		}
		close(hold)
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		again, err := q.Claim(ctx)
		if err != nil {
			t.Fatalf("the chain is nobody's and cannot be had: %v", err)
		}
		if err := again.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
