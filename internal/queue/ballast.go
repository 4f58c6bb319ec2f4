package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"sync"
	"time"

	"postroad/internal/durable"
)

// ballastFileName is a file that is only there to be deleted.
const ballastFileName = "ballast"

func (l layout) ballast() string { return path.Join(l.dir, ballastFileName) }

// ballastStep is how much of the ballast is written at once, in bytes.
const ballastStep = 1 << 20

// ballastPatience is how long a ballast may be too short without growing before
// it is taken for one whose maker died, and made anew.
const ballastPatience = time.Minute

// ballast is what a draining process knows of the file. Nothing is concluded
// from it about any message.
type ballast struct {
	mu sync.Mutex // held while this process makes or deletes it
	// waiting says that a short one was seen, short is its length, since is
	// Elapsed when it was first seen with that; owned by retainLoop.
	waiting bool
	short   int64
	since   time.Duration
}

// keepBallast makes the ballast where it is missing and there is room for it
// above the relief mark, so that neither making it costs anybody's history, nor
// deleting it is followed by making it again.
func (q *Queue) keepBallast(ctx context.Context, space durable.Space) error {
	want := q.opts.BallastBytes
	if want == 0 {
		return nil
	}
	size, err := q.ballastSize()
	switch {
	case err != nil:
		return err
	case size >= want:
		q.ballast.waiting = false
		return nil
	case space.Free < want+q.reliefMark() || q.quotaShort(want):
		return nil
	case size >= 0 && !q.ballastAbandoned(size):
		return nil // somebody is making it
	}
	q.ballast.mu.Lock()
	defer q.ballast.mu.Unlock()
	if size >= 0 {
		if err := q.deps.FS.Remove(q.at.ballast()); err != nil && !missing(err) {
			return fmt.Errorf("short ballast: %w", err)
		}
	}
	err = q.makeBallast(ctx, want)
	if errors.Is(err, fs.ErrExist) { // another process was quicker
		return nil
	}
	if err != nil {
		return fmt.Errorf("ballast: %w", err)
	}
	q.deps.Log.Info("ballast made", "bytes", want)
	return nil
}

// ballastSize is the length of the file; -1 where there is none.
func (q *Queue) ballastSize() (int64, error) {
	f, err := q.deps.FS.Open(q.at.ballast())
	if missing(err) {
		return -1, nil
	}
	if err != nil {
		return 0, err
	}
	size, err := f.Size()
	return size, errors.Join(err, f.Close())
}

// ballastMissing is how many bytes the ballast has given to who drains: nobody
// else may take them, or it would have been deleted for more messages.
func (q *Queue) ballastMissing() int64 {
	if q.opts.BallastBytes == 0 {
		return 0
	}
	size, err := q.ballastSize()
	if err != nil {
		return 0
	}
	return max(0, q.opts.BallastBytes-max(0, size))
}

// ballastAbandoned reports whether a short ballast has not grown for so long
// that whoever made it must be dead.
func (q *Queue) ballastAbandoned(size int64) bool {
	now := q.deps.Elapsed()
	if !q.ballast.waiting || q.ballast.short != size {
		q.ballast.waiting, q.ballast.short, q.ballast.since = true, size, now
	}
	return now-q.ballast.since >= ballastPatience
}

// makeBallast creates the file and fills it with bytes that no file system can
// store as less than they are: zeros may take no space at all, and a repeated
// pattern little. System calls: open(O_CREAT|O_EXCL), pwrite…, fdatasync, fsync
// of the directory; after an error unlink.
func (q *Queue) makeBallast(ctx context.Context, size int64) (err error) {
	f, err := q.deps.FS.Create(q.at.ballast())
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, q.deps.FS.Remove(q.at.ballast()))
		}
	}()
	noise := rand.NewChaCha8([32]byte([]byte(q.self.Process + "ballast")[:32]))
	step := make([]byte, min(ballastStep, size))
	for at := int64(0); at < size && err == nil; at += int64(len(step)) {
		_, _ = noise.Read(step) // never fails
		if _, err = f.WriteAt(step[:min(int64(len(step)), size-at)], at); err == nil {
			err = ctx.Err()
		}
	}
	if err == nil {
		err = f.Datasync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return q.deps.FS.SyncDir(q.opts.Dir)
}

// dropBallast deletes the ballast where err says that a draining process found
// no space for what it needs, and reports whether that may have made some. What
// it needs is little, and brings back a multiple: a claim is followed by the
// removal of what it forwards.
func (q *Queue) dropBallast(err error) bool {
	if !isFull(err) {
		return false
	}
	q.ballast.mu.Lock()
	defer q.ballast.mu.Unlock()
	switch removed := q.deps.FS.Remove(q.at.ballast()); {
	case missing(removed):
		return false
	case removed != nil:
		q.deps.Log.Error("disk full, and the ballast cannot be deleted", "err", removed)
		return false
	}
	q.deps.Log.Warn("disk full: ballast deleted to go on draining", "for", err)
	q.metrics.ballastDropped.Inc()
	return true
}

// onBallast does what a draining process cannot do without, once more on the
// space of the ballast where there was none.
func (q *Queue) onBallast(act func() error) error {
	err := act()
	if q.dropBallast(err) {
		err = act()
	}
	return err
}

// acquireOnBallast is acquire for a forwarder.
func (q *Queue) acquireOnBallast(c *chain) (claim *Claim, err error) {
	fell := c.whatFell()
	err = q.onBallast(func() error {
		claim, err = q.acquire(c, fell)
		return err
	})
	return claim, err
}

// presenceOnBallast is newPresence for a process that is to drain.
func (q *Queue) presenceOnBallast() (p *presence, err error) {
	err = q.onBallast(func() error {
		p, err = q.newPresence()
		return err
	})
	return p, err
}
