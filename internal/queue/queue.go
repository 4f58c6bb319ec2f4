package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"postroad/internal/durable"
	"postroad/internal/message"
)

// Queue is an open queue directory. Append, Claim, Locate, Scan and Status are
// safe for concurrent use between Open and the end of Run.
type Queue struct {
	opts     Options
	deps     Deps
	at       layout
	self     owner
	zeroFill bool
	// fileSystem is what the directory stands on; zero where the FS does not say.
	fileSystem durable.Support
	lock       io.Closer
	metrics    *metrics

	// keys are written beside the messages.
	keys *keyLog

	// own is the chain of this process's lanes; old are those found at start.
	own *chain
	old []*chain

	mu        sync.Mutex
	gathering *batch // guarded by mu
	refuse    error  // guarded by mu: set once closing
	trouble   error  // guarded by mu: why Append would fail now
	kick      chan struct{}

	// Owned by the committer.
	writer   *writer
	lastLane string
	noLane   error
	stuck    bool // the lane's next segment has no room
	lastTry  time.Duration
	reopen   *time.Timer

	// beating is the lane whose heartbeat is renewed; beatMu is held while it
	// is, so that a lane is not closed under a renewal.
	beating atomic.Pointer[writer]
	beatMu  sync.Mutex

	claimable chan *chain
	closing   chan struct{}
	// reading bounds how many old chains are read through at once.
	reading chan struct{}
	// damaged counts acknowledged messages that could not be read back.
	damaged atomic.Uint64
}

// claimableChains is how many chains may wait for a forwarder without a
// goroutine each.
const claimableChains = 1024

// chainReaders is how many old chains are looked through at once at start.
const chainReaders = 4

// Open opens the directory, makes what is missing of it, and opens a lane, so
// that a directory that cannot be written to is an error now. Append works once
// Run runs.
func Open(opts Options, deps Deps) (q *Queue, err error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	q = &Queue{
		opts: opts, deps: deps.withDefaults(), at: layout{opts.Dir},
		gathering: newBatch(), kick: make(chan struct{}, 1),
		claimable: make(chan *chain, claimableChains), closing: make(chan struct{}),
		reading: make(chan struct{}, chainReaders),
	}
	if q.self, err = thisProcess(ulid.Make().String()); err != nil {
		return nil, err
	}
	if err := q.openDirectory(); err != nil {
		return nil, fmt.Errorf("open queue %s: %w", opts.Dir, err)
	}
	lock := q.lock
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	if q.old, err = q.loadChains(); err != nil {
		return nil, err
	}
	q.own = newChain(q, q.self.Process)
	q.reopen = time.NewTimer(reopenInterval)
	q.reopen.Stop()
	q.metrics = newMetrics(q, deps.Registerer)
	q.keys = newKeyLog(q)
	if !q.tryOpen() && !errors.Is(q.noLane, message.ErrFull) {
		return nil, fmt.Errorf("open queue %s: %w", opts.Dir, q.noLane)
	}
	return q, nil
}

func (q *Queue) openDirectory() error {
	fsys := q.deps.FS
	if err := q.lookAtFileSystem(); err != nil {
		return err
	}
	for _, dir := range []string{q.opts.Dir, q.at.lanes(), q.at.claims(), q.at.quarantine()} {
		// Not the directories above: below a share that is not mounted they
		// would appear on the machine's own disk.
		made := fsys.Mkdir(dir)
		if made != nil && !errors.Is(made, os.ErrExist) {
			return made
		}
		// Also where it exists: a process killed after its mkdir may have left
		// a name that the next power cut takes away, with all that was
		// acknowledged below it.
		if err := fsys.SyncDir(path.Dir(dir)); err != nil {
			if made == nil { // a second sync could report success for a name that is not durable
				err = errors.Join(err, fsys.Remove(dir))
			}
			return err
		}
	}
	q.lock = io.NopCloser(nil)
	if locker, ok := fsys.(interface {
		Lock(name string) (io.Closer, error)
	}); ok {
		lock, err := locker.Lock(q.at.lock())
		if err != nil {
			return fmt.Errorf("another process uses this directory: %w", err)
		}
		q.lock = lock
	}
	return nil
}

// Run works until ctx ends: commits, heartbeats, takeovers, retention. It then
// refuses further requests, makes durable and answers those it has, and closes
// the lane with its own fence. Claims may still Save and Release until Close.
func (q *Queue) Run(ctx context.Context) error {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { q.commitLoop(stop) })
	wg.Go(func() { q.beatLoop(stop) })
	wg.Go(func() { q.retainLoop(ctx) })
	for _, c := range q.old {
		wg.Go(func() { q.takeOver(ctx, c) })
	}
	written := make(chan struct{})
	var keys sync.WaitGroup
	keys.Go(func() { q.keys.loop(written) })
	<-ctx.Done()
	close(stop)
	wg.Wait()
	close(written)
	keys.Wait()
	q.own.finish()
	return nil
}

// Close gives the directory up, after Run has returned and claims are released.
func (q *Queue) Close() error {
	close(q.closing)
	if q.writer != nil { // Run never ran
		q.endLane("closed by its writer")
	}
	return q.lock.Close()
}

// Ready reports why Append would fail now, or nil.
func (q *Queue) Ready() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.refuse != nil {
		return q.refuse
	}
	return q.trouble
}

// chains returns all chains, oldest first.
func (q *Queue) chains() []*chain {
	return append(q.old[:len(q.old):len(q.old)], q.own)
}

// lanes returns all lanes, oldest first.
func (q *Queue) lanes() []*lane {
	var lanes []*lane
	for _, c := range q.chains() {
		lanes = append(lanes, c.snapshot()...)
	}
	return lanes
}
