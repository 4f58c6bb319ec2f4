package forward

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/message"
)

const boardLane = "01HZZZZZZZZZZZZZZZZZZZZZZZ"

func forwardedAt(p int32, offset int64) message.Outcome {
	return message.Outcome{State: message.StateForwarded, Located: true, Partition: p, Offset: offset}
}

var queued = message.Outcome{State: message.StateQueued}

func TestBoardKeepsRecentOutcomes(t *testing.T) {
	b := newBoard(1024)
	if _, ok := b.Outcome(message.Place{Lane: boardLane, Seq: 1}); ok {
		t.Error("an unknown lane has an outcome")
	}
	l := b.hold(boardLane)
	l.begin(11)
	for seq := uint64(11); seq <= 5000; seq++ {
		if seq == 3000 {
			l.skip(3000, 3010)
		}
		if seq >= 3000 && seq < 3010 {
			continue
		}
		l.record(outcome{seq: seq, offset: int64(seq), partition: int32(seq % 3)}, seq+1)
	}
	rows := []struct {
		seq  uint64
		want message.Outcome
		ok   bool
	}{
		{5, queued, false},    // before draining began
		{3005, queued, false}, // set aside by the queue
		{20, message.Outcome{State: message.StateForwarded}, true}, // too old to say where
		{4999, forwardedAt(1, 4999), true},
		{5001, queued, false}, // not yet
	}
	for _, row := range rows {
		if o, ok := b.Outcome(message.Place{Lane: boardLane, Seq: row.seq}); ok != row.ok || ok && o != row.want {
			t.Errorf("seq %d: %+v, %v; want %+v, %v", row.seq, o, ok, row.want, row.ok)
		}
	}
	if n := len(l.ring); n > 1024 {
		t.Errorf("the ring has grown to %d", n)
	}
}

// Await misses no outcome, whether it comes before, while, or after it looks.
func TestBoardAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 1))
		b := newBoard(1024)
		l := b.hold(boardLane)
		l.begin(1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			rng := rand.New(rand.NewPCG(1, 2))
			for seq := uint64(1); seq <= 900; seq++ {
				<-time.After(time.Duration(rng.IntN(1000)) * time.Microsecond)
				l.record(outcome{seq: seq, offset: int64(seq)}, seq+1)
			}
		}()
		for range 200 {
			first, n := uint64(rng.IntN(880)+1), rng.IntN(20)+1
			got := b.Await(t.Context(), message.Place{Lane: boardLane, Seq: first}, n)
			for i, o := range got {
				if want := forwardedAt(0, int64(first)+int64(i)); o != want {
					t.Fatalf("seq %d: %+v", first+uint64(i), o)
				}
			}
		}
		<-done
		if len(l.waiting) != 0 {
			t.Errorf("%d waiters are left", len(l.waiting))
		}
	})
}

func TestBoardAwaitGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(1024)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		result := make(chan []message.Outcome)
		go func() { result <- b.Await(ctx, message.Place{Lane: boardLane, Seq: 10}, 3) }()
		synctest.Wait()
		l := b.hold(boardLane) // draining of the lane begins after the wait did
		l.begin(1)
		l.record(outcome{seq: 11, offset: 4, partition: 2}, 1)
		began := time.Now()
		got := <-result
		if time.Since(began) != 5*time.Second {
			t.Errorf("waited %v", time.Since(began))
		}
		if got[0] != queued || got[1] != forwardedAt(2, 4) || got[2] != queued {
			t.Errorf("got %+v", got)
		}
		if len(l.waiting) != 0 {
			t.Errorf("%d waiters are left", len(l.waiting))
		}
	})
}

// What will never be known here is answered at once.
func TestBoardAwaitOfTheUnknowable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(1024)
		l := b.hold(boardLane)
		result := make(chan []message.Outcome, 2)
		await := func(seq uint64) {
			go func() { result <- b.Await(t.Context(), message.Place{Lane: boardLane, Seq: seq}, 1) }()
			synctest.Wait()
		}
		await(3)
		l.begin(5) // 3 was settled, or set aside, under an earlier holder
		if got := <-result; got[0] != queued {
			t.Errorf("below the beginning: %+v", got)
		}
		await(7)
		l.skip(6, 8)
		if got := <-result; got[0] != queued {
			t.Errorf("in a gap: %+v", got)
		}
	})
}

func TestBoardForgetsLanes(t *testing.T) {
	b := newBoard(1024)
	for i := range 100 {
		l := b.hold(string(rune('A'+i%26)) + string(rune('A'+i/26)))
		l.record(outcome{seq: 1}, 2)
		b.drop(l)
	}
	if n := len(b.lanes); n > boardLanes || n != len(b.order) {
		t.Errorf("%d lanes are kept, %d in order", n, len(b.order))
	}
}

func TestBoardInRuins(t *testing.T) {
	b := newBoard(1024)
	l := b.hold(boardLane)
	l.begin(1)
	seq := uint64(1)
	for range maxGaps + 5 {
		l.skip(seq, seq+1)
		l.record(outcome{seq: seq + 1, offset: -1}, seq+2)
		seq += 2
	}
	if len(l.gaps) > maxGaps {
		t.Errorf("%d gaps", len(l.gaps))
	}
	if o, ok := b.Outcome(message.Place{Lane: boardLane, Seq: 1}); ok {
		t.Errorf("a message that was set aside is %+v", o)
	}
}
