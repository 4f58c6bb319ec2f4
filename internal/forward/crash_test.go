package forward_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"postroad/internal/forward"
	"postroad/internal/kafka"
	"postroad/internal/message"
)

const crashWindow = 50 // the readers' look-back in these tests

// served counts the connections that a hub serves.
type served struct {
	net.Listener
	mu   sync.Mutex
	open int // guarded by mu
	less sync.Cond
}

type servedConn struct {
	net.Conn
	end func()
}

func (s *served) listen(network, addr string) (_ net.Listener, err error) {
	s.less.L = &s.mu
	s.Listener, err = net.Listen(network, addr) //nolint:noctx // the signature is the hub's
	return s, err
}

func (s *served) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.open++
	s.mu.Unlock()
	return servedConn{c, sync.OnceFunc(func() {
		s.mu.Lock()
		s.open--
		s.mu.Unlock()
		s.less.Broadcast()
	})}, nil
}

func (c servedConn) Close() error {
	c.end()
	return c.Conn.Close()
}

// idle waits until the hub has closed every connection, which it does when it has
// taken in all that its client sent: what a dead forwarder left under way may land
// behind its successor's read-back, and is not what these tests are about.
func (s *served) idle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.open > 0 {
		s.less.Wait()
	}
}

// life runs a forwarder over the store until it dies at a random point: after
// some answers of the hub, or some time. A death leaves what was saved, and
// what got into the hub.
func life(t *testing.T, rng *rand.Rand, st *store, sink forward.Sink) {
	t.Helper()
	o := testOptions()
	o.MaxInFlight, o.Batch, o.SaveMessages = 1+rng.IntN(400), 1+rng.IntN(60), 1+rng.IntN(300)
	src := sourceOf(st)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	left := rng.IntN(700)
	var mu sync.Mutex
	die := sync.OnceFunc(func() {
		src.all[0].kill()
		cancel()
	})
	f, err := forward.New(o, forward.Deps{Source: src, Sink: sink, InFlight: func(delta int) {
		mu.Lock()
		defer mu.Unlock()
		if left += min(delta, 0); left <= 0 && delta < 0 {
			die()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Duration(1+rng.IntN(400))*time.Millisecond, die)
	defer late.Stop()
	var client sync.WaitGroup
	client.Go(func() { // the client dies with the process: nothing is flushed
		<-ctx.Done()
		sink.Close()
	})
	if err := f.Run(ctx); err != nil {
		t.Fatal(err)
	}
	client.Wait()
}

// others writes enough of other stamps' messages to push everything before out
// of the readers' look-back.
func others(t *testing.T, addr string, from int) {
	t.Helper()
	s := newSink(t, addr)
	defer s.Close()
	var wg sync.WaitGroup
	all := make([]message.Stored, 3*(crashWindow+1))
	for i := range all {
		all[i] = msg(laneB, uint64(from+i))
		all[i].Key = nil
		wg.Add(1)
		err := s.Produce(&all[i], int32(i%3), s.Turn(), func(_ int64, err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

// crashes lets forwarders die over one store until the last one finishes, and
// tells what readers made of it.
func crashes(t *testing.T, seed uint64, wrap func(*kafka.Sink) forward.Sink) error {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	var hub served
	_, addr := startCluster(t, kfake.ListenFn(hub.listen))
	st := newStore("a")
	var want []message.Stored
	seq := uint64(1)
	for round := range 4 {
		more := msgs(laneA, seq, seq+uint64(rng.IntN(900)))
		seq += uint64(len(more))
		want = append(want, more...)
		st.append(more...)
		life(t, rng, st, wrap(newSink(t, addr)))
		hub.idle()
		others(t, addr, 1+round*1000)
	}
	_, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: wrap(newSink(t, addr))})
	st.await(t, fmt.Sprintf("seed %d: the end", seed), (*store).settled)
	stop()
	return judge(want, shown(t, addr, "messages", crashWindow))
}

func seeds(t *testing.T) (first, n uint64) {
	first, n = uint64(time.Now().UnixNano())%1e9, 12
	if testing.Short() {
		n = 5
	}
	t.Logf("seeds %d to %d", first, first+n-1)
	return first, n
}

// A kill must not double records for readers even if other stamps wrote more
// than W records since, and must lose none: DESIGN 6, hand-off.
func TestCrashesAtRandomPoints(t *testing.T) {
	first, n := seeds(t)
	for seed := first; seed < first+n; seed++ {
		if err := crashes(t, seed, func(s *kafka.Sink) forward.Sink { return s }); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// blind finds nothing when it reads back.
type blind struct{ *kafka.Sink }

func (blind) ReadBack(context.Context, []message.Mark, func(message.Place, message.Mark)) ([]message.Mark, error) {
	return nil, nil
}

// The sabotaged twin: without the read-back the same check must fail.
func TestCrashesWithoutReadBackAreCaught(t *testing.T) {
	first, n := seeds(t)
	for seed := first; seed < first+n; seed++ {
		if err := crashes(t, seed, func(s *kafka.Sink) forward.Sink { return blind{s} }); err != nil {
			return
		}
	}
	t.Error("no seed shows that the read-back is missing: the check is worth nothing")
}

// hasty takes its marks a little too far, as if progress were saved with the
// last acknowledged offset although messages before it are not settled.
type hasty struct{ *kafka.Sink }

func (h hasty) ReadBack(ctx context.Context, from []message.Mark, found func(message.Place, message.Mark)) ([]message.Mark, error) {
	ends, err := h.Ends(ctx, from)
	if err != nil {
		return nil, err
	}
	for i := range from {
		from[i].Offset += (ends[i].Offset - from[i].Offset) / 2
	}
	return h.Sink.ReadBack(ctx, from, found)
}

func TestCrashesWithHastyMarksAreCaught(t *testing.T) {
	first, n := seeds(t)
	for seed := first; seed < first+n; seed++ {
		if err := crashes(t, seed, func(s *kafka.Sink) forward.Sink { return hasty{s} }); err != nil {
			return
		}
	}
	t.Error("no seed shows that reading back begins too late: the check is worth nothing")
}
