package forward

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/message"
)

func testFlight(t *testing.T, o Options) (*Forwarder, *flight) {
	t.Helper()
	f := &Forwarder{opts: o, board: newBoard(1024), budget: newBudget(o)}
	m, err := newMetrics(nil, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.metrics = m
	return f, newFlight(f)
}

// Chains share the limits equally, one always has room for one message, and what
// was taken is all given back.
func TestBudget(t *testing.T) {
	o := DefaultOptions()
	o.MaxInFlight, o.MaxInFlightBytes = 100, 1<<20
	b := newBudget(o)
	fill := func(u *usage, size int64) (n int) {
		for b.take(u, size, false) {
			n++
		}
		return n
	}
	var first, second, third usage
	if n := fill(&first, 1); n != 100 {
		t.Errorf("one chain alone has %d of 100", n)
	}
	if n := fill(&second, 1); n != 1 {
		t.Errorf("a second chain has %d while the first has all, want 1", n)
	}
	b.give(&first, 60, 60)
	if b.take(&first, 1, false); first.slots > 50 {
		t.Errorf("the first took more than its half: %d", first.slots)
	}
	if fill(&second, 1); second.slots != 50 {
		t.Errorf("the second has %d, want its half", second.slots)
	}
	if n := fill(&third, 10<<20); n != 1 {
		t.Errorf("a third has room for %d messages larger than the limit, want 1", n)
	}
	for _, u := range []*usage{&first, &second, &third} {
		b.fed(u)
		b.give(u, u.slots, u.bytes)
	}
	if b.used.Load() != 0 || b.bytes.Load() != 0 || b.active.Load() != 0 || b.starved.Load() != 0 {
		t.Errorf("left over: %d slots, %d bytes, %d chains, %d starved", b.used.Load(), b.bytes.Load(), b.active.Load(), b.starved.Load())
	}
}

// Who waits for what others have is woken when they give it back.
func TestBudgetWakesTheStarved(t *testing.T) {
	o := DefaultOptions()
	o.MaxInFlight = 10
	f, a := testFlight(t, o)
	b := newFlight(f)
	for f.budget.take(&a.use, 1, false) {
	}
	f.budget.take(&b.use, 1, false)
	if f.budget.take(&b.use, 1, false) {
		t.Fatal("more than there is")
	}
	if !a.squeezed.Load() || len(a.wake) != 1 {
		t.Error("the other is not told to give way")
	}
	select {
	case <-b.wake:
	default:
	}
	f.budget.give(&a.use, 5, 5)
	select {
	case <-b.wake:
	default:
		t.Error("nobody told it of the room")
	}
	a.release()
	b.release()
	if f.budget.used.Load() != 0 || len(f.budget.flights) != 0 {
		t.Errorf("left over: %d", f.budget.used.Load())
	}
}

func TestRing(t *testing.T) {
	var r ring
	var p slabPool
	next := uint64(0)
	for round := range 50 {
		for range 37 * round {
			r.push(&p).offset = int64(r.tail - 1)
		}
		for i := r.head; i < r.tail; i++ {
			if got := r.at(i).offset; got != int64(i) {
				t.Fatalf("slot %d holds %d", i, got)
			}
		}
		for r.len() > round {
			if r.head != next {
				t.Fatalf("head %d, want %d", r.head, next)
			}
			next++
			r.pop(&p)
		}
		if n := len(r.slabs); n > r.len()/slabSize+2 {
			t.Fatalf("%d slabs for %d slots", n, r.len())
		}
	}
}

// A shut gate lets nobody in, is shut only when nobody is in, and one at a time.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := (&gates{}).of("topic")
		if !g.enter() {
			t.Fatal("an open gate")
		}
		shut := make(chan int, 2)
		for i := range 2 {
			go func() {
				if g.close(t.Context()) == nil {
					shut <- i
				}
			}()
		}
		synctest.Wait()
		if len(shut) > 0 || g.enter() {
			t.Fatal("shut while somebody is in, or open while it is being shut")
		}
		g.leave()
		<-shut
		synctest.Wait()
		if len(shut) > 0 || g.enter() {
			t.Fatal("two have it for themselves, or it is not shut")
		}
		g.open()
		<-shut
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if g.await(ctx) == nil {
			t.Error("await does not wait")
		}
		g.open()
		if g.await(t.Context()) != nil || !g.enter() {
			t.Error("not open again")
		}
	})
}

// What is moved aside is queued until it is forwarded or dead, also where the
// ring has forgotten it.
func TestBoardOfMovedAndDead(t *testing.T) {
	b := newBoard(1024)
	l := b.hold(boardLane)
	l.begin(1)
	waiting := make(chan []message.Outcome)
	go func() { waiting <- b.Await(context.Background(), message.Place{Lane: boardLane, Seq: 2}, 1) }()
	l.record(outcome{seq: 1, ending: moved}, 2)
	l.record(outcome{seq: 2, ending: moved}, 3)
	l.record(outcome{seq: 3, ending: buried, reason: "too large"}, 4)
	state := func(seq uint64) message.Outcome {
		o, ok := b.Outcome(message.Place{Lane: boardLane, Seq: seq})
		if !ok {
			return queued
		}
		return o
	}
	if o := state(1); o != queued {
		t.Errorf("moved: %+v", o)
	}
	if o := state(3); o.State != message.StateDead || o.Reason != "too large" {
		t.Errorf("dead: %+v", o)
	}
	b.tell(boardLane, outcome{seq: 2, offset: 7, partition: 1, ending: landed})
	if o := <-waiting; o[0] != forwardedAt(1, 7) || state(2) != o[0] {
		t.Errorf("forwarded from the side lane: %+v", o[0])
	}
	for seq := uint64(4); seq < 4000; seq++ {
		l.record(outcome{seq: seq, offset: -1}, seq+1)
	}
	if o := state(1); o != queued {
		t.Errorf("moved long ago: %+v", o)
	}
	if o := state(3); o != queued {
		t.Errorf("dead long ago: %+v; the queue knows", o)
	}
	if o := state(2); o.State != message.StateForwarded {
		t.Errorf("forwarded long ago: %+v", o)
	}
}
