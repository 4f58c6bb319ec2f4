package queue_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// heldAll reads what stands in a topic's side lanes.
func heldAll(t *testing.T, c *queue.Claim, topic string) (all []message.Stored) {
	t.Helper()
	for {
		msgs, err := c.NextHeld(t.Context(), topic, 2)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, msgs...)
	}
}

// claimChain claims the chain with an id, giving others up.
func claimChain(t *testing.T, q *queue.Queue, id string) *queue.Claim {
	t.Helper()
	for range 100 {
		c := claim(t, q)
		if c.ID() == id {
			return c
		}
		defer c.Release(context.Background())
	}
	t.Fatal("the chain is not offered")
	return nil
}

// standing is the progress that settles all of msgs where they stand.
func standing(msgs []message.Stored) (p message.Progress) {
	next := map[string]uint64{}
	for i := range msgs {
		at := msgs[i].Stands()
		next[at.Lane] = max(next[at.Lane], at.Seq+1)
	}
	for lane, n := range next {
		p.Lanes = append(p.Lanes, message.LaneProgress{Lane: lane, Next: n})
	}
	return p
}

// nothingComesAgain releases a claim of which all is settled: none of it is handed
// out again, and in the end no lane is left but the process's own.
func nothingComesAgain(t *testing.T, q *queue.Queue, disk *faultfs.FS, c *queue.Claim) {
	t.Helper()
	if err := c.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if chains, err := drainChains(q, true); err != nil || len(slices.Concat(chains...)) > 0 {
		t.Fatalf("handed out again: %v, %v", chains, err)
	}
	wait(time.Hour)
	if left := names(t, disk, "queue/lanes"); len(left) != 1 {
		t.Errorf("lanes left: %d", len(left))
	}
}

// TestSideLanes: messages of a held topic are moved out of their chain, survive
// the holder, keep their places, and come again in order from the next claim.
func TestSideLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q, stop := begin(t, disk, nil)
		c, msgs := appendAndRead(t, q, 6)
		topic := msgs[0].Topic
		if held := c.Held(); len(held) != 0 {
			t.Errorf("held before anything was moved: %q", held)
		}
		if err := c.Divert(t.Context(), topic, msgs[:3]); err != nil {
			t.Fatal(err)
		}
		if err := c.Divert(t.Context(), topic, msgs[:4]); err != nil { // three of them again
			t.Fatal(err)
		}
		if err := c.Save(t.Context(), standing(msgs[:4])); err != nil {
			t.Fatal(err)
		}
		first := heldAll(t, c, topic)
		if got := values(first); !slices.Equal(got, []string{"0", "1", "2", "3"}) {
			t.Fatalf("moved, and read back: %q", got)
		}
		for i := range first {
			if first[i].Place != msgs[i].Place || first[i].Stands().Lane == msgs[i].Lane {
				t.Errorf("message %d: place %v, stands at %v, was at %v", i, first[i].Place, first[i].Stands(), msgs[i].Place)
			}
		}
		if err := c.Save(t.Context(), standing(first[:1])); err != nil {
			t.Fatal(err)
		}
		// Moved and never saved: its successor finds it in the chain, too, and
		// does not move it twice.
		if err := c.Divert(t.Context(), topic, msgs[4:5]); err != nil {
			t.Fatal(err)
		}
		id := c.ID()
		disk = powerCut(disk, stop)
		second := started(t, disk, nil)
		c = claimChain(t, second, id)
		if held := c.Held(); !slices.Equal(held, []string{topic}) {
			t.Fatalf("held after a crash: %q", held)
		}
		rest := drain(t, c, 2)
		if got := values(rest); !slices.Equal(got, []string{"4", "5"}) {
			t.Fatalf("of the chain itself: %q", got)
		}
		if err := c.Divert(t.Context(), topic, rest); err != nil {
			t.Fatal(err)
		}
		again := heldAll(t, c, topic)
		if got := values(again); !slices.Equal(got, []string{"1", "2", "3", "4", "5"}) {
			t.Fatalf("of the side lanes after a crash: %q", got)
		}
		if err := c.Save(t.Context(), standing(append(again, rest...))); err != nil {
			t.Fatal(err)
		}
		if held := c.Held(); len(held) != 0 && len(heldAll(t, c, topic)) > 0 {
			t.Errorf("all was settled, and held: %q", held)
		}
		nothingComesAgain(t, second, disk, c)
	})
}

// TestSideLaneThatNobodySaved: a holder that died before it saved has moved
// nothing: all of it is still in the chain, and is not sent from two places.
func TestSideLaneThatNobodySaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q, stop := begin(t, disk, nil)
		c, msgs := appendAndRead(t, q, 3)
		if err := c.Divert(t.Context(), msgs[0].Topic, msgs); err != nil {
			t.Fatal(err)
		}
		id := c.ID()
		disk = powerCut(disk, stop)
		second := started(t, disk, nil)
		c = claimChain(t, second, id)
		if held := c.Held(); len(held) > 0 {
			t.Errorf("held by a side lane that no progress names: %q", held)
		}
		all := drain(t, c, 3)
		if err := c.Save(t.Context(), standing(all)); err != nil {
			t.Fatal(err)
		}
		nothingComesAgain(t, second, disk, c)
	})
}

// TestBury: dead letters are found again with their reasons after a crash, and
// their lane is not removed before they are marked.
func TestBury(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q, stop := begin(t, disk, nil)
		_ = l.append(t.Context(), q, "good", "bad")
		c := claim(t, q)
		msgs := drain(t, c, 2)
		bad := msgs[1]
		bad.Reason = "too large for the hub"
		if err := c.Bury(t.Context(), []message.Stored{bad}); err != nil {
			t.Fatal(err)
		}
		if err := c.Save(t.Context(), upTo(msgs)); err != nil {
			t.Fatal(err)
		}
		r := message.Receipt{ID: bad.ID, Place: bad.Place}
		if o, err := q.Locate(t.Context(), r); err != nil || o.State != message.StateDead || o.Reason != bad.Reason {
			t.Errorf("the dead letter is shown as %+v, %v", o, err)
		}
		disk = powerCut(disk, stop)
		second := started(t, disk, nil)
		wait(time.Hour)
		if o, err := second.Locate(t.Context(), r); err == nil && o.State != message.StateDead {
			t.Errorf("after a crash the dead letter is shown as %+v", o)
		}
		letters, err := queue.OpenLetters("queue", disk)
		if err != nil {
			t.Fatal(err)
		}
		var open []string
		err = letters.Each(t.Context(), queue.LetterFilter{}, func(l queue.Letter) error {
			open = append(open, string(l.Value)+": "+l.Reason)
			return nil
		})
		if err != nil || len(open) != 1 || !strings.HasSuffix(open[0], ": too large for the hub") {
			t.Fatalf("dead letters: %q, %v", open, err)
		}
		if _, err := drainChains(second, true); err != nil { // or the chain would keep its lane
			t.Fatal(err)
		}
		if err := letters.Discard(t.Context(), queue.LetterFilter{}, "test", func(queue.Letter) {}); err != nil {
			t.Fatal(err)
		}
		wait(time.Hour)
		if left := names(t, disk, "queue/lanes"); len(left) != 1 {
			t.Errorf("lanes left after the letter was discarded: %d", len(left))
		}
	})
}
