package queue

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
)

// replayed is what a replay hands out, each message as "seq value".
func replayed(t *testing.T, q *rawQueue, f ReplayFilter, asNew bool, each func(*message.Message)) (all []string, r Replayed) {
	t.Helper()
	r, err := q.inspect().Replay(t.Context(), f, asNew, func(msgs []message.Message) error {
		for i := range msgs {
			m := &msgs[i]
			seq := uint64(0)
			if m.Moved != nil {
				seq = m.Moved.Seq
			}
			all = append(all, fmt.Sprint(seq, " ", string(m.Value)))
			if each != nil {
				each(m)
			}
		}
		return nil
	})
	q.must(err)
	return all, r
}

func TestReplay(t *testing.T) {
	m := makeMixed(t, faultfs.New(1), "queue")
	q := m.rawQueue
	check := func(m *message.Message) {
		if !m.Replay || m.Moved == nil || m.ID.IsZero() || m.Reason != "" {
			t.Errorf("replayed as %+v", m)
		}
	}
	// Neither what is dead (3), nor what is held (4), nor what still waits.
	got, r := replayed(t, q, ReplayFilter{}, false, check)
	if want := []string{"1 hello", "2 on the road", "5 \xff\x00", "1 one"}; !slices.Equal(got, want) {
		t.Errorf("replayed %q, want %q", got, want)
	}
	if r.Messages != 4 || r.Topics["messages"] != 4 || r.Waiting != 0 || r.Oldest.IsZero() {
		t.Errorf("said %+v", r)
	}
	for _, tc := range []struct {
		f    ReplayFilter
		want int
	}{
		{ReplayFilter{Topic: "messages"}, 4},
		{ReplayFilter{Topic: "orders"}, 0},
		{ReplayFilter{Lane: m.second.id}, 1},
		{ReplayFilter{Since: rawMessage("a", "", "").Time}, 4},
		{ReplayFilter{Since: rawMessage("a", "", "").Time.Add(time.Microsecond)}, 0},
		{ReplayFilter{Until: rawMessage("a", "", "").Time}, 0},
	} {
		if got, _ := replayed(t, q, tc.f, false, nil); len(got) != tc.want {
			t.Errorf("%+v: %q, want %d", tc.f, got, tc.want)
		}
	}
	// Once the side lane is drained, its message is replayed from there.
	q.claim(m.chain, 2, "", message.LaneProgress{Lane: m.first.id, Next: 6}, message.LaneProgress{Lane: m.second.id, Next: 4},
		message.LaneProgress{Lane: m.side.id, Next: 2})
	got, _ = replayed(t, q, ReplayFilter{}, false, check)
	if want := []string{"1 hello", "2 on the road", "5 \xff\x00", "1 one", "2 two", "3 three", "4 fire"}; !slices.Equal(got, want) {
		t.Errorf("replayed %q, want %q", got, want)
	}
}

// New messages have ids, and nothing that names the old ones.
func TestReplayAsNew(t *testing.T) {
	m := makeMixed(t, faultfs.New(1), "queue")
	ids := map[message.ID]bool{rawMessage("messages", "truck-1", "hello").ID: true}
	got, _ := replayed(t, m.rawQueue, ReplayFilter{}, true, func(m *message.Message) {
		if ids[m.ID] || m.Replay || m.Moved != nil || m.Repeat || !m.KeyHash.IsZero() || time.Since(m.Time) > time.Hour {
			t.Errorf("replayed as new as %+v", m)
		}
		ids[m.ID] = true
	})
	if want := []string{"0 hello", "0 on the road", "0 \xff\x00", "0 one"}; !slices.Equal(got, want) {
		t.Errorf("replayed %q, want %q", got, want)
	}
}

