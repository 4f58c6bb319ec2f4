package centrifugo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/centrifugal/protocol"

	"postroad/internal/stream/live"
	"postroad/internal/stream/live/livetest"
)

// A key is rare: between two of its messages stand more records than one reading of
// the hub may take. A page without messages would tell the client that this was all.
func TestHistoryOfARareKey(t *testing.T) {
	log := livetest.NewLog()
	log.Make("t", 1)
	var want []string
	for i := range 3 {
		for range 300 {
			log.Send("t", "other", "0")
		}
		log.Send("t", "k", fmt.Sprint(i))
		want = append(want, fmt.Sprint(i))
	}
	for range 300 {
		log.Send("t", "other", "0")
	}
	n := start(t, log, []string{"t"}, func(s *settings) {
		s.live.Window, s.live.Ring.MaxRecords, s.live.Recovery.MaxRecords = 10, 10, 100
	})
	both(t, func(t *testing.T, e Encoding) {
		c := n.connect(t, e, "alice")
		for _, reverse := range []bool{false, true} {
			h := &protocol.HistoryRequest{Channel: "t/k", Limit: 1, Reverse: reverse}
			var got []string
			for range 10 {
				r := c.ask(&command{History: h}).History
				if r == nil || len(r.Publications) == 0 {
					break
				}
				p := r.Publications[0]
				h.Since = &protocol.StreamPosition{Offset: p.Offset, Epoch: r.Epoch}
				got = append(got, string(p.Data))
			}
			if reverse {
				slices.Reverse(got)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("reverse %v: %v, want %v", reverse, got, want)
			}
		}
	})
}

// endless is a hub in which each reading finds nothing and ends before the end.
type endless struct {
	noEngine
	step  int64
	calls int
}

func (e *endless) History(_ context.Context, r live.HistoryRequest) (*live.History, error) {
	e.calls++
	<-time.After(time.Second)
	at := live.Position{Epoch: "e", Next: e.step}
	if r.Since != nil {
		at.Next += r.Since[0].Next
	}
	return &live.History{Positions: []live.Position{at}, More: true}, nil
}

// Where nothing is found in the time that a client waits, it is told to come again;
// so it is where readings come no further, which must not go on until then.
func TestHistoryThatTakesTooLong(t *testing.T) {
	for step, want := range map[int64]int{100: 4, 0: 2} {
		synctest.Test(t, func(t *testing.T) {
			engine := &endless{step: step}
			p, err := New(DefaultOptions(), Deps{Engine: engine, Ping: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			s := p.Handler(newSink(t, JSON), nil).(*session)
			if s.principal, err = newPeople(t).authenticate(t.Context(), "alice"); err != nil {
				t.Fatal(err)
			}
			reply, err := s.history(t.Context(), &protocol.HistoryRequest{Channel: "t/k", Limit: 10})
			if f, ok := errors.AsType[*fault](err); !ok || f.code != 111 || !f.temporary || engine.calls != want {
				t.Errorf("%v, %v after %d readings, want 111 after %d", reply, err, engine.calls, want)
			}
		})
	}
}
