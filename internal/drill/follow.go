package drill

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// follower reads a topic while it grows, as a reader does, and notes when each
// message was first seen.
type follower struct {
	cancel context.CancelFunc
	done   chan error

	mu   sync.Mutex
	seen map[Print]time.Time // guarded by mu
}

// follow starts a follower; stop ends it.
func (b *Binary) follow(ctx context.Context, hub, topic string) *follower {
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{cancel: cancel, done: make(chan error, 1), seen: make(map[Print]time.Time)}
	go func() {
		err := b.tail(ctx, hub, topic, f.saw)
		if ctx.Err() != nil {
			err = nil // it was told to end, which looks like a failure
		}
		f.done <- err
	}()
	return f
}

func (f *follower) saw(r Record) error {
	p, now := r.Print(), time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, again := f.seen[p]; !again {
		f.seen[p] = now
	}
	return nil
}

func (f *follower) stop() error {
	f.cancel()
	return <-f.done
}

// caughtUp waits until all that was acknowledged by a time has been seen, and
// returns when the last of it was.
func (f *follower) caughtUp(ctx context.Context, l *Ledger, by time.Time, limit time.Duration) (time.Time, error) {
	var last time.Time
	missing := 0
	err := Until(ctx, limit, "all that was acknowledged is seen", func() (bool, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		last, missing = time.Time{}, 0
		l.each(by, func(prints []Print) {
			for _, p := range prints {
				at, ok := f.seen[p]
				if !ok {
					missing++
				}
				if at.After(last) {
					last = at
				}
			}
		})
		return missing == 0, nil
	})
	if err != nil {
		return last, fmt.Errorf("%w: %d messages are missing", err, missing)
	}
	return last, nil
}
