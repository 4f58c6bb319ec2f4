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
	// missing are the messages that caughtUp waits for, came is closed once
	// there are none. Guarded by mu. The reader crosses them off: to look again
	// and again for all of them would keep the reader itself from its work, the
	// more the longer the run.
	missing map[Print]struct{}
	came    chan struct{}
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
	if _, awaited := f.missing[p]; awaited {
		delete(f.missing, p)
		if len(f.missing) == 0 {
			close(f.came)
		}
	}
	return nil
}

func (f *follower) stop() error {
	f.cancel()
	return <-f.done
}

// caughtUp waits until all that was acknowledged by a time, which has passed, has
// been seen, and returns when the last of it was. One may wait at a time.
func (f *follower) caughtUp(ctx context.Context, l *Ledger, by time.Time, limit time.Duration) (last time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	awaited := l.acknowledged(by)
	select {
	case <-f.await(awaited):
	case <-ctx.Done():
		f.mu.Lock()
		defer f.mu.Unlock()
		return last, fmt.Errorf("wait until all that was acknowledged is seen: %w: %d messages are missing", ctx.Err(), len(f.missing))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range awaited {
		if at := f.seen[p]; at.After(last) {
			last = at
		}
	}
	return last, nil
}

// await returns a channel that is closed once all of these have been seen.
func (f *follower) await(prints []Print) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.missing, f.came = make(map[Print]struct{}), make(chan struct{})
	for _, p := range prints {
		if _, ok := f.seen[p]; !ok {
			f.missing[p] = struct{}{}
		}
	}
	if len(f.missing) == 0 {
		close(f.came)
	}
	return f.came
}
