package queue

import (
	"context"
	"errors"
	"fmt"
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
	metrics    *metrics

	// keys are written beside the messages.
	keys *keyLog

	// own is the chain of this process's lanes.
	own *chain
	// known are the chains and lanes of the directory that this process knows.
	known registry
	// present is the heartbeat that this process's claims name; nil where it
	// does not drain, or cannot renew one now.
	present atomic.Pointer[presence]

	mu        sync.Mutex
	gathering *batch // guarded by mu
	refuse    error  // guarded by mu: set once closing
	trouble   error  // guarded by mu: why Append would fail now
	kick      chan struct{}
	untouched []string // guarded by mu: directories that Run is to have touched

	// Owned by the committer.
	writer   *writer
	lastLane string
	noLane   error
	stuck    bool // the lane's next segment has no room
	lastTry  time.Duration
	// wary is set while a lack of space was met and no lane has opened since,
	// short while the lane may not grow. See room and lookAtRoom.
	wary  atomic.Bool
	short atomic.Pointer[error]
	use   use
	// cut is when the newest message was written of those that were removed
	// before their time.
	cut     atomic.Pointer[time.Time]
	ballast ballast
	reopen  *time.Timer

	// beating is the lane whose heartbeat is renewed; beatMu is held while it
	// is, so that a lane is not closed under a renewal.
	beating atomic.Pointer[writer]
	beatMu  turn

	claimable chan *chain
	closing   chan struct{}
	// reading bounds how many chains of others are read through at once.
	reading chan struct{}
	// running is Run's context, for what is begun by others while it runs.
	running atomic.Pointer[context.Context]
	// tending counts the goroutines that look after chains and lanes of others.
	tending sync.WaitGroup
	// damaged counts acknowledged messages that could not be read back.
	damaged atomic.Uint64
}

// turn is a lock that is held across operations of the file system, which may
// take long. It is a channel so that a test in virtual time, which stands still
// while anybody waits for a mutex, can have one take long.
type turn chan struct{}

func (t turn) Lock()   { t <- struct{}{} }
func (t turn) Unlock() { <-t }

// claimableChains is how many chains may wait for a forwarder without a
// goroutine each.
const claimableChains = 1024

// chainReaders is how many chains of others are looked through at once.
const chainReaders = 4

// Open opens the directory, makes what is missing of it, and opens a lane where
// this process writes, so that a directory that cannot be written to is an error
// now. Append works once Run runs. Lanes of other processes are looked for by
// Run, so that a large backlog does not delay the first message.
func Open(opts Options, deps Deps) (q *Queue, err error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	q = &Queue{
		opts: opts, deps: deps.withDefaults(), at: layout{opts.Dir},
		gathering: newBatch(), kick: make(chan struct{}, 1),
		claimable: make(chan *chain, claimableChains), closing: make(chan struct{}),
		reading: make(chan struct{}, chainReaders), beatMu: make(turn, 1),
	}
	if q.self, err = thisProcess(ulid.Make().String()); err != nil {
		return nil, err
	}
	if err := q.openDirectory(); err != nil {
		return nil, fmt.Errorf("open queue %s: %w", opts.Dir, err)
	}
	q.own = newChain(q, q.self.Process)
	q.known.add(q.own)
	q.reopen = time.NewTimer(reopenInterval)
	q.reopen.Stop()
	q.metrics = newMetrics(q, deps.Registerer)
	q.keys = newKeyLog(q)
	if deps.Part.drains() {
		p, err := q.presenceOnBallast()
		if err != nil && !errors.Is(err, message.ErrFull) { // else the heartbeat loop tries again
			return nil, fmt.Errorf("open queue %s: %w", opts.Dir, err)
		}
		if err == nil {
			q.present.Store(p)
		}
	}
	if deps.Part.writes() && !q.tryOpen() && !errors.Is(q.noLane, message.ErrFull) {
		err := fmt.Errorf("open queue %s: %w", opts.Dir, q.noLane)
		if p := q.present.Load(); p != nil {
			p.remove()
		}
		return nil, err
	}
	return q, nil
}

func (q *Queue) openDirectory() error {
	fsys := q.deps.FS
	if err := q.lookAtFileSystem(); err != nil {
		return err
	}
	for _, dir := range []string{q.opts.Dir, q.at.lanes(), q.at.claims(), q.at.processes(), q.at.quarantine()} {
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
	return nil
}

// Run works until ctx ends: commits, heartbeats, takeovers, retention. It then
// refuses further requests, makes durable and answers those it has, and closes
// the lane with its own fence. Claims may still Save and Release until Close.
func (q *Queue) Run(ctx context.Context) error {
	q.mu.Lock()
	q.running.Store(&ctx)
	untouched := q.untouched
	q.mu.Unlock()
	for _, dir := range untouched {
		q.touchLater(dir)
	}
	stop, beating := make(chan struct{}), make(chan struct{})
	var wg, beat sync.WaitGroup
	beat.Go(func() { q.beatLoop(beating) })
	if q.deps.Part.writes() {
		wg.Go(func() { q.commitLoop(stop) })
		wg.Go(func() { q.roomLoop(ctx) })
	}
	if q.deps.Part.drains() {
		wg.Go(func() { q.rescanLoop(ctx) })
		wg.Go(func() { q.retainLoop(ctx) })
	}
	written := make(chan struct{})
	var keys sync.WaitGroup
	keys.Go(func() { q.keys.loop(written) })
	wg.Go(func() { q.measureLoop(ctx) })
	<-ctx.Done()
	close(stop)
	wg.Wait()
	close(written)
	keys.Wait()
	close(beating)
	beat.Wait()
	q.tending.Wait()
	q.own.finish()
	return nil
}

// Close gives the directory up, after Run has returned and claims are released.
func (q *Queue) Close() error {
	close(q.closing)
	if q.writer != nil { // Run never ran
		q.endLane("closed by its writer")
	}
	if p := q.present.Swap(nil); p != nil {
		p.remove()
	}
	return nil
}

// Ready reports why Append would fail now, or, of a process that only drains,
// why it can claim nothing; else nil.
func (q *Queue) Ready() error {
	if !q.deps.Part.writes() {
		return q.Overdue()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.refuse != nil {
		return q.refuse
	}
	if q.trouble != nil {
		return q.trouble
	}
	return q.tight()
}
