package queue_test

import (
	"errors"
	"path"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// diverted appends messages and moves them to a side lane, which is saved.
func diverted(t *testing.T, q *queue.Queue, n int) (c *queue.Claim, msgs []message.Stored) {
	t.Helper()
	c, msgs = appendAndRead(t, q, n)
	if err := c.Divert(t.Context(), msgs[0].Topic, msgs); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(t.Context(), standing(msgs)); err != nil {
		t.Fatal(err)
	}
	return c, msgs
}

// TestSideLaneOfAnUnknownChain: a process that cannot read who wrote the lanes of
// a chain does not take the chain's side lanes for ones that never counted.
func TestSideLaneOfAnUnknownChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q, stop := begin(t, disk, nil)
		c, msgs := diverted(t, q, 3)
		topic, own := msgs[0].Topic, msgs[0].Lane
		disk = powerCut(disk, stop)
		heal := disk.When(faultfs.Match{Kind: faultfs.OpOpen, Always: true, Name: path.Join("queue/lanes", own, "lane")}, faultfs.FailBefore(syscall.EIO))
		second := started(t, disk, nil)
		wait(time.Hour)
		heal()
		c = claimChain(t, second, c.ID())
		if got := values(heldAll(t, c, topic)); !slices.Equal(got, []string{"0", "1", "2"}) {
			t.Errorf("of the side lane: %q", got)
		}
	})
}

// TestSideLaneThatWasNotSynced: what a successor reads at the end of a side lane
// and is not known to be on stable storage, it moves itself. Else its progress
// would pass a message that the next power cut takes.
func TestSideLaneThatWasNotSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q, stop := begin(t, disk, nil)
		c, msgs := appendAndRead(t, q, 3)
		topic := msgs[0].Topic
		if err := c.Divert(t.Context(), topic, msgs[:1]); err != nil {
			t.Fatal(err)
		}
		if err := c.Save(t.Context(), standing(msgs[:1])); err != nil {
			t.Fatal(err)
		}
		fault := faultfs.FailBefore(syscall.EIO)
		fault.Pages = faultfs.PagesClean
		disk.When(syncs(segments), fault)
		if err := c.Divert(t.Context(), topic, msgs[1:]); err == nil {
			t.Fatal("moved without a sync")
		}
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop()
		second, stop := begin(t, disk, nil)
		c = claimChain(t, second, c.ID())
		rest := drain(t, c, 2)
		if err := c.Divert(t.Context(), topic, rest); err != nil {
			t.Fatal(err)
		}
		if err := c.Save(t.Context(), standing(rest)); err != nil {
			t.Fatal(err)
		}
		disk = powerCut(disk, stop)
		c = claimChain(t, started(t, disk, nil), c.ID())
		if got := values(heldAll(t, c, topic)); !slices.Equal(got, []string{"0", "1", "2"}) {
			t.Errorf("of the side lanes after a power cut: %q", got)
		}
	})
}

// TestSideLaneOfALostClaim: a side lane whose holder lost its claim before it
// saved never counted, for that process neither: what stands in it was sent by its
// successor, and does not come again when it has the chain back.
func TestSideLaneOfALostClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := faultfs.NewShare(1, faultfs.ShareOptions{Calm: true})
		patient := func(p queue.Part) func(*queue.Options, *queue.Deps) {
			return func(o *queue.Options, d *queue.Deps) { o.Retain, d.Part = 1000*time.Hour, p }
		}
		gateway, stopGateway := begin(t, share.Host("gateway"), patient(queue.Writes))
		defer stopGateway()
		appendOne(t, gateway, "a")
		slow := share.Host("slow")
		a, stopA := begin(t, slow, patient(queue.Drains))
		defer stopA()
		lost := claim(t, a)
		msgs := drain(t, lost, 1)
		if err := lost.Divert(t.Context(), msgs[0].Topic, msgs); err != nil {
			t.Fatal(err)
		}
		slow.Pause()
		b, stopB := begin(t, share.Host("other"), patient(queue.Drains))
		c := claim(t, b)
		if held := c.Held(); len(held) > 0 {
			t.Fatalf("held by a side lane that no progress names: %q", held)
		}
		if err := c.Save(t.Context(), standing(drain(t, c, 1))); err != nil {
			t.Fatal(err)
		}
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		stopB()
		slow.Resume()
		if err := lost.Save(t.Context(), standing(msgs)); !errors.Is(err, message.ErrClaimLost) {
			t.Fatalf("save of a claim that was lost: %v", err)
		}
		if err := lost.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		appendOne(t, gateway, "b")
		var again *queue.Claim
		until(t, "the chain is had again", func() bool {
			c, err := a.Claim(t.Context())
			again = c
			return err == nil
		})
		if held := again.Held(); len(held) > 0 {
			t.Errorf("held, and handed out again: %q", values(heldAll(t, again, held[0])))
		}
		if got := values(drain(t, again, 1)); !slices.Equal(got, []string{"b"}) {
			t.Errorf("of the chain itself: %q", got)
		}
	})
}
