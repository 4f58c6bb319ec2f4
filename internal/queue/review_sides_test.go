package queue_test

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
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
	l := newLedger()
	for i := range n {
		_ = l.append(t.Context(), q, fmt.Sprint(i))
	}
	c = claim(t, q)
	msgs = drain(t, c, n)
	if err := c.Divert(t.Context(), msgs[0].Topic, msgs); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(t.Context(), standing(msgs)); err != nil {
		t.Fatal(err)
	}
	return c, msgs
}

// TestSettledSideLaneIsNotClaimedAgainAndAgain: a chain of which all is settled,
// side lanes included, whose holder was killed and whose next one gave it up
// before it had looked into the side lanes, is claimed once more and left alone.
func TestSettledSideLaneIsNotClaimedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q, err := queue.Open(faultOptions(), onDisk(disk, silent))
		if err != nil {
			t.Fatal(err)
		}
		stop := run(q)
		c, msgs := diverted(t, q, 3)
		if err := c.Save(t.Context(), standing(heldAll(t, c, msgs[0].Topic))); err != nil {
			t.Fatal(err)
		}
		disk.Crash()
		stop()
		disk = disk.Reboot()
		second := started(t, disk, func(o *queue.Options, _ *queue.Deps) { o.Retain = 1000 * time.Hour })
		if err := claimChain(t, second, c.ID()).Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait(10 * time.Minute)
		var claims []string
		for _, name := range names(t, disk, path.Join("queue/claims", c.ID())) {
			if strings.HasPrefix(name, "claim.") {
				claims = append(claims, name)
			}
		}
		if len(claims) > 5 {
			t.Errorf("%d claims within ten minutes", len(claims))
		}
	})
}

// TestSideLaneOfAnUnknownChain: a process that cannot read who wrote the lanes of
// a chain does not take the chain's side lanes for ones that never counted.
func TestSideLaneOfAnUnknownChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q, err := queue.Open(faultOptions(), onDisk(disk, silent))
		if err != nil {
			t.Fatal(err)
		}
		stop := run(q)
		c, msgs := diverted(t, q, 3)
		topic, own := msgs[0].Topic, msgs[0].Lane
		disk.Crash()
		stop()
		disk = disk.Reboot()
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

// TestHeartbeatComesBackAfterRetention: a process that has removed a chain, and
// then could not renew its heartbeat once, begins another.
func TestHeartbeatComesBackAfterRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		(&life{name: "old"}).run(disk, l)
		q := started(t, disk, func(_ *queue.Options, d *queue.Deps) { d.Part = queue.Drains })
		if _, err := drainChains(q, true); err != nil {
			t.Fatal(err)
		}
		wait(time.Hour)
		if left := names(t, disk, "queue/lanes"); len(left) != 0 {
			t.Fatalf("lanes left: %d", len(left))
		}
		disk.When(faultfs.Match{Kind: faultfs.OpSync, Name: "queue/processes/*/heartbeat"}, faultfs.FailBefore(syscall.EIO))
		wait(time.Hour)
		if err := q.Overdue(); err != nil {
			t.Errorf("an hour after one failed renewal: %v", err)
		}
	})
}

// TestSideLaneThatWasNotSynced: what a successor reads at the end of a side lane
// and is not known to be on stable storage, it moves itself. Else its progress
// would pass a message that the next power cut takes.
func TestSideLaneThatWasNotSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q, err := queue.Open(faultOptions(), onDisk(disk, silent))
		if err != nil {
			t.Fatal(err)
		}
		stop := run(q)
		for i := range 3 {
			_ = l.append(t.Context(), q, fmt.Sprint(i))
		}
		c := claim(t, q)
		msgs := drain(t, c, 3)
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
		second, err := queue.Open(faultOptions(), onDisk(disk, silent))
		if err != nil {
			t.Fatal(err)
		}
		stop = run(second)
		c = claimChain(t, second, c.ID())
		rest := drain(t, c, 2)
		if err := c.Divert(t.Context(), topic, rest); err != nil {
			t.Fatal(err)
		}
		if err := c.Save(t.Context(), standing(rest)); err != nil {
			t.Fatal(err)
		}
		disk.Crash()
		stop()
		disk = disk.Reboot()
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
		begin := func(host *faultfs.Host, part queue.Part) (*queue.Queue, func()) {
			d := onDisk(host, silent)
			d.Part = part
			o := faultOptions()
			o.Retain = 1000 * time.Hour
			q, err := queue.Open(o, d)
			if err != nil {
				t.Fatal(err)
			}
			return q, run(q)
		}
		gateway, stopGateway := begin(share.Host("gateway"), queue.Writes)
		defer stopGateway()
		appendOne(t, gateway, "a")
		slow := share.Host("slow")
		a, stopA := begin(slow, queue.Drains)
		defer stopA()
		lost := claim(t, a)
		msgs := drain(t, lost, 1)
		if err := lost.Divert(t.Context(), msgs[0].Topic, msgs); err != nil {
			t.Fatal(err)
		}
		slow.Pause()
		b, stopB := begin(share.Host("other"), queue.Drains)
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
