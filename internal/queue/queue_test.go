package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/internal/message"
	"postroad/internal/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is an open queue whose Run is going on.
type running struct {
	*queue.Queue
	stop func()
}

func options(dir string) queue.Options {
	o := queue.DefaultOptions()
	o.Dir = dir
	o.SegmentBytes = 64 << 10
	o.ReserveBytes, o.BallastBytes = 0, 0
	o.UnsafeFileSystem = true // the test's directory may be in memory
	return o
}

func start(t *testing.T, o queue.Options, d queue.Deps) running {
	t.Helper()
	if d.Log == nil {
		d.Log = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	q, err := queue.Open(o, d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := q.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	r := running{q, sync.OnceFunc(func() {
		cancel()
		<-done
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})}
	t.Cleanup(r.stop)
	return r
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func msg(value string) message.Message {
	m := message.Message{
		Topic: "messages", Key: []byte("k"), Value: []byte(value), Time: time.UnixMicro(1_700_000_000_000_000).UTC(),
		Principal: "test", Headers: []message.Header{{Name: "content-type", Value: []byte("text/plain")}},
	}
	m.ID = message.DeriveID(m.Principal, m.Topic, value, message.Hash{1}, 0)
	return m
}

func appendOne(t *testing.T, q *queue.Queue, value string) message.Receipt {
	t.Helper()
	m := msg(value)
	p, err := q.Append(t.Context(), []message.Message{m})
	if err != nil {
		t.Fatal(err)
	}
	return message.Receipt{ID: m.ID, Place: p}
}

// drain reads n messages of a claim.
func drain(t *testing.T, c *queue.Claim, n int) []message.Stored {
	t.Helper()
	var all []message.Stored
	for len(all) < n {
		msgs, err := c.Next(t.Context(), n-len(all))
		if err != nil {
			t.Fatalf("after %d of %d messages: %v", len(all), n, err)
		}
		all = append(all, msgs...)
	}
	return all
}

func claim(t *testing.T, q *queue.Queue) *queue.Claim {
	t.Helper()
	c, err := q.Claim(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func next(lane string, seq uint64) message.Progress {
	return message.Progress{Lanes: []message.LaneProgress{{Lane: lane, Next: seq}}}
}

func TestAppendedMessagesAreDrainedInOrder(t *testing.T) {
	q := start(t, options(t.TempDir()), queue.Deps{})
	const n = 3000 // over several segments of 64 KiB
	go func() {
		for i := 0; i < n; i += 3 {
			m := []message.Message{msg(fmt.Sprint(i)), msg(fmt.Sprint(i + 1)), msg(fmt.Sprint(i + 2))}
			if _, err := q.Append(context.Background(), m); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	c := claim(t, q.Queue)
	for i, m := range drain(t, c, n) {
		if string(m.Value) != fmt.Sprint(i) || m.Seq != uint64(i+1) || m.ID != msg(fmt.Sprint(i)).ID {
			t.Fatalf("message %d: seq %d, value %q", i, m.Seq, m.Value)
		}
	}
	if err := c.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestRestartGoesOnWhereProgressSaysSo(t *testing.T) {
	dir := t.TempDir()
	q := start(t, options(dir), queue.Deps{})
	var receipts []message.Receipt
	for i := range 10 {
		receipts = append(receipts, appendOne(t, q.Queue, fmt.Sprint(i)))
	}
	c := claim(t, q.Queue)
	drain(t, c, 10)
	p := next(receipts[0].Lane, 5)
	p.Marks = []message.Mark{{Topic: "messages", Partition: 3, Offset: 77}}
	p.Partitions = map[string]int32{"messages": 8}
	if err := c.Save(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := c.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	q.stop()

	q = start(t, options(dir), queue.Deps{})
	appendOne(t, q.Queue, "after")
	seen := map[string]int{}
	for range 2 { // the old chain and the new one, in either order
		c := claim(t, q.Queue)
		n := 1
		if len(c.Progress().Lanes) == 1 && c.Progress().Lanes[0].Lane == receipts[0].Lane {
			n = 6
			if !reflect.DeepEqual(c.Progress(), p) {
				t.Errorf("progress after the restart: %+v, saved %+v", c.Progress(), p)
			}
		}
		for _, m := range drain(t, c, n) {
			seen[string(m.Value)]++
		}
		if n == 6 {
			if _, err := c.Next(t.Context(), 1); !errors.Is(err, io.EOF) {
				t.Errorf("end of the old chain: %v", err)
			}
		}
		if err := c.Save(t.Context(), next(receipts[0].Lane, 11)); err != nil {
			t.Fatal(err)
		}
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]int{"4": 1, "5": 1, "6": 1, "7": 1, "8": 1, "9": 1, "after": 1}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("after the restart: %v, want %v", seen, want)
	}
	for i, r := range receipts {
		o, err := q.Locate(t.Context(), r)
		if err != nil || o.State != message.StateForwarded {
			t.Errorf("receipt %d: %v, %v", i, o, err)
		}
	}
}

func TestLocateAndScan(t *testing.T) {
	q := start(t, options(t.TempDir()), queue.Deps{})
	r := appendOne(t, q.Queue, "a")
	if o, err := q.Locate(t.Context(), r); err != nil || o.State != message.StateQueued {
		t.Errorf("locate: %v, %v", o, err)
	}
	wrong := r
	wrong.ID = msg("b").ID
	beyond := r
	beyond.Seq++
	elsewhere := r
	elsewhere.Lane = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	for name, r := range map[string]message.Receipt{"other id": wrong, "beyond": beyond, "other lane": elsewhere} {
		if _, err := q.Locate(t.Context(), r); !errors.Is(err, message.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	found, o, err := q.Scan(t.Context(), r.ID)
	if err != nil || found != r || o.State != message.StateQueued {
		t.Errorf("scan: %v, %v, %v", found, o, err)
	}
	if _, _, err := q.Scan(t.Context(), msg("b").ID); !errors.Is(err, message.ErrNotFound) {
		t.Errorf("scan for nothing: %v", err)
	}
}

// Two processes write to one directory, each to lanes of its own, and either may
// drain both.
func TestTwoProcessesShareADirectory(t *testing.T) {
	dir := t.TempDir()
	first := start(t, options(dir), queue.Deps{})
	second := start(t, options(dir), queue.Deps{})
	a, b := appendOne(t, first.Queue, "a"), appendOne(t, second.Queue, "b")
	if a.Lane == b.Lane {
		t.Errorf("both wrote to lane %s", a.Lane)
	}
	for range 2 {
		c := claim(t, first.Queue)
		msgs, err := c.Next(t.Context(), 10)
		if err != nil || len(msgs) != 1 {
			t.Fatalf("%d messages of chain %s: %v", len(msgs), c.ID(), err)
		}
		defer c.Release(context.Background())
	}
}

func TestOpenReportsWhereItCannotWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(file, "queue"), filepath.Join(t.TempDir(), "missing", "queue")} {
		if _, err := queue.Open(options(dir), queue.Deps{}); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestClosedQueueRefuses(t *testing.T) {
	q := start(t, options(t.TempDir()), queue.Deps{})
	q.stop()
	if _, err := q.Append(t.Context(), []message.Message{msg("x")}); !errors.Is(err, message.ErrNotStored) {
		t.Errorf("append to a closed queue: %v", err)
	}
}

func TestConcurrentAppendsGetPlacesOfTheirOwn(t *testing.T) {
	q := start(t, options(t.TempDir()), queue.Deps{})
	var mu sync.Mutex
	got := map[uint64]string{}
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 50 {
				v := fmt.Sprintf("%d-%d", g, i)
				p, err := q.Append(context.Background(), []message.Message{msg(v)})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				got[p.Seq] = v
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, m := range drain(t, claim(t, q.Queue), 16*50) {
		if got[m.Seq] != string(m.Value) {
			t.Fatalf("seq %d: told %q, stored %q", m.Seq, got[m.Seq], m.Value)
		}
	}
}
