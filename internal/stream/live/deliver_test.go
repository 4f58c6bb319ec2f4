package live_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/stream/live"
)

// lines is an encoder that counts; subscriptions with one of them share it.
type lines struct {
	mu    sync.Mutex
	calls int
}

func (l *lines) Encode(name string, positioned, keyed bool, records []*live.Record) []byte {
	l.mu.Lock()
	l.calls++
	l.mu.Unlock()
	var b bytes.Buffer
	for _, r := range records {
		fmt.Fprintf(&b, "%s %v %v %s\n", name, positioned, keyed, r.Value)
	}
	return b.Bytes()
}

// blocks takes blocks as they are.
type blocks struct {
	mu  sync.Mutex
	got []*live.Block
	err error
}

func (r *blocks) Deliver(_ *live.Subscription, b *live.Block) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, b)
}

func (r *blocks) Ended(_ *live.Subscription, why error) { r.err = why }

func (n *node) encoded(s live.Subject, name string, e live.Encoder) (*blocks, *live.Subscription) {
	n.w.t.Helper()
	r := &blocks{}
	sub, err := n.Subscribe(n.w.t.Context(), live.Request{Subject: s, Name: name, Encoder: e, Receiver: r})
	if err != nil {
		n.w.t.Fatal(err)
	}
	return r, sub
}

// Encode once per subject, name and encoder: a burst is one block, shared by all
// who are sent the same bytes.
func TestABurstIsEncodedOnceForAll(t *testing.T) {
	clause(t, 1, func(w *world) error {
		n := w.node()
		json, proto := &lines{}, &lines{}
		var same []*blocks
		for range 5 {
			r, _ := n.encoded(key("k"), "t/k", json)
			same = append(same, r)
		}
		other, _ := n.encoded(key("k"), "t/k", proto)
		named, _ := n.encoded(key("k"), "/t/k", json)
		all, _ := n.encoded(everything, "t/*", json)
		n.view.Hold(topicName, 0, 0)
		for i, k := range []string{"k", "j", "k", "k"} {
			w.put(rec(k, fmt.Sprint(i), uint64(i+1)))
		}
		n.view.Hold(topicName, 0, -1)
		synctest.Wait()
		block := same[0].got[0]
		for _, r := range same {
			if len(r.got) != 1 || r.got[0] != block {
				return fmt.Errorf("blocks %v, want the one all have", r.got)
			}
		}
		return first(
			expect(string(block.Bytes) == "t/k true false 0\nt/k true false 2\nt/k true false 3\n", "encoded %q", block.Bytes),
			expect(string(all.got[0].Bytes) == "t/* true true 0\nt/* true true 1\nt/* true true 2\nt/* true true 3\n", "encoded %q", all.got[0].Bytes),
			expect(string(named.got[0].Bytes) == "/t/k true false 0\n/t/k true false 2\n/t/k true false 3\n", "encoded %q", named.got[0].Bytes),
			expect(len(other.got) == 1 && json.calls == 3 && proto.calls == 1, "%d and %d encoded", json.calls, proto.calls),
			expect(len(block.Records) == 3 && block.Partition == 0, "block %+v", block),
		)
	})
}

// Nothing is delivered once Close has returned, whoever else stays, and whatever
// was subscribed to in between.
func TestSubscribersComeAndGo(t *testing.T) {
	clause(t, 2, func(w *world) error {
		n := w.node()
		rng := rand.New(rand.NewPCG(1, 1))
		subjects := []live.Subject{key("a"), key("b"), everything, subject("t/*@0"), subject("t/")}
		type sub struct {
			c    *client
			want []string
		}
		var subs []*sub
		for i := range 3000 {
			switch {
			case rng.IntN(3) > 0:
				c := n.subscribe(subjects[rng.IntN(len(subjects))], nil)
				subs = append(subs, &sub{c: c})
			case len(subs) > 0:
				at := rng.IntN(len(subs))
				subs[at].c.s.Close()
				subs[at].c.s.Close()
				if err := subs[at].c.shows(subs[at].want...); err != nil {
					return err
				}
				subs = slices.Delete(subs, at, at+1)
			}
			if i%100 == 0 {
				k := []string{"a", "b", ""}[rng.IntN(3)]
				r := rec(k, fmt.Sprint(i), uint64(i+1))
				at := w.put(r)
				_ = at
				for _, s := range subs {
					of := s.c.s.Subject()
					if of.All && (of.Partition < 0 || k != "" && home(k, 2) == 0 || k == "") || !of.All && of.Key == k {
						s.want = append(s.want, string(r.Value))
					}
				}
				synctest.Wait()
			}
		}
		for _, s := range subs {
			if err := s.c.shows(s.want...); err != nil {
				return err
			}
		}
		return nil
	})
}

