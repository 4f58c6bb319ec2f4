package forward_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/forward"
	"postroad/internal/kafka"
	"postroad/internal/message"
)

var errGivenBack = errors.New("given back")

// given is a message that is under way.
type given struct {
	to   message.Mark
	back func()
}

// latent is a hub of some partitions in memory, with its log, whose answers a test
// delays or keeps back.
type latent struct {
	window int
	silent func(topic string, partition int32) bool // it is given a message and says nothing
	onEnds func()                                   // before it says where partitions end
	onRead func()                                   // before its log is read

	mu        sync.Mutex
	turn      uint64                            // guarded by mu, and all below
	logs      map[message.Mark][]message.Stored // by topic and partition
	produced  map[message.Mark][]time.Time
	waiting   map[int]given // what has no answer
	heard     func(error)
	n         int
	under     int // under way
	most      int
	resets    int
	withdrawn []message.Mark
	backs     int // read-backs
	away      error
}

func newLatent(window int) *latent {
	return &latent{window: window, logs: map[message.Mark][]message.Stored{}, produced: map[message.Mark][]time.Time{}, waiting: map[int]given{}, heard: func(error) {}}
}

func (h *latent) locked(do func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do()
}

// put has others send.
func (h *latent) put(partition int32, msgs ...message.Stored) {
	h.locked(func() {
		for i := range msgs {
			at := message.Mark{Topic: msgs[i].Topic, Partition: partition}
			h.logs[at] = append(h.logs[at], msgs[i])
			h.produced[at] = append(h.produced[at], time.Now())
		}
	})
}

// all is what a topic holds.
func (h *latent) all(topic string) (out []message.Stored) {
	h.locked(func() {
		for at, log := range h.logs {
			if at.Topic == topic {
				out = append(out, log...)
			}
		}
	})
	return out
}

func (h *latent) Watch(heard func(error)) { h.heard = heard }

func (h *latent) Probe(context.Context) error {
	var err error
	h.locked(func() { err = h.away })
	h.heard(err)
	return err
}
func (h *latent) Partitions(context.Context, string) (int32, error) { return 2, nil }
func (h *latent) Partition(m *message.Message, n int32) int32       { return kafka.Partition(m, n) }
func (h *latent) Window() int                                       { return h.window }
func (h *latent) end(of message.Mark) int64 {
	return int64(len(h.logs[message.Mark{Topic: of.Topic, Partition: of.Partition}]))
}

func (h *latent) Ends(_ context.Context, of []message.Mark) ([]message.Mark, error) {
	if h.onEnds != nil {
		h.onEnds()
	}
	out := slices.Clone(of)
	h.locked(func() {
		for i := range out {
			out[i].Offset = h.end(out[i])
		}
	})
	return out, nil
}

func (h *latent) ReadBack(_ context.Context, from []message.Mark, found func(message.Place, message.Mark)) ([]message.Mark, error) {
	for _, m := range from {
		var log []message.Stored
		h.locked(func() { log, h.backs = h.logs[message.Mark{Topic: m.Topic, Partition: m.Partition}], h.backs+1 })
		for o := m.Offset; o < int64(len(log)); o++ {
			found(log[o].Place, message.Mark{Topic: m.Topic, Partition: m.Partition, Offset: o})
		}
	}
	return nil, nil
}

func (h *latent) Since(_ context.Context, of []message.Mark, t time.Time) (spans []message.Span, _ map[int]bool, _ error) {
	h.locked(func() {
		for _, m := range of {
			times := h.produced[message.Mark{Topic: m.Topic, Partition: m.Partition}]
			from, _ := slices.BinarySearchFunc(times, t, time.Time.Compare)
			spans = append(spans, message.Span{Topic: m.Topic, Partition: m.Partition, From: int64(from), To: int64(len(times))})
		}
	})
	return spans, nil, nil
}

func (h *latent) Copies(ctx context.Context, of []message.Span, found func(message.Copy)) ([]message.Mark, error) {
	if h.onRead != nil {
		h.onRead()
	}
	for _, s := range of {
		at := message.Mark{Topic: s.Topic, Partition: s.Partition}
		var log []message.Stored
		var times []time.Time
		h.locked(func() { log, times = h.logs[at], h.produced[at] })
		for o := s.From; o < s.To; o++ {
			at.Offset = o
			found(message.Copy{ID: log[o].ID, Repeat: log[o].Repeat, Produced: times[o], At: at})
		}
	}
	return nil, ctx.Err()
}

func (h *latent) Turn() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.turn
}

func (h *latent) Produce(m *message.Stored, partition int32, turn uint64, done func(int64, error)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	n, c := h.n, *m
	h.under++
	h.most = max(h.most, h.under)
	back := make(chan struct{})
	h.waiting[n] = given{message.Mark{Topic: m.Topic, Partition: partition}, sync.OnceFunc(func() { close(back) })}
	go h.answer(n, &c, partition, back, done)
	return nil
}

