package queue_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/queue"
)

// TestManyRestarts ends processes one after the other, by a close, a kill or a
// power cut, each with a little appended and a little forwarded: every message
// is forwarded once, and in the end nothing is left of any of them.
func TestManyRestarts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 6))
		disk, l := faultfs.New(seed), newLedger()
		forwarded := map[string]int{}
		forward := func(q *queue.Queue, most int) {
			c := claim(t, q)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			msgs, err := c.Next(ctx, most)
			if err == nil {
				err = l.save(ctx, c, upTo(msgs))
			}
			if err == nil {
				for _, v := range values(msgs) {
					forwarded[v]++
				}
			}
			_ = c.Release(t.Context())
		}
		const lives = 40
		for life := range lives {
			q, stop := begin(t, disk, nil)
			for i := range rng.IntN(6) {
				if err := l.append(t.Context(), q, fmt.Sprint(life, "/", i), fill(fmt.Sprint(life, "/", i, "b"), rng.IntN(30<<10))); err != nil {
					t.Fatal(err)
				}
			}
			wait(time.Duration(rng.IntN(40)) * time.Second)
			for range rng.IntN(4) {
				forward(q, 1+rng.IntN(5))
			}
			switch rng.IntN(3) {
			case 0:
				stop()
				disk = disk.Restart()
			case 1:
				disk = killed(disk, stop)
			case 2:
				disk = powerCut(disk, stop)
			}
		}
		q, stop := begin(t, disk, nil)
		defer stop()
		chains, err := drainChains(q, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.check(chains); err != nil {
			t.Fatal(err)
		}
		for _, v := range values(slices.Concat(chains...)) {
			forwarded[v]++
		}
		for v := range l.order {
			if forwarded[short(v)] != 1 {
				t.Errorf("%q was forwarded %d times", short(v), forwarded[short(v)])
			}
		}
		wait(5 * time.Minute)
		if left := names(t, disk, "queue/lanes"); len(left) != 1 {
			t.Errorf("lanes left: %d", len(left))
		}
		if left := names(t, disk, "queue/claims"); len(left) > 1 {
			t.Errorf("claims left: %q", left)
		}
	})
}

// TestUnsyncedProgressRemovesNothing kills a process in the sync of its progress,
// so that the next one reads what a power cut takes back: no segment may be
// removed on the strength of it.
func TestUnsyncedProgressRemovesNothing(t *testing.T) {
	for name, most := range map[string]int{"in part": 6, "whole": 8} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, l := faultfs.New(1), newLedger()
				q, stop := begin(t, disk, nil)
				for i := range 8 {
					_ = l.append(t.Context(), q, fill(fmt.Sprint(i), 25<<10))
				}
				c := claim(t, q)
				read := drain(t, c, most)
				disk.When(faultfs.Match{Kind: faultfs.OpSync, Name: "progress.*"}, faultfs.CrashBefore())
				_ = l.save(t.Context(), c, upTo(read))
				stop()
				disk = disk.Restart()
				disk.When(faultfs.Match{Kind: faultfs.OpCreate, Name: "claim.*", Always: true}, faultfs.FailBefore(syscall.ENOSPC))
				_, stop = begin(t, disk, nil)
				wait(10 * time.Minute)
				disk = barePowerCut(disk, stop)
				chains, err := drainAll(disk, faultOptions(), true)
				if err == nil {
					err = l.check(chains)
				}
				if err != nil {
					t.Error(err)
				}
				if got := len(slices.Concat(chains...)); got != 8 {
					t.Errorf("%d messages of 8: the progress was lost with the power", got)
				}
				if all := reports(t, disk, "queue"); len(all) > 0 {
					t.Errorf("reported %+v", all)
				}
			})
		})
	}
}