// Who is handed a subscription with Begin may close it at once, from elsewhere:
// it is registered by then, so that nothing is delivered after, nor kept.
func TestClosedAsItBegins(t *testing.T) {
	for _, partitions := range []int32{0, 1, 3} {
		if err := in(t, "", partitions, func(w *world) error {
			n := w.node()
			c := &client{n: n, next: map[int32]int64{}, epochs: map[int32]string{}}
			closed := make(chan struct{})
			_, err := n.Subscribe(w.t.Context(), live.Request{Subject: everything, Receiver: c, Begin: func(s *live.Start) {
				go func() { s.Subscription.Close(); close(closed) }()
			}})
			<-closed
			w.hub.Make(topicName, 1)
			<-time.After(5 * time.Second)
			w.put(rec("k", "a", 1))
			return first(err, c.shows(), expect(c.over == nil, "ended: %v", c.over))
		}); err != nil {
			t.Errorf("%d partitions: %v", partitions, err)
		}
	}
}

// Conflation keeps the newest of each key at its own offset, ascending, and all
// that has no key; a topic that does not allow it is not conflated. Neither are
// blocks of several partitions: in one block those of the second would come behind
// newer ones of it.
func TestMerge(t *testing.T) {
	for _, conflate := range []bool{true, false} {
		clause(t, 2, func(w *world) error {
			w.opts.Topics[0].Conflate = conflate
			n := w.node()
			e := &lines{}
			r, sub := n.encoded(everything, "t/*", e)
			for i, k := range []string{"a", "b", "", "a", "", "b", "c", "a"} {
				at := rec(k, fmt.Sprint(i), uint64(i+1))
				at.Partition = 1
				if i == 6 {
					at.Partition = 0
				}
				w.hub.Append(topicName, at)
				synctest.Wait()
			}
			mixed := sub.Merge(r.got)
			merged := sub.Merge(slices.Delete(slices.Clone(r.got), 6, 7))
			if !conflate {
				return expect(merged == nil && !sub.Conflates(), "conflated")
			}
			again := sub.Merge([]*live.Block{merged, r.got[0]})
			return first(
				expect(sub.Conflates(), "does not conflate"),
				expect(mixed == nil, "merged of two partitions: %+v", mixed),
				expect(slices.Equal(valuesOf(merged.Records), []string{"2", "4", "5", "7"}), "merged %q", valuesOf(merged.Records)),
				expect(string(merged.Bytes) == "t/* false true 2\nt/* false true 4\nt/* false true 5\nt/* false true 7\n", "encoded %q", merged.Bytes),
				expect(again != nil && merged.Partition == 1 && sub.Merge(nil) == nil, "merged %+v", merged),
			)
		})
	}
}

// The subscribers of one engine come and go, move and are delivered to at once, as
// the race detector sees it; each is shown every message from where it began, and
// where it is cut off and comes back none twice.
func TestAtOnce(t *testing.T) {
	if err := in(t, "", 2, func(w *world) error {
		w.opts.Ring.MaxRecords = 50
		n := w.node()
		stop := make(chan struct{})
		var work sync.WaitGroup
		work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				for j := range 20 {
					w.put(rec(fmt.Sprint(j%4), fmt.Sprint(i), uint64(20*i+j+1)))
				}
			}
		})
		errs := make(chan error, 40)
		for i := range 40 {
			work.Go(func() { errs <- n.wander(uint64(i), 30) })
		}
		var err error
		for range 40 {
			err = first(err, <-errs)
		}
		close(stop)
		work.Wait()
		return err
	}); err != nil {
		t.Error(err)
	}
}

// wander is a client that comes and goes; what it sees has no gap.
func (n *node) wander(seed uint64, times int) error {
	rng := rand.New(rand.NewPCG(seed, 2))
	s := []live.Subject{key("0"), key("1"), everything}[rng.IntN(3)]
	seen := map[int32][]int64{}
	var since []live.Position
	from := map[int32]int64{}
	for range times {
		c, err := n.trySubscribe(s, since)
		if err != nil {
			return err
		}
		if since == nil {
			for _, p := range c.start.Positions {
				from[p.Partition] = p.Next
			}
		} else if err := expect(c.start.Recovered, "not recovered"); err != nil {
			return err
		}
		<-time.After(time.Duration(rng.IntN(20)) * time.Millisecond)
		_, _ = n.History(n.w.t.Context(), live.HistoryRequest{Subject: s, Limit: 5, Reverse: rng.IntN(2) == 0})
		_, _, _ = n.Last(n.w.t.Context(), s)
		c.s.Close()
		for _, r := range c.seen {
			seen[r.Partition] = append(seen[r.Partition], r.Offset)
		}
		since = c.positions()
		<-time.After(time.Duration(rng.IntN(20)) * time.Millisecond)
	}
	for _, p := range since {
		want := ask(n.w.hub, p.Partition, n.w.opts.Window).offsets(s, from[p.Partition], p.Next, func(*live.Record) bool { return true })
		if !slices.Equal(seen[p.Partition], want) && len(want) > 0 {
			return fmt.Errorf("saw %d of %d", len(seen[p.Partition]), len(want))
		}
	}
	return nil
}