func (h *latent) answer(n int, m *message.Stored, partition int32, back <-chan struct{}, done func(int64, error)) {
	at, o, err, wait := message.Mark{Topic: m.Topic, Partition: partition}, int64(-1), errGivenBack, 5*time.Millisecond
	for err != nil {
		select {
		case <-back:
		case <-time.After(wait):
			if h.silent != nil && h.silent(m.Topic, partition) {
				wait = time.Second / 4
				continue
			}
			h.locked(func() {
				if _, waits := h.waiting[n]; waits {
					o, err = int64(len(h.logs[at])), nil
					h.logs[at] = append(h.logs[at], *m)
					h.produced[at] = append(h.produced[at], time.Now())
				}
			})
		}
		break
	}
	h.locked(func() {
		h.under--
		delete(h.waiting, n)
	})
	done(o, err)
}

func (h *latent) Reset() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.resets++
	h.giveBack(func(message.Mark) bool { return true })
	return nil
}

func (h *latent) giveBack(of func(message.Mark) bool) {
	h.turn++
	for n, g := range h.waiting {
		if of(g.to) {
			delete(h.waiting, n)
			g.back()
		}
	}
}

func (h *latent) Withdraw(of []message.Mark) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.withdrawn = append(h.withdrawn, of...)
	h.giveBack(func(m message.Mark) bool { return slices.Contains(of, m) })
	return nil
}

func (h *latent) Close() { _ = h.Reset() }

// start runs a forwarder beside it.
func (h *latent) start(t *testing.T, o forward.Options, log *logged, st ...*store) (*forward.Forwarder, func()) {
	t.Helper()
	d := forward.Deps{Source: sourceOf(st...), Sink: h, Twins: h}
	if log != nil {
		d.Log = log.logger()
	}
	return run(t, o, d)
}

var _ forward.Log = (*latent)(nil)

func ours(n uint64, age time.Duration) []message.Stored { return aged(laneA, 1, n, age) }

// What a long outage gives back is more than is sent between two looks at the log:
// when the hub is back that is no failure. It is read back once, and the breaker
// stays closed.
func TestLateGoesOnAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, log := newLatent(40), &logged{}
		away := true
		h.silent = func(string, int32) (yes bool) {
			h.locked(func() { yes = away })
			return yes
		}
		st := newStore("a")
		_, stop := h.start(t, testOptions(), log, st)
		st.append(msgs(laneA, 1, 200)...)
		<-time.After(time.Second)
		h.locked(func() { h.away = errors.New("away") })
		<-time.After(2 * time.Minute)
		backs := 0
		h.locked(func() { away, h.away, backs = false, nil, h.backs })
		st.await(t, "all of it", (*store).settled)
		stop()
		if n := h.backs - backs; n > 4 { // each partition once, and once more where it came back in between
			t.Errorf("%d partitions were read back after the outage", n)
		}
		if n := strings.Count(log.String(), "breaker open"); n != 1 {
			t.Errorf("the breaker opened %d times", n)
		}
		if got := h.all("messages"); len(got) != 200 {
			t.Errorf("the hub holds %d", len(got))
		}
	})
}

// No more is under way than a quarter of the look-back: what another stamp sends
// after the look stands within it.
func TestLateKeepsAQuarterUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLatent(400)
		st := newStore("a")
		_, stop := h.start(t, testOptions(), nil, st)
		all := ours(2000, time.Hour)
		st.append(all[0]) // the topic is looked up for it, and each answer waited for
		<-time.After(5 * time.Second)
		st.append(all[1:]...)
		st.await(t, "all of it", (*store).settled)
		stop()
		if h.most > 100 {
			t.Errorf("%d were under way", h.most)
		}
	})
}

// keyFor is a key that belongs to a partition.
func keyFor(partition int32) []byte {
	for i := 0; ; i++ {
		m := message.Message{Key: fmt.Append(nil, "key ", i)}
		if kafka.Partition(&m, 2) == partition {
			return m.Key
		}
	}
}

// What becomes late while the log is read for others is looked for by itself.
func TestLateWhileLookingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLatent(400)
		silent := false
		h.silent = func(string, int32) (yes bool) {
			h.locked(func() { yes = silent })
			return yes
		}
		st := newStore("a")
		f, stop := h.start(t, testOptions(), nil, st)
		first := ours(1, time.Hour)[0]
		first.Key = keyFor(1)
		st.append(first) // partition 1 is watched from here on
		<-time.After(5 * time.Second)
		old, young, fresh := ours(3, time.Hour)[2], msg(laneA, 4), msg(laneA, 2)
		old.Key, young.Key, fresh.Key = keyFor(0), keyFor(1), keyFor(0)
		young.Time = time.Now().UTC().Add(-50 * time.Second)
		h.put(0, msgs(laneB, 1, 500)...)
		h.onRead = sync.OnceFunc(func() {
			<-time.After(20 * time.Second) // young is late by then
			h.put(1, twinOf(&young, true))
			h.put(1, msgs(laneB, 1001, 2000)...)
		})
		h.locked(func() { silent = true })
		st.append(fresh, old, young) // the worker waits for the answer to the first
		<-time.After(3 * time.Second)
		h.locked(func() { silent = false })
		st.await(t, "all of it", (*store).settled)
		stop()
		if n := f.Status().DuplicateTotal; n != 1 {
			t.Errorf("%d were left out, want the one that became late meanwhile", n)
		}
	})
}