// A replay that was cut short is made again without copies; one that went out is
// made again whole; and copies are replayed once their originals are gone.
func TestReplayAgain(t *testing.T) {
	q := newRawQueue(t, faultfs.New(1), "queue")
	first := q.lane(q.newID(), laneInfo{})
	for i := range 4 {
		first.add(rawMessage("messages", "k", fmt.Sprint("m", i)))
	}
	first.seal()
	q.claim(first.info.Owner.Process, 1, "", message.LaneProgress{Lane: first.id, Next: 5})

	copies := q.lane(q.newID(), laneInfo{})
	cut := errors.New("cut short")
	_, err := q.inspect().Replay(t.Context(), ReplayFilter{}, false, func(msgs []message.Message) error {
		copies.add(msgs[:3]...)
		return cut
	})
	if !errors.Is(err, cut) {
		t.Fatal(err)
	}
	copies.beat()
	got, r := replayed(t, q, ReplayFilter{}, false, nil)
	if !slices.Equal(got, []string{"4 m3"}) || r.Waiting != 3 {
		t.Errorf("made again: %q, %d waiting", got, r.Waiting)
	}
	q.claim(copies.info.Owner.Process, 1, "", message.LaneProgress{Lane: copies.id, Next: 4})
	all := []string{"1 m0", "2 m1", "3 m2", "4 m3"}
	if got, _ = replayed(t, q, ReplayFilter{}, false, nil); !slices.Equal(got, all) {
		t.Errorf("after the copies went out: %q, want %q", got, all)
	}
	for _, name := range []string{wal1, heartbeatFileName, laneFileName, fenceFileName} {
		q.must(q.fsys.Remove(q.at.laneFile(first.id, name)))
	}
	q.must(q.fsys.Remove(q.at.lane(first.id)))
	if got, _ = replayed(t, q, ReplayFilter{}, false, nil); !slices.Equal(got, all[:3]) {
		t.Errorf("with copies alone: %q, want %q", got, all[:3])
	}
}

const wal1 = "00000001.seg"

// A released letter is replayed under the place that named it first, once.
func TestReplayOfReleased(t *testing.T) {
	q := newRawQueue(t, faultfs.New(1), "queue")
	lanes := letters(q)
	d, err := OpenLetters(q.at.dir, q.fsys)
	q.must(err)
	to := q.lane(q.newID(), laneInfo{})
	q.must(d.Release(t.Context(), &laneStore{q, to}, LetterFilter{}, "test", func(Letter) {}))
	to.seal()
	q.claim(to.info.Owner.Process, 1, "", message.LaneProgress{Lane: to.id, Next: to.next})
	got, _ := replayed(t, q, ReplayFilter{}, false, nil)
	want := []string{"10 letter 0", "11 letter 1", "12 letter 2", "14 letter 4", "15 letter 5"}
	if !slices.Equal(got, want) {
		t.Errorf("replayed %q, want %q; %d dead lanes", got, want, len(lanes))
	}
	// One that came back as a dead letter is none that was forwarded.
	again := q.lane(q.newID(), laneInfo{Kind: kindDead})
	letter := rawMessage("orders", "k", "letter 0")
	letter.Moved, letter.Reason = &message.Place{Lane: storedIn(t, q), Seq: 10}, "INVALID_RECORD"
	again.add(letter)
	again.beat()
	if got, _ := replayed(t, q, ReplayFilter{}, false, nil); !slices.Equal(got, want[1:]) {
		t.Errorf("with one that is dead again: %q, want %q", got, want[1:])
	}
}

// storedIn is the lane that the letters were first stored in.
func storedIn(t *testing.T, q *rawQueue) (lane string) {
	t.Helper()
	d, err := OpenLetters(q.at.dir, q.fsys)
	q.must(err)
	q.must(d.Each(t.Context(), LetterFilter{Marked: true}, func(l Letter) error {
		lane = l.Place.Lane
		return nil
	}))
	return lane
}

func TestStamp(t *testing.T) {
	q := newRawQueue(t, faultfs.New(1), "queue")
	if name, err := q.inspect().Stamp(); name != "" || err != nil {
		t.Errorf("of an empty directory: %q, %v", name, err)
	}
	l := q.lane(q.newID(), laneInfo{})
	q.must(q.fsys.Mkdir(q.at.lane(q.newID())))
	if name, err := q.inspect().Stamp(); name != "onprem" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	q.must(durable.Overwrite(q.fsys, q.at.laneFile(l.id, laneFileName), []byte("?")))
	if name, err := q.inspect().Stamp(); name != "" || err != nil {
		t.Errorf("of a damaged lane: %q, %v", name, err)
	}
}
