package livetest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"postroad/internal/message"
	"postroad/internal/stream/live"
	"postroad/internal/stream/live/livetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOffsets(t *testing.T) {
	l := livetest.NewLog()
	l.Make("t", 1)
	ctx := t.Context()
	at := []int64{l.Append("t", live.Record{Value: []byte("a")})}
	l.Abort("t", 0, 2) // 1, 2 and a marker at 3
	at = append(at, l.Append("t", live.Record{Value: []byte("b")}))
	l.Mark("t", 0)
	l.Open("t", 0)
	at = append(at, l.Append("t", live.Record{Value: []byte("c")}))
	if fmt.Sprint(at) != "[0 4 6]" {
		t.Errorf("offsets %v", at)
	}
	if got := scan(t, l, 0, 100); fmt.Sprint(got) != "[0 4]" {
		t.Errorf("scanned %v while a transaction is open", got)
	}
	l.Commit("t", 0) // its marker at 7
	l.Truncate("t", 0, 1)
	if b, err := l.Bounds(ctx, "t"); err != nil || b[0] != (live.Bounds{Start: 1, End: 8}) {
		t.Errorf("bounds %v, %v", b, err)
	}
	if got := scan(t, l, 1, 100); fmt.Sprint(got) != "[4 6]" {
		t.Errorf("scanned %v", got)
	}
	if err := l.Scan(ctx, "t", 0, 0, 8, nil); !errors.Is(err, live.ErrGone) {
		t.Errorf("below the start: %v", err)
	}
	if all, end := l.All("t", 0); len(all) != 3 || end != 8 {
		t.Errorf("%d records of all, end %d", len(all), end)
	}
	_, err := l.Describe(ctx, "u")
	if !errors.Is(err, message.ErrNotFound) || l.Append("t", live.Record{Partition: 1}) != -1 {
		t.Errorf("of what is not there: %v", err)
	}
}

func scan(t *testing.T, l live.Log, from, to int64) (offsets []int64) {
	t.Helper()
	if err := l.Scan(t.Context(), "t", 0, from, to, func(records []live.Record) error {
		for i := range records {
			offsets = append(offsets, records[i].Offset)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return offsets
}

// Follow hands over pieces without a gap but where retention makes one, says of
// silent partitions that they are, and ends where the topic is another.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := livetest.NewLog()
		l.Make("t", 2)
		v := l.NewView()
		v.SetChunk(2)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var pieces []string
		heard := 0
		ended := make(chan error, 1)
		go func() {
			ended <- v.Follow(ctx, "t", []int64{0, 0}, func(b *live.Batch) error {
				if b.Partition == 1 {
					heard++
				} else if b.From != b.Next {
					pieces = append(pieces, fmt.Sprintf("%d-%d/%d:%d", b.From, b.Next, b.End, len(b.Records)))
				}
				return nil
			})
		}()
		synctest.Wait()
		v.SetAway(true)
		for range 5 {
			l.Append("t", live.Record{})
		}
		v.SetAway(false)
		<-time.After(10 * time.Second) // it may have found the hub away, and try again later
		synctest.Wait()
		v.Hold("t", 0, 6)
		v.SetAway(true)
		l.Append("t", live.Record{})
		l.Append("t", live.Record{})
		v.SetAway(false)
		<-time.After(10 * time.Second)
		synctest.Wait()
		l.Abort("t", 0, 1)
		l.Truncate("t", 0, 8)
		v.Hold("t", 0, -1)
		<-time.After(10 * time.Second)
		synctest.Wait()
		if want := []string{"0-2/5:2", "2-4/5:2", "4-5/5:1", "5-6/7:1", "8-9/9:0"}; !slices.Equal(pieces, want) {
			t.Errorf("pieces %v, want %v", pieces, want)
		}
		if heard < 10 {
			t.Errorf("heard %d times of the silent partition in ten seconds", heard)
		}
		l.Raise("t", 3)
		if err := <-ended; !errors.Is(err, live.ErrChanged) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestTimesAndFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := livetest.NewLog()
		l.Make("t", 1)
		began := time.Now()
		for range 3 {
			l.Send("t", "k", "v")
			<-time.After(time.Second)
		}
		for i, want := range []int64{0, 0, 1, 3} {
			at := began.Add(time.Duration(i-1)*time.Second + time.Duration(i/3)*time.Hour)
			if got, err := l.OffsetsAt(t.Context(), "t", at); err != nil || got[0] != want {
				t.Errorf("%d: offsets %v, %v, want %d", i, got, err, want)
			}
		}
		l.SetDelay(time.Minute)
		asked := time.Now()
		if _, err := l.Bounds(t.Context(), "t"); err != nil || time.Since(asked) != time.Minute {
			t.Errorf("after %v: %v", time.Since(asked), err)
		}
		l.SetAway(true)
		if _, err := l.Describe(t.Context(), "t"); !errors.Is(err, livetest.ErrAway) {
			t.Errorf("away: %v", err)
		}
		l.SetAway(false)
		l.SetDelay(0)
		broken := errors.New("broken")
		l.OnScan(func(string, int32, int64, int64) error { return broken })
		if err := l.Scan(t.Context(), "t", 0, 0, 3, nil); !errors.Is(err, broken) {
			t.Errorf("scan: %v", err)
		}
		if c := l.Calls(); c != (livetest.Calls{Describe: 1, Bounds: 1, OffsetsAt: 4, Scan: 1}) {
			t.Errorf("calls %+v", c)
		}
		first, _ := l.Describe(t.Context(), "t")
		l.Make("t", 1)
		second, _ := l.Describe(t.Context(), "t")
		if first.ID == second.ID || l.Partitions("t") != 1 {
			t.Error("made anew, and the same")
		}
	})
}
