package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestStackStopsFromTheTop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		st := newStack(slog.New(slog.DiscardHandler))
		for _, name := range []string{"queue", "forwarder", "gateway"} {
			st.push(layer{
				name: name,
				run: func(ctx context.Context) error {
					<-ctx.Done()
					<-time.After(time.Second) // in the bubble: draining takes a while
					order = append(order, "drained "+name)
					return nil
				},
				close: func() error { order = append(order, "closed "+name); return nil },
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := st.wait(ctx); err != nil {
			t.Fatal(err)
		}
		if err := st.stop(); err != nil {
			t.Fatal(err)
		}
		want := []string{"drained gateway", "closed gateway", "drained forwarder", "closed forwarder", "drained queue", "closed queue"}
		if !slices.Equal(order, want) {
			t.Errorf("order: %q", order)
		}
	})
}

func TestStackFailsWithItsFirstLayer(t *testing.T) {
	for name, run := range map[string]func(context.Context) error{
		"with an error":      func(context.Context) error { return errors.New("broken") },
		"without being told": func(context.Context) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newStack(slog.New(slog.DiscardHandler))
				st.push(layer{name: "sound", run: func(ctx context.Context) error { <-ctx.Done(); return nil }})
				st.push(layer{name: "faulty", run: run})
				if err := st.wait(t.Context()); err == nil {
					t.Error("no failure")
				}
				_ = st.stop()
			})
		})
	}
}

func TestStackDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := false
		release := make(chan struct{})
		st := newStack(slog.New(slog.DiscardHandler))
		st.push(layer{name: "lower", close: func() error { closed = true; return nil }})
		st.push(layer{name: "stuck", grace: time.Minute, run: func(context.Context) error { <-release; return nil }})
		began := time.Now()
		if err := st.stop(); err == nil {
			t.Error("a layer that does not stop is not reported")
		}
		if !closed || time.Since(began) != time.Minute {
			t.Errorf("after %v: layers below closed: %v", time.Since(began), closed)
		}
		close(release)
	})
}
