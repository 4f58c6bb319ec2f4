package queue

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
)

// What one process of a queue finds out of the lanes of another.
func TestLanesOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := faultfs.NewShare(1, faultfs.ShareOptions{Calm: true, LookupCache: faultfs.LookupNone})
		began := time.Now()
		open := func(host string) (*Queue, func()) {
			o := DefaultOptions()
			o.Dir, o.SegmentBytes, o.BallastBytes, o.ReserveBytes = "/queue", 64<<10, 0, 64<<10
			q, err := Open(o, Deps{Part: Writes, FS: share.Host(host), Elapsed: func() time.Duration { return time.Since(began) }})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- q.Run(ctx) }()
			return q, func() {
				cancel()
				if err := errors.Join(<-done, q.Close()); err != nil {
					t.Error(err)
				}
			}
		}
		writer, stopWriter := open("a")
		other, stopOther := open("b")
		defer stopOther()
		msgs := make([]message.Message, 3)
		for i := range msgs {
			msgs[i] = message.Message{
				ID: message.DeriveID("p", "t", "k", message.Hash{}, i), Topic: "t", Value: []byte("v"), Time: time.Now().UTC(),
			}
		}
		<-time.After(100 * time.Millisecond) // behind the first heartbeat
		first, err := writer.Append(t.Context(), msgs)
		if err != nil {
			t.Fatal(err)
		}
		group, err := other.Group(t.Context(), first)
		if err != nil || len(group) != 3 || group[0].Place != first || group[2].ID != msgs[2].ID {
			t.Errorf("group %+v, %v", group, err)
		}
		for _, at := range []message.Place{{Lane: first.Lane, Seq: 99}, {Lane: "01JD6Z0000000000000000AAAA", Seq: 1}, {}} {
			if _, err := other.Group(t.Context(), at); !errors.Is(err, message.ErrNotFound) {
				t.Errorf("group at %v: %v", at, err)
			}
		}
		tails := func() (n int) {
			t.Helper()
			if err := other.Tails(t.Context(), func(g []message.Stored) { n += len(g) }); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := tails(); n != 3 {
			t.Errorf("%d messages at the ends of lanes before the heartbeat tells of them", n)
		}
		<-time.After(5 * time.Second)
		if n := tails(); n != 0 {
			t.Errorf("%d messages at the ends of lanes although the heartbeat tells of them", n)
		}
		ended := map[string]bool{}
		if others, err := other.OtherWriters(t.Context(), ended); !others || err != nil {
			t.Errorf("while the other runs: %v, %v", others, err)
		}
		stopWriter()
		if others, err := other.OtherWriters(t.Context(), ended); others || err != nil || !ended[first.Lane] {
			t.Errorf("after it has ended: %v, %v, %v", others, err, ended)
		}
		if group, err := other.Group(t.Context(), first); err != nil || len(group) != 3 {
			t.Errorf("group of a lane that has ended: %+v, %v", group, err)
		}
	})
}
