package queue_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/queue"
)

// sideScript is one process that does all there is to do with side lanes. It goes
// on after errors as a forwarder would, and ends by being closed.
func sideScript(disk *faultfs.FS, b *sideBook) error {
	q, err := open(disk)
	if err != nil {
		return nil
	}
	defer run(q)()
	appendBoth := func(n int) {
		for i := range n {
			_ = b.append(q, 1, []string{"a", "b"}[i%2], 20)
		}
	}
	appendBoth(8)
	c := (&life{}).claim(q)
	if c == nil {
		return nil
	}
	h := newSideHolder(c, b)
	if err := sideSteps(h, appendBoth); err != nil {
		return err
	}
	_ = c.Release(context.Background())
	if c = (&life{}).claim(q); c == nil {
		return nil
	}
	h = newSideHolder(c, b)
	_, err = h.nextHeld("a", 1)
	_ = c.Release(context.Background())
	return err
}

// sideSteps moves and buries some of topic a, while b goes on.
func sideSteps(h *sideHolder, more func(n int)) error {
	steps := []func() error{
		func() error { return h.some(8) },
		func() error { return h.send("b", 2) },
		func() error { _ = h.bury("a"); return nil },
		func() error { return h.moves("a", 2) },
		func() error { _ = h.save(); return nil },
		func() error { _, err := h.nextHeld("a", 1); return err },
		func() error { return h.send("a", 1) },
		func() error { _ = h.save(); return nil },
		func() error { more(4); return h.some(8) },
		func() error { return h.moves("a", 2) }, // and not saved before the next
		func() error { return h.moves("a", 1) },
		func() error { _, err := h.nextHeld("a", 2); return err },
		func() error { _ = h.bury("a"); return nil },
		func() error { return h.send("b", 1) },
		func() error { _ = h.save(); return nil },
		func() error { _, err := h.nextHeld("a", 1); return err },
		func() error { return h.send("a", 1) },
		func() error { return h.moves("b", 2) }, // never saved
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// some reads up to n messages of the chain, going on after errors.
func (h *sideHolder) some(n int) error {
	for failures := 0; n > 0 && failures < 3; {
		read, err := h.next(n)
		if err != nil {
			return err
		}
		if n -= read; read == 0 {
			failures++
		}
	}
	return nil
}

// moves moves messages, again where that fails.
func (h *sideHolder) moves(topic string, n int) error {
	if h.divert(topic, n) != nil {
		_ = h.divert(topic, n)
	}
	return nil
}

// trySides runs the script once with the fault at the k-th operation, if there is
// one, and audits every outcome. It returns how many operations the script made.
func trySides(t *testing.T, seed uint64, k int, fault *faultfs.Fault) (ops int, failures []string) {
	synctest.Test(t, func(t *testing.T) {
		disk, b := faultfs.New(seed), newSideBook()
		if fault != nil {
			disk.At(k, *fault)
		}
		err := sideScript(disk, b)
		ops = disk.Ops()
		what := "no fault"
		if trace := disk.Trace(); fault != nil && k < len(trace) {
			what = trace[k].String()
		}
		if err != nil {
			failures = append(failures, fmt.Sprintf("seed %d, %s at %d: %v", seed, what, k, err))
			return
		}
		for outcome, left := range outcomes(disk, 1) {
			if err := afterSides(left, b); err != nil {
				failures = append(failures, fmt.Sprintf("seed %d, %s at %d, then %s: %v", seed, what, k, outcome, err))
			}
		}
	})
	return ops, failures
}

// afterSides has another process move what is left of a topic, ends it with a
// power cut, and audits what then is left; and the same without that process.
func afterSides(left *faultfs.FS, b *sideBook) error {
	topics := []string{"a", "b"}
	if err := b.clone().audit(left.Restart(), faultOptions(), topics); err != nil {
		return err
	}
	b, left = b.clone(), left.Restart()
	if err := movesOn(left, b); err != nil {
		return fmt.Errorf("second process: %w", err)
	}
	if err := b.audit(left.RebootBare(), faultOptions(), topics); err != nil {
		return fmt.Errorf("after the second process: %w", err)
	}
	return nil
}

// movesOn is a process that takes over, moves all it finds of one topic, and has
// saved that when its machine stops.
func movesOn(disk *faultfs.FS, b *sideBook) error {
	q, err := queue.Open(faultOptions(), onDisk(disk, silent))
	if err != nil {
		return err
	}
	defer run(q)()
	for range 2 { // its own and the one that is left
		c := (&life{}).claim(q)
		if c == nil {
			break
		}
		h := newSideHolder(c, b)
		for idle := 0; idle < 15 && !h.over; {
			n, err := h.next(4)
			if err != nil {
				return err
			}
			if n == 0 {
				idle++
			}
			if err := h.divert("a", len(h.waiting["a"])); err != nil {
				return err
			}
		}
		if err := h.save(); err != nil {
			return err
		}
	}
	disk.Crash()
	return nil
}

// TestEveryFaultAside runs the script with one fault each time, and holds what
// comes out of chain, side lanes and dead lanes against what was answered. In
// each run of the tests some of the operations are tried; by TestProofEveryFaultAside
// each.
func TestEveryFaultAside(t *testing.T) { everyFaultAside(t, 250) }

func everyFaultAside(t *testing.T, step int) {
	seed := uint64(time.Now().UnixNano() % 1e6)
	ops, failures := trySides(t, seed, 0, nil)
	if ops == 0 {
		t.Fatal("the script made no operation")
	}
	tried, n := 0, int(seed%uint64(step))
	for k := 0; k < ops && len(failures) < 5; k++ {
		for _, fault := range faults() {
			if n++; n%step == 0 {
				tried++
				_, failed := trySides(t, seed, k, &fault)
				failures = append(failures, failed...)
			}
		}
	}
	t.Logf("%d operations, %d faults tried, seed %d", ops, tried, seed)
	for _, f := range failures {
		t.Error(f)
	}
}

// TestSideThatAnotherHolderNeverSaw: a process moved messages and gave its claim
// up without a save. Who holds the chain next knows nothing of that side lane, and
// removes it, or moves the messages himself. The first process, claiming once
// more, does not go by what it remembers.
func TestSideThatAnotherHolderNeverSaw(t *testing.T) {
	for name, settles := range map[string]bool{"removed": false, "settled meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { neverSaw(t, settles) })
		})
	}
}

