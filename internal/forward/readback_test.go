package forward_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/forward"
	"postroad/internal/message"
)

// meanwhile is a hub that cannot be read back at takeover; when a topic's worker
// does so later, something happens between the question and the answer.
type meanwhile struct {
	*scripted
	calls atomic.Int32
	do    func()
}

func (h *meanwhile) ReadBack(ctx context.Context, from []message.Mark, found func(message.Place, message.Mark)) ([]message.Mark, error) {
	switch h.calls.Add(1) {
	case 1, 2:
		return nil, classed("hold")
	case 3:
		h.do()
	}
	return h.scripted.ReadBack(ctx, from, found)
}

// What is read of a topic while its worker reads it back, and was sent by the last
// holder, is not sent again.
func TestWhatIsReadDuringAReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := msgs(laneA, 1, 5)
		st := newStore("a")
		st.append(sent[0])
		st.progress = message.Progress{
			Lanes:      []message.LaneProgress{{Lane: laneA, Next: 1}},
			Marks:      []message.Mark{{Topic: sent[0].Topic, Offset: 0}},
			Partitions: map[string]int32{sent[0].Topic: 1},
		}
		hub := &meanwhile{
			scripted: &scripted{log: slices.Clone(sent), answer: func(*message.Stored, int) error { return nil }},
			do: func() {
				st.append(sent[1:]...)
				<-time.After(time.Second) // until they are read
			},
		}
		_, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: hub})
		defer stop()
		<-time.After(time.Minute)
		if n := hub.calls.Load(); n != 3 {
			t.Errorf("read back %d times, want 3", n)
		}
		if got := hub.seqs(); !slices.Equal(got, []uint64{1, 2, 3, 4, 5}) {
			t.Errorf("the hub holds %v", got)
		}
		if !st.holds((*store).settled) {
			t.Error("progress does not cover all of it")
		}
	})
}
