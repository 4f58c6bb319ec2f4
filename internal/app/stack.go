package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// layer is one running part of a process.
type layer struct {
	name string
	// run works until its context ends and returns once it has drained; nil
	// where the part has no loop of its own.
	run func(ctx context.Context) error
	// close gives back what the part holds, after run has returned; may be nil.
	close func() error
	// grace is how long run may take to drain before the stack goes on
	// without it.
	grace time.Duration

	cancel context.CancelFunc
	done   chan error
}

// defaultGrace is a layer's grace where it sets none: longer than any deadline
// that the parts set themselves.
const defaultGrace = 30 * time.Second

// stack starts layers and stops them in the opposite order.
type stack struct {
	log    *slog.Logger
	layers []*layer
	failed chan error
}

func newStack(log *slog.Logger) *stack {
	return &stack{log: log, failed: make(chan error, 1)}
}

// push starts a layer above those that are there.
func (s *stack) push(l layer) {
	if l.grace == 0 {
		l.grace = defaultGrace
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel, l.done = cancel, make(chan error, 1)
	s.layers = append(s.layers, &l)
	if l.run == nil {
		l.done <- nil
		return
	}
	go func() {
		err := l.run(ctx)
		if ctx.Err() == nil { // nobody asked it to stop
			if err == nil {
				err = errors.New("stopped by itself")
			}
			select {
			case s.failed <- fmt.Errorf("%s: %w", l.name, err):
			default:
			}
		}
		l.done <- err
	}()
}

// wait returns nil when ctx ends, or the first failure of a layer.
func (s *stack) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return err
	}
}

// stop ends all layers, the last one first, and returns what went wrong.
func (s *stack) stop() error {
	var errs []error
	for len(s.layers) > 0 {
		l := s.layers[len(s.layers)-1]
		s.layers = s.layers[:len(s.layers)-1]
		errs = append(errs, s.end(l))
	}
	return errors.Join(errs...)
}

func (s *stack) end(l *layer) error {
	l.cancel()
	timer := time.NewTimer(l.grace)
	defer timer.Stop()
	select {
	case err := <-l.done:
		if err != nil {
			err = fmt.Errorf("stop %s: %w", l.name, err)
		}
		if l.close != nil {
			if cerr := l.close(); cerr != nil {
				err = errors.Join(err, fmt.Errorf("close %s: %w", l.name, cerr))
			}
		}
		s.log.Debug("stopped", "part", l.name)
		return err
	case <-timer.C:
		return fmt.Errorf("stop %s: not done after %v", l.name, l.grace)
	}
}