func neverSaw(t *testing.T, settles bool) {
	disk, l := faultfs.New(1), newLedger()
	first := started(t, disk, func(o *queue.Options, _ *queue.Deps) { o.Retain = 1000 * time.Hour })
	for i := range 3 {
		_ = l.append(t.Context(), first, fmt.Sprint(i))
	}
	c := claim(t, first)
	msgs := drain(t, c, 3)
	if err := c.Divert(t.Context(), msgs[0].Topic, msgs); err != nil {
		t.Fatal(err)
	}
	id := c.ID()
	if err := c.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := started(t, disk, func(_ *queue.Options, d *queue.Deps) { d.Part = queue.Drains })
	c = claimChain(t, second, id)
	if got := values(drain(t, c, 3)); len(got) != 3 {
		t.Fatalf("of the chain: %q", got)
	}
	if settles {
		if err := c.Save(t.Context(), standing(msgs)); err != nil {
			t.Fatal(err)
		}
	} else {
		wait(10 * time.Minute) // retention
	}
	if err := c.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = l.append(t.Context(), first, "3")
	c = claimChain(t, first, id)
	if settles {
		if again := heldAll(t, c, msgs[0].Topic); len(again) > 0 {
			t.Errorf("settled by another holder, and handed out again: %q", values(again))
		}
		return
	}
	msgs = drain(t, c, 4)
	if err := c.Divert(t.Context(), msgs[0].Topic, msgs); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(t.Context(), standing(msgs)); err != nil {
		t.Fatal(err)
	}
	if got := values(heldAll(t, c, msgs[0].Topic)); fmt.Sprint(got) != "[0 1 2 3]" {
		t.Errorf("moved and saved, and of the side lanes come %q", got)
	}
}
