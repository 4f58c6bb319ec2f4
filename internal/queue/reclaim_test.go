package queue_test

import (
	"context"
	"path"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/queue"
)

// claimsOf counts the claims of a chain.
func claimsOf(t *testing.T, disk *faultfs.FS, chain string) (n int) {
	t.Helper()
	for _, name := range names(t, disk, path.Join("queue/claims", chain)) {
		if strings.HasPrefix(name, "claim.") {
			n++
		}
	}
	return n
}

// TestSettledSideLaneIsNotClaimedAgainAndAgain: a chain of which all is settled,
// side lanes included, whose holder was killed and whose next one gave it up
// before it had looked into the side lanes, is claimed once more and left alone.
func TestSettledSideLaneIsNotClaimedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q, stop := begin(t, disk, nil)
		c, msgs := diverted(t, q, 3)
		if err := c.Save(t.Context(), standing(heldAll(t, c, msgs[0].Topic))); err != nil {
			t.Fatal(err)
		}
		disk = powerCut(disk, stop)
		second := started(t, disk, func(o *queue.Options, _ *queue.Deps) { o.Retain = 1000 * time.Hour })
		if err := claimChain(t, second, c.ID()).Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait(10 * time.Minute)
		if n := claimsOf(t, disk, c.ID()); n > 5 {
			t.Errorf("%d claims within ten minutes", n)
		}
	})
}

// TestLaneThatCannotBeLookedAt: a chain of which all is settled, but for a lane
// that progress names and that cannot be looked at, is not claimed again and
// again, at each time with files that stay.
func TestLaneThatCannotBeLookedAt(t *testing.T) {
	for _, part := range []string{"damaged", "unreadable"} {
		t.Run(part, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, l := faultfs.New(1), newLedger()
				q, stop := begin(t, disk, nil)
				_ = l.append(t.Context(), q, "a")
				disk.When(syncs(segments), faultfs.FailAfter(syscall.EIO))
				_ = l.append(t.Context(), q, "unknown")
				_ = l.append(t.Context(), q, "b")
				if _, err := drainChain(claim(t, q), true); err != nil {
					t.Fatal(err)
				}
				stop()
				file := path.Join("queue/lanes", l.places["a"].Lane, "lane")
				if part == "damaged" {
					f, err := disk.OpenWrite(file)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := f.WriteAt([]byte("x"), 0); err != nil {
						t.Fatal(err)
					}
				} else {
					disk.When(faultfs.Match{Kind: faultfs.OpOpen, Always: true, Name: file}, faultfs.FailBefore(syscall.EIO))
				}
				second := started(t, disk, func(o *queue.Options, d *queue.Deps) {
					o.Retain, d.Part = 1000*time.Hour, queue.Drains
				})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				for {
					c, err := second.Claim(ctx)
					if err != nil {
						break
					}
					if _, err := drainChain(c, true); err != nil {
						t.Fatal(err)
					}
				}
				for _, chain := range names(t, disk, "queue/claims") {
					if n := claimsOf(t, disk, chain); n > 40 {
						t.Errorf("%d claims of chain %s within ten minutes", n, chain)
					}
				}
			})
		})
	}
}
