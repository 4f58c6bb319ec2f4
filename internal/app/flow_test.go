package app

import (
	"context"
	"errors"
	"testing"
	"time"

	"postroad/internal/message"
	"postroad/internal/queue"
)

func TestFlow(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(seconds int, l look) look {
		l.at = begin.Add(time.Duration(seconds) * time.Second)
		return l
	}
	lagging := queue.Status{UnforwardedMessages: 600, OldestAgeSeconds: 6}
	for _, tc := range []struct {
		name   string
		looks  []look
		now    queue.Status
		writes bool
		want   *flowStatus
	}{
		{name: "nothing known"},
		{name: "one look", looks: []look{at(0, look{in: 5})}},
		{
			name:  "a backlog that shrinks",
			looks: []look{at(0, look{waiting: 1000}), at(10, look{in: 200, inBytes: 2000, out: 600, outBytes: 6000, waiting: 600})},
			now:   lagging, writes: true,
			want: &flowStatus{InPerSecond: 20, InBytesPerSecond: 200, OutPerSecond: 60, OutBytesPerSecond: 600, GrowthPerSecond: -40, DrainSeconds: 15},
		},
		{
			name:  "one that grows",
			looks: []look{at(0, look{waiting: 500}), at(10, look{in: 100, waiting: 600})},
			now:   lagging, writes: true,
			want: &flowStatus{InPerSecond: 10, GrowthPerSecond: 10, NeverDrains: true},
		},
		{
			name:  "one that stays",
			looks: []look{at(0, look{waiting: 600}), at(10, look{waiting: 600})},
			now:   lagging, writes: true,
			want: &flowStatus{NeverDrains: true},
		},
		{
			name:  "messages on their way are no backlog",
			looks: []look{at(0, look{waiting: 3}), at(10, look{in: 100, out: 98, waiting: 5})},
			now:   queue.Status{UnforwardedMessages: 5, OldestAgeSeconds: 0.1}, writes: true,
			want: &flowStatus{InPerSecond: 10, OutPerSecond: 9.8, GrowthPerSecond: 0.2},
		},
		{
			name:  "a forwarder alone",
			looks: []look{at(0, look{waiting: 1000, waitingBytes: 1000}), at(10, look{out: 600, outBytes: 600, waiting: 600, waitingBytes: 700})},
			now:   lagging,
			want:  &flowStatus{InPerSecond: 20, InBytesPerSecond: 30, OutPerSecond: 60, OutBytesPerSecond: 60, GrowthPerSecond: -40, DrainSeconds: 15},
		},
		{
			name:  "another one drains, too",
			looks: []look{at(0, look{waiting: 1000}), at(10, look{out: 100, waiting: 600})},
			now:   lagging,
			want:  &flowStatus{OutPerSecond: 10, GrowthPerSecond: -40, DrainSeconds: 15},
		},
	} {
		var f flow
		for _, l := range tc.looks {
			f.take(l, queue.Status{})
		}
		got := f.status(tc.now, tc.writes)
		if (got == nil) != (tc.want == nil) || got != nil && *got != *tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

// Rates are those of late, and of a backlog that is known.
func TestFlowForgets(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var f flow
	for i := range 100 {
		out := int64(0)
		if i >= 80 {
			out = int64(i-80) * 50
		}
		f.take(look{at: begin.Add(time.Duration(i) * flowEvery), out: out}, queue.Status{})
	}
	if got := f.status(queue.Status{}, true); got == nil || got.OutPerSecond != 10 || len(f.looks) != flowLooks {
		t.Errorf("%+v of %d looks", got, len(f.looks))
	}
	f.take(look{at: begin.Add(time.Hour)}, queue.Status{UnreadLanes: 1})
	if got := f.status(queue.Status{}, true); got != nil {
		t.Errorf("while lanes are unread: %+v", got)
	}
}

type appendTo struct{ err error }

func (a appendTo) Append(context.Context, []message.Message) (message.Place, error) {
	return message.Place{Lane: "l", Seq: 7}, a.err
}

func TestAcceptedIsCountedOnceDurable(t *testing.T) {
	var f flow
	msgs := []message.Message{{Key: []byte("k"), Value: []byte("value")}, {Value: []byte("v")}}
	if at, err := (counted{appendTo{}, &f}).Append(t.Context(), msgs); err != nil || at.Seq != 7 {
		t.Error(at, err)
	}
	failed := errors.New("no")
	if _, err := (counted{appendTo{failed}, &f}).Append(t.Context(), msgs); !errors.Is(err, failed) {
		t.Error(err)
	}
	if n, size := f.accepted.Load(), f.acceptedBytes.Load(); n != 2 || size != int64(msgs[0].Size()+msgs[1].Size()) {
		t.Errorf("%d messages, %d bytes", n, size)
	}
}
