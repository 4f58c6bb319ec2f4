package forward_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/forward"
)

// TestLaneBehindTheEnd: a chain that seemed over, because the next lane of its
// living gateway was not in the list yet, and that a held topic keeps claimed: what
// comes in that lane is sent all the same, and does not wait for the topic.
func TestLaneBehindTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bad atomic.Bool
		bad.Store(true)
		hub := refusing("bad", bad.Load)
		st := newStore("a")
		_, stop := run(t, forward.DefaultOptions(), forward.Deps{Source: sourceOf(st), Sink: hub})
		defer stop()
		st.append(ofTopics(msgs(laneA, 1, 4), "bad", "good")...)
		st.end()
		<-time.After(time.Minute)
		st.change(func() { st.ended = false })
		st.append(ofTopics(msgs(laneA, 5, 8), "good")...)
		<-time.After(time.Minute)
		if got := len(hub.only("good")); got != 6 {
			t.Errorf("%d of 6 messages are in the hub", got)
		}
		bad.Store(false)
		st.end()
		<-time.After(time.Hour)
		if !st.holds((*store).settled) {
			t.Error("not all of it is settled")
		}
	})
}
