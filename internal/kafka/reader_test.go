package kafka

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/message"
)

// follow runs Follow until the end of the test; the channel gives what it
// shows, ready is closed when it has begun.
func follow(t *testing.T, o Options, fo FollowOptions) (<-chan Record, <-chan struct{}) {
	t.Helper()
	r, err := NewReader(o, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	got, ready := make(chan Record, 10000), make(chan struct{})
	fo.Ready = func() { close(ready) }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Follow(ctx, fo, func(rec Record) error { got <- rec; return nil }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Follow:", err)
		}
	})
	return got, ready
}

func next[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing in 20 s")
		panic("unreachable")
	}
}

// One rule of dedupe everywhere, DESIGN 8: the same wherever reading begins.
func TestFollowDedupe(t *testing.T) {
	_, addr := startCluster(t)
	s := startSink(t, options(addr))
	var msgs []message.Stored
	for _, seq := range []uint64{1, 2, 1, 3, 2, 4} {
		msgs = append(msgs, stored(seq))
	}
	produce(t, s, 0, msgs...)
	if got := seqs(all(t, addr, FollowOptions{})); !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("from the beginning: %v", got)
	}
	if got := seqs(all(t, addr, FollowOptions{From: FromOffsets(map[int32]int64{0: 2})})); !slices.Equal(got, []uint64{3, 4}) {
		t.Errorf("from offset 2, with look-back: %v", got)
	}
	if got := all(t, addr, FollowOptions{From: FromEnd()}); len(got) != 0 {
		t.Errorf("from the end: %v", seqs(got))
	}
	if got := all(t, addr, FollowOptions{From: FromTime(time.Now().Add(time.Hour))}); len(got) != 0 {
		t.Errorf("from the future: %v", seqs(got))
	}
	if got := seqs(all(t, addr, FollowOptions{From: FromTime(time.Now().Add(-time.Hour))})); !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("from an hour ago: %v", got)
	}
	o := options(addr)
	o.Window = 0 // the sabotaged twin: without a window copies are shown
	r, err := NewReader(o, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := r.Follow(t.Context(), FollowOptions{Topic: "messages", UntilEnd: true}, func(Record) error { n++; return nil }); err != nil || n != 6 {
		t.Errorf("without a window %d records, %v; want 6", n, err)
	}
}

