package forward

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sony/gobreaker/v2"

	"postroad/internal/message"
)

type holdError struct{}

func (holdError) Error() string { return "not permitted" }
func (holdError) Class() string { return classHold }

// probed is a hub that can be switched off.
type probed struct {
	mu    sync.Mutex
	err   error
	times []time.Time
}

func (p *probed) probe(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.times = append(p.times, time.Now())
	return p.err
}

func (p *probed) set(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err, p.times = err, nil
}

func (p *probed) seen() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.times
}

// watched runs a breaker over a hub, in a bubble, until the end.
func watched(t *testing.T, body func(t *testing.T, b *breaker, hub *probed)) {
	synctest.Test(t, func(t *testing.T) {
		hub := &probed{}
		b := newBreaker(DefaultOptions(), slog.New(slog.DiscardHandler), hub.probe, func(gobreaker.State) {})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.watch(ctx) }()
		body(t, b, hub)
		cancel()
		<-done
	})
}

func until(t *testing.T, b *breaker, want gobreaker.State, most time.Duration) {
	t.Helper()
	began := time.Now()
	for b.current() != want {
		if time.Since(began) > most {
			t.Fatalf("not %s after %v", want, most)
		}
		<-time.After(10 * time.Millisecond) // of the bubble's clock
	}
}

// One failure that a probe does not confirm opens nothing.
func TestBreakerNeedsFailedProbes(t *testing.T) {
	watched(t, func(t *testing.T, b *breaker, hub *probed) {
		for range 20 {
			b.report(errors.New("one broker of three"))
			<-time.After(time.Second)
		}
		if s := b.status(); s.State != "closed" || s.Cause != "" {
			t.Errorf("status %+v", s)
		}
		if n := len(hub.seen()); n != 20 {
			t.Errorf("%d probes for 20 failures", n)
		}
	})
}

func TestBreakerOpensAndCloses(t *testing.T) {
	watched(t, func(t *testing.T, b *breaker, hub *probed) {
		hub.set(errors.New("refused"))
		b.kick()
		until(t, b, gobreaker.StateOpen, 5*time.Second) // F3
		_, last := b.lastFailure()
		if s := b.status(); s.Cause != "refused" || last == nil {
			t.Errorf("status %+v, last error %v", s, last)
		}
		passed := make(chan *trial, 2)
		for range 2 {
			go func() {
				if tr, err := b.pass(t.Context(), passer{}); err == nil {
					passed <- tr
				}
			}()
		}
		<-time.After(10 * time.Minute)
		times := hub.seen()
		for i := 1; i < len(times); i++ {
			if d := times[i].Sub(times[i-1]); d > 3*time.Second {
				t.Errorf("%v between probes", d)
			}
		}
		if len(times) < 200 || len(passed) > 0 {
			t.Errorf("%d probes in 10 min, %d let through", len(times), len(passed))
		}
		hub.set(nil)
		back := time.Now()
		tr := <-passed
		if d := time.Since(back); d > 3*time.Second {
			t.Errorf("the first batch goes %v after the hub's return", d)
		}
		synctest.Wait()
		if tr == nil || len(passed) > 0 || b.current() != gobreaker.StateHalfOpen {
			t.Fatalf("half-open lets one batch go: state %s, %d more", b.current(), len(passed))
		}
		tr.end(errors.New("away again"))
		until(t, b, gobreaker.StateOpen, time.Second)
		tr = <-passed // the other one tries
		tr.end(nil)
		until(t, b, gobreaker.StateClosed, time.Second)
		if tr, err := b.pass(t.Context(), passer{}); tr != nil || err != nil {
			t.Errorf("closed, but pass gives %v, %v", tr, err)
		}
	})
}

// Where nobody has anything to send, an answer to a probe is enough.
func TestBreakerClosesWhenIdle(t *testing.T) {
	watched(t, func(t *testing.T, b *breaker, hub *probed) {
		hub.set(errors.New("refused"))
		b.kick()
		until(t, b, gobreaker.StateOpen, 5*time.Second)
		hub.set(nil)
		until(t, b, gobreaker.StateClosed, 4*time.Second)
		// and a second time: no trace of the first is left
		hub.set(errors.New("refused"))
		b.kick()
		until(t, b, gobreaker.StateOpen, 5*time.Second)
		hub.set(nil)
		until(t, b, gobreaker.StateClosed, 4*time.Second)
	})
}

// A hub that refuses us altogether is asked less often, and at most a minute
// apart.
func TestBreakerHolds(t *testing.T) {
	watched(t, func(t *testing.T, b *breaker, hub *probed) {
		hub.set(holdError{})
		b.kick()
		until(t, b, gobreaker.StateOpen, 5*time.Second)
		<-time.After(2 * time.Hour)
		times := hub.seen()
		for i := 1; i < len(times); i++ {
			if d := times[i].Sub(times[i-1]); d > time.Minute {
				t.Errorf("%v between probes", d)
			}
		}
		if n := len(times); n < 120 || n > 400 {
			t.Errorf("%d probes in two hours", n)
		}
	})
}

func TestPassEndsWithContext(t *testing.T) {
	watched(t, func(t *testing.T, b *breaker, hub *probed) {
		hub.set(errors.New("refused"))
		b.kick()
		until(t, b, gobreaker.StateOpen, 5*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.pass(ctx, passer{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("pass: %v", err)
		}
	})
}

func TestValidate(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Fatal("defaults:", err)
	}
	err := Options{}.Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) < 13 {
		t.Fatalf("not every problem is told: %v", err)
	}
}

func placeOf(seq uint64) message.Place { return message.Place{Lane: boardLane, Seq: seq} }

func TestPlaces(t *testing.T) {
	s := places{}
	all := []uint64{1, 63, 64, 65, 200, 1 << 40}
	for _, seq := range all {
		if !s.add(placeOf(seq)) || s.add(placeOf(seq)) {
			t.Errorf("seq %d is new not just the first time", seq)
		}
	}
	if s.remove(placeOf(2)) || s.remove(message.Place{Lane: "other", Seq: 1}) {
		t.Error("removed what is not there")
	}
	if !s.remove(placeOf(200)) || s.remove(placeOf(200)) {
		t.Error("200 is not there once")
	}
	if n := s.removeBelow(boardLane, 65); n != 3 {
		t.Errorf("%d below 65, want 3", n)
	}
	if n := s.removeBelow(boardLane, math.MaxUint64); n != 2 || len(s[boardLane]) != 0 {
		t.Errorf("%d left, want 2; then %v", n, s)
	}
}