// Where others write more than a quarter of the look-back while it is read, messages
// are sent all the same, and say that a copy may be there.
func TestLateWhereOthersWriteFaster(t *testing.T) {
	for _, window := range []int{0, 2, 400} {
		synctest.Test(t, func(t *testing.T) {
			h := newLatent(window)
			seq := uint64(0)
			h.onEnds = func() {
				seq += 200
				for p := range int32(2) {
					h.put(p, msgs(laneB, seq, seq+199)...)
				}
			}
			st := newStore("a")
			st.append(ours(8, time.Hour)...)
			o := testOptions()
			o.Batch = 100
			f, stop := h.start(t, o, nil, st)
			st.await(t, "all of it", (*store).settled)
			stop()
			if n := f.Status().LateTotal; n != 8 {
				t.Errorf("W = %d: %d are marked as late, want all", window, n)
			}
		})
	}
}

// An old backlog whose twins are looked for does not keep the others from sending:
// they have room.
func TestLateLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLatent(4000)
		reading := make(chan struct{})
		h.onRead = func() { <-reading }
		old, live := newStore("old"), newStore("live")
		backlog := ours(1000, time.Hour)
		h.put(0, aged(laneB, 1, 2000, 0)...)
		h.put(1, aged(laneB, 2001, 4000, 0)...)
		old.append(backlog...)
		o := testOptions()
		o.MaxInFlight = 100
		f, stop := h.start(t, o, nil, old, live)
		<-time.After(time.Minute) // the old one has all the room that it gets
		fresh := msgs(laneB, 5000, 5999)
		for i := range fresh {
			fresh[i].Topic = "other"
		}
		began := time.Now()
		live.append(fresh...)
		live.await(t, "the live ones", (*store).settled)
		// 20 at a time, 5 ms each; one at a time would take 5 s.
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the live chain took %v beside one that looks back", took)
		}
		close(reading)
		old.await(t, "the old ones", (*store).settled)
		stop()
		if n := f.Status().ForwardedTotal; n != 2000 {
			t.Errorf("%d forwarded", n)
		}
	})
}

// A partition that does not answer while others do is taken back, and looked for,
// again and again; the other topics are not disturbed, where the sink can leave them
// alone.
func TestLateInASilentPartition(t *testing.T) {
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprintf("all is given back %v", whole), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { silentPartition(t, whole) })
		})
	}
}

func silentPartition(t *testing.T, whole bool) {
	h, silent := newLatent(400), true
	h.silent = func(topic string, partition int32) (yes bool) {
		h.locked(func() { yes = silent && topic == "messages" && partition == 1 })
		return yes
	}
	st, live := newStore("a"), newStore("b")
	d := forward.Deps{Source: sourceOf(st, live), Sink: h, Twins: h}
	if whole {
		d.Sink = struct{ forward.Sink }{h}
	}
	f, stop := run(t, testOptions(), d)
	beside := func(seq uint64) message.Stored {
		m := msg(laneA, seq)
		m.Key = keyFor(0)
		return m
	}
	st.append(beside(1))
	<-time.After(5 * time.Second) // the topic is looked up
	shut := msg(laneA, 2)
	shut.Key = keyFor(1)
	st.append(shut)
	<-time.After(30 * time.Second)
	h.put(1, twinOf(&shut, true))
	slowest := time.Duration(0)
	for seq := uint64(1); seq <= 240; seq++ {
		st.append(beside(2 + seq)) // its other partition answers
		m := msg(laneB, seq)
		m.Topic = "other"
		began := time.Now()
		live.append(m)
		live.await(t, "a message of another topic", (*store).settled)
		slowest = max(slowest, time.Since(began))
		<-time.After(time.Second)
	}
	var resets int
	var withdrawn []message.Mark
	h.locked(func() { resets, withdrawn = h.resets, h.withdrawn })
	h.locked(func() { silent = false })
	st.await(t, "what the partition kept", (*store).settled)
	stop()
	if n := f.Status().DuplicateTotal; n != 1 {
		t.Errorf("%d were left out, want the one whose copy came meanwhile", n)
	}
	if whole {
		if resets == 0 {
			t.Error("nothing was taken back")
		}
		return
	}
	if resets > 0 || len(withdrawn) == 0 || slices.ContainsFunc(withdrawn, func(m message.Mark) bool { return m != message.Mark{Topic: "messages", Partition: 1} }) {
		t.Errorf("%d resets, and %v was withdrawn, want the silent partition alone", resets, withdrawn)
	}
	if slowest > 2*time.Second {
		t.Errorf("another topic waited for %v", slowest)
	}
}
