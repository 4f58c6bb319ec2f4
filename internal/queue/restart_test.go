package queue_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
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
			q, err := queue.Open(faultOptions(), onDisk(disk, silent))
			if err != nil {
				t.Fatal(err)
			}
			stop := run(q)
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
				disk.Crash()
				stop()
				disk = disk.Restart()
			case 2:
				disk.Crash()
				stop()
				disk = disk.Reboot()
			}
		}
		q, err := queue.Open(faultOptions(), onDisk(disk, silent))
		if err != nil {
			t.Fatal(err)
		}
		defer run(q)()
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
