package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"postroad/internal/drill"
	"postroad/internal/forward"
	"postroad/internal/gateway"
	"postroad/internal/httpserve"
	"postroad/internal/hub"
	"postroad/internal/kafka"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// topic takes all messages of the benchmarks.
const topic = "bench"

// running are parts that run, in the order of their start.
type running struct{ stops []func() error }

// run starts a part; stop ends it and returns its error.
func (r *running) run(name string, part func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- part(ctx) }()
	r.onStop(name, func() error {
		cancel()
		return <-done
	})
}

func (r *running) onStop(name string, stop func() error) {
	r.stops = append(r.stops, func() error {
		if err := stop(); err != nil {
			return fmt.Errorf("stop %s: %w", name, err)
		}
		return nil
	})
}

// stop ends all parts, the last one first.
func (r *running) stop() error {
	var errs []error
	for len(r.stops) > 0 {
		last := len(r.stops) - 1
		errs = append(errs, r.stops[last]())
		r.stops = r.stops[:last]
	}
	return errors.Join(errs...)
}

// stamp is the product from its listener to the hub: gateway, queue and, where
// it has a hub, forwarder, with their production settings.
type stamp struct {
	url string
	// accepted counts messages made durable, syncs how many syncs that took.
	accepted, syncs atomic.Int64

	queue   *queue.Queue
	forward *forward.Forwarder // nil without a hub
}

// Append implements gateway.Store.
func (s *stamp) Append(ctx context.Context, msgs []message.Message) (message.Place, error) {
	p, err := s.queue.Append(ctx, msgs)
	if err == nil {
		s.accepted.Add(int64(len(msgs)))
	}
	return p, err
}

// tracker is for the measurements, none of which asks what became of a message.
type tracker struct{ *queue.Queue }

// Await implements gateway.Tracker.
func (tracker) Await(_ context.Context, _ message.Place, n int) []message.Outcome {
	return make([]message.Outcome, n)
}

// source lets the forwarder claim the queue's chains.
type source struct{ queue *queue.Queue }

// Claim implements forward.Source.
func (s source) Claim(ctx context.Context) (forward.Chain, error) {
	c, err := s.queue.Claim(ctx)
	if err != nil {
		return nil, err // not c: a nil *queue.Claim is not a nil Chain
	}
	return c, nil
}

// startStamp starts a stamp in a directory that is empty. Without brokers it
// has no forwarder, and what it accepts stays in its queue.
func startStamp(r *running, dir string, brokers []string, log *slog.Logger) (_ *stamp, err error) {
	s := &stamp{}
	opts := queue.DefaultOptions()
	opts.Dir = filepath.ToSlash(dir)
	opts.UnsafeFileSystem = true // what is measured need not outlive the run
	if s.queue, err = queue.Open(opts, queue.Deps{
		Log: log, Stamp: "bench", Synced: func(int) { s.syncs.Add(1) },
	}); err != nil {
		return nil, err
	}
	r.onStop("close queue", s.queue.Close)
	r.run("queue", s.queue.Run)
	if brokers != nil {
		if err := s.startForwarder(r, brokers, log); err != nil {
			return nil, err
		}
	}
	g, err := gateway.New(gateway.DefaultOptions(), gateway.Deps{
		Store: s, Tracker: tracker{s.queue}, Log: log, Identity: gateway.Identity{Stamp: "bench", Hostname: "bench", Version: "bench"},
	})
	if err != nil {
		return nil, err
	}
	s.url, err = serve(r, "gateway", g.Handler(), log)
	return s, err
}

func (s *stamp) startForwarder(r *running, brokers []string, log *slog.Logger) error {
	opts := kafka.DefaultOptions()
	opts.Brokers = brokers
	sink, err := kafka.NewSink(opts, kafka.Deps{Log: log, Stamp: "bench"})
	if err != nil {
		return err
	}
	s.forward, err = forward.New(forward.DefaultOptions(), forward.Deps{Source: source{s.queue}, Sink: sink, Twins: sink, Log: log})
	if err != nil {
		sink.Close()
		return err
	}
	r.run("forwarder", s.forward.Run)
	return nil
}

func serve(r *running, name string, h http.Handler, log *slog.Logger) (url string, err error) {
	s, err := httpserve.New(httpserve.DefaultOptions(), h, httpserve.Deps{Log: log, Name: name})
	if err != nil {
		return "", err
	}
	r.run(name, s.Run)
	return s.URL(), nil
}

// startHub starts the embedded hub with its production settings but for the
// port.
func startHub(r *running, dir string, log *slog.Logger) (*hub.Hub, error) {
	opts := hub.DefaultOptions()
	opts.Listen, opts.Dir, opts.Topics = "127.0.0.1:0", dir, []string{topic}
	h, err := hub.New(opts, hub.Deps{Log: log})
	if err != nil {
		return nil, err
	}
	r.run("hub", h.Run)
	return h, nil
}

// noopAnswer is as long as the gateway's answer to one message.
const noopAnswer = `{"accepted":1,"ids":["00000000-0000-8000-8000-000000000000.01ARZ3NDEKTSV4RRFFQ69G5FAV.1"],` +
	`"stamp":"bench","lane":"01ARZ3NDEKTSV4RRFFQ69G5FAV","seq":1}`

// noop is the floor of an HTTP POST: it reads the body and answers.
func noop(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	answer(w)
}

// answer is what the handlers that stand beside the gateway say.
func answer(w http.ResponseWriter) {
	w.Header()["Content-Type"] = []string{"application/json"}
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, noopAnswer) // the client is gone then
}

// drainLimit bounds how long what a round left behind may take to go out.
const drainLimit = 5 * time.Minute

// drained waits until all that was accepted is in the hub, so that no round
// pays for the one before.
func (s *stamp) drained(ctx context.Context) error {
	if s.forward == nil {
		return nil
	}
	return drill.Until(ctx, drainLimit, "the round before is in the hub", func() (bool, error) {
		return s.forward.Status().ForwardedTotal >= s.accepted.Load(), nil
	})
}
