package live

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// asker asks the hub for a topic's bounds, for any number of callers at once: who
// comes while an answer is under way waits for the next one, since that answer may
// be older than his question.
type asker struct {
	engine *Engine
	name   string

	mu   sync.Mutex
	next *answer // for those who came since the last question was sent
	busy bool
}

type answer struct {
	done   chan struct{}
	bounds []Bounds
	err    error
}

const boundsTimeout = 10 * time.Second

func (a *asker) ask(ctx context.Context) ([]Bounds, error) {
	a.mu.Lock()
	if a.next == nil {
		a.next = &answer{done: make(chan struct{})}
	}
	mine := a.next
	if !a.busy {
		a.busy = a.engine.spawn(a.work)
		if !a.busy {
			a.next = nil
			a.mu.Unlock()
			return nil, fmt.Errorf("the engine has ended: %w", ErrNotReady)
		}
	}
	a.mu.Unlock()
	select {
	case <-mine.done:
		return mine.bounds, mine.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *asker) work(ctx context.Context) {
	for {
		a.mu.Lock()
		mine := a.next
		a.next = nil
		a.busy = mine != nil
		a.mu.Unlock()
		if mine == nil {
			return
		}
		within, cancel := context.WithTimeout(ctx, boundsTimeout)
		mine.bounds, mine.err = a.engine.deps.Log.Bounds(within, a.name)
		cancel()
		if mine.err != nil {
			mine.err = fmt.Errorf("bounds of topic %q: %w", a.name, mine.err)
		}
		close(mine.done)
	}
}