func TestFollowOddRecords(t *testing.T) {
	_, addr := startCluster(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	id := []byte(stored(1).ID.String())
	rec := func(hs ...kgo.RecordHeader) *kgo.Record {
		return &kgo.Record{Topic: "messages", Partition: 1, Value: []byte("v"), Headers: hs}
	}
	hdr := func(k string, v []byte) kgo.RecordHeader { return kgo.RecordHeader{Key: k, Value: v} }
	records := []*kgo.Record{
		rec(), rec(), // no id: always shown
		rec(hdr(HeaderID, []byte("no uuid"))), rec(hdr(HeaderID, []byte("no uuid"))), // nor this
		rec(hdr(HeaderID, id), hdr(HeaderReplay, []byte("1"))), // makes nothing a duplicate
		rec(hdr(HeaderID, id)),
		rec(hdr(HeaderID, id)),
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	offsets := func(rs []Record) (out []int64) {
		for _, r := range rs {
			out = append(out, r.Offset)
		}
		return out
	}
	// The replay is history that the window does not hold, and makes nothing a
	// duplicate itself.
	if got := offsets(all(t, addr, FollowOptions{})); !slices.Equal(got, []int64{0, 1, 2, 3, 4, 5}) {
		t.Errorf("shown %v", got)
	}
}

// A replay is shown where the hub no longer holds what it is a copy of, and to
// nobody who follows while it arrives.
func TestFollowReplays(t *testing.T) {
	_, addr := startCluster(t)
	s := startSink(t, options(addr))
	replay := func(seq uint64) message.Stored {
		m := stored(seq)
		m.Replay = true
		return m
	}
	produce(t, s, 0, stored(1), stored(2), replay(1), replay(3), stored(4))
	if got := seqs(all(t, addr, FollowOptions{})); !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("from the beginning: %v", got)
	}
	if got := seqs(all(t, addr, FollowOptions{From: FromTime(time.Now().Add(-time.Hour))})); !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("from an hour ago: %v", got)
	}
	// Of the look-back the window knows that a replay above is a copy.
	if got := seqs(all(t, addr, FollowOptions{From: FromOffsets(map[int32]int64{0: 2})})); !slices.Equal(got, []uint64{3, 4}) {
		t.Errorf("from offset 2: %v", got)
	}
	o := options(addr)
	o.Window = 1
	r, err := NewReader(o, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	var far []uint64 // out of view the copy is all there is
	if err := r.Follow(t.Context(), FollowOptions{Topic: "messages", UntilEnd: true}, func(rec Record) error { far = append(far, rec.Seq); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(far, []uint64{1, 2, 1, 3, 4}) {
		t.Errorf("with a window of one offset: %v", far)
	}
	history, ready := follow(t, options(addr), FollowOptions{Topic: "messages"})
	live, ready2 := follow(t, options(addr), FollowOptions{Topic: "messages", From: FromEnd()})
	next(t, ready)
	next(t, ready2)
	produce(t, s, 0, replay(5), replay(1), stored(5), stored(6))
	var got []uint64
	for range 6 {
		got = append(got, next(t, history).Seq)
	}
	if !slices.Equal(got, []uint64{1, 2, 3, 4, 5, 6}) {
		t.Errorf("history, then live: %v", got)
	}
	if a, b := next(t, live).Seq, next(t, live).Seq; a != 5 || b != 6 {
		t.Errorf("live: %d, %d, want 5 and 6: a replay is not shown and makes no other a duplicate", a, b)
	}
}

func TestFollowMissingTopic(t *testing.T) {
	_, addr := startCluster(t)
	r, err := NewReader(options(addr), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	err = r.Follow(t.Context(), FollowOptions{Topic: "later", UntilEnd: true}, func(Record) error { return nil })
	if !errors.Is(err, message.ErrNotFound) {
		t.Fatalf("until the end of a missing topic: %v", err)
	}
	got, ready := follow(t, options(addr), FollowOptions{Topic: "later", From: FromEnd()})
	next(t, ready)
	s := startSink(t, options(addr))
	if _, err := s.Partitions(t.Context(), "later"); err != nil {
		t.Fatal(err)
	}
	m := stored(5)
	m.Topic = "later"
	produce(t, s, 0, m)
	if r := next(t, got); r.Seq != 5 {
		t.Errorf("got %+v, want what was sent to the new topic", r)
	}
}

func TestFollowStopsWithFn(t *testing.T) {
	_, addr := startCluster(t)
	s := startSink(t, options(addr))
	produce(t, s, 0, stored(1), stored(2))
	r, err := NewReader(options(addr), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	n := 0
	err = r.Follow(t.Context(), FollowOptions{Topic: "messages"}, func(Record) error { n++; return enough })
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("%d shown, %v", n, err)
	}
}

// The hub may be away meanwhile, and stands where it stood when it is back.
func TestFollowOverHubRestart(t *testing.T) {
	dir := t.TempDir()
	addr, stop := startHub(t, dir, "")
	s := startSink(t, options(addr))
	got, ready := follow(t, options(addr), FollowOptions{Topic: "messages", From: FromEnd()})
	next(t, ready)
	produce(t, s, 0, stored(1))
	if r := next(t, got); r.Seq != 1 {
		t.Fatalf("got %+v", r)
	}
	stop()
	_, stop = startHub(t, dir, addr)
	for i, a := range produce(t, s, 0, stored(2), stored(1), stored(3)) {
		if a.err != nil || a.offset != int64(i)+1 {
			t.Fatalf("after the restart: offset %d, %v; want %d", a.offset, a.err, i+1)
		}
	}
	for _, want := range []uint64{2, 3} {
		if r := next(t, got); r.Seq != want {
			t.Fatalf("got %+v, want seq %d", r, want)
		}
	}
	stop()
}
