package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// rawLog is the floor of a durable log: callers hand in bytes, one committer
// writes all that came in meanwhile by one write, calls fdatasync once and
// answers all. No format, no checks, no fence. It appends to files that grow,
// and begins a new one where the queue would.
type rawLog struct {
	dir  string
	file *os.File
	n    int   // files so far
	size int64 // of the current one

	syncs atomic.Int64

	mu      sync.Mutex
	waiting *rawBatch     // guarded by mu
	kick    chan struct{} // has a token where something waits
	ended   chan struct{} // closed when the committer has ended
}

type rawBatch struct {
	bytes []byte
	done  chan struct{}
	err   error // set before done is closed
}

// rawFileBytes is where a new file begins: the size of the queue's segments.
const rawFileBytes = 64 << 20

func newRawBatch() *rawBatch { return &rawBatch{done: make(chan struct{})} }

// openRawLog begins a log in a directory of its own. The committer runs until
// ctx ends.
func openRawLog(ctx context.Context, dir string) (*rawLog, error) {
	l := &rawLog{dir: dir, waiting: newRawBatch(), kick: make(chan struct{}, 1), ended: make(chan struct{})}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := l.next(); err != nil {
		return nil, err
	}
	go l.commit(ctx)
	return l, nil
}

// append returns once b is on stable storage.
func (l *rawLog) append(b []byte) error {
	l.mu.Lock()
	batch := l.waiting
	batch.bytes = append(batch.bytes, b...)
	l.mu.Unlock()
	select {
	case l.kick <- struct{}{}:
	default:
	}
	select {
	case <-batch.done:
		return batch.err
	case <-l.ended:
		return errors.New("the raw log is closed")
	}
}

func (l *rawLog) commit(ctx context.Context) {
	defer close(l.ended)
	defer l.file.Close() //nolint:errcheck // what matters was synced
	spare := newRawBatch().bytes
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.kick:
		}
		l.mu.Lock()
		batch := l.waiting
		l.waiting = newRawBatch()
		l.waiting.bytes = spare[:0]
		l.mu.Unlock()
		if len(batch.bytes) > 0 {
			batch.err = l.write(batch.bytes)
		}
		spare = batch.bytes
		close(batch.done)
	}
}

func (l *rawLog) write(b []byte) error {
	if l.size+int64(len(b)) > rawFileBytes {
		if err := l.next(); err != nil {
			return err
		}
	}
	if _, err := l.file.Write(b); err != nil {
		return err
	}
	l.size += int64(len(b))
	l.syncs.Add(1)
	return unix.Fdatasync(int(l.file.Fd()))
}

// next goes on to a new file; the one before is removed, as nobody reads it.
func (l *rawLog) next() error {
	if l.file != nil {
		if err := errors.Join(l.file.Close(), os.Remove(l.file.Name())); err != nil {
			return err
		}
	}
	l.n++
	f, err := os.Create(filepath.Join(l.dir, fmt.Sprintf("%06d", l.n)))
	if err != nil {
		return err
	}
	l.file, l.size = f, 0
	return nil
}

// hammer calls act over and over from n callers, each after the one before has
// returned, and returns the calls per second within d. Counting begins once
// each caller has been answered.
func hammer(ctx context.Context, n int, d time.Duration, act func() error) (float64, error) {
	var warm, all sync.WaitGroup
	begin := make(chan struct{})
	var end time.Time // set before begin is closed
	counts, errs := make([]int64, n), make([]error, n)
	warm.Add(n)
	for i := range n {
		all.Go(func() {
			errs[i] = act()
			warm.Done()
			<-begin
			for errs[i] == nil && ctx.Err() == nil {
				if errs[i] = act(); time.Now().After(end) {
					return
				}
				counts[i]++
			}
		})
	}
	warm.Wait()
	began := time.Now()
	end = began.Add(d)
	close(begin)
	all.Wait()
	total := int64(0)
	for _, c := range counts {
		total += c
	}
	return perSecond(total, d, int64(n), time.Since(began)), errors.Join(append(errs, ctx.Err())...)
}

// syncTimer measures the disk alone: a small write into bytes that are there
// already, and fdatasync.
type syncTimer struct {
	file *os.File
	at   int64
}

// syncBytes is the size of the write that is timed, and syncFileBytes the room
// it goes round in.
const (
	syncBytes     = 512
	syncFileBytes = 1 << 20
)

func newSyncTimer(dir string) (*syncTimer, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(make([]byte, syncFileBytes)); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &syncTimer{file: f}, nil
}

// time returns how long one write and sync took.
func (s *syncTimer) time() (time.Duration, error) {
	b := make([]byte, syncBytes)
	b[0] = byte(s.at / syncBytes)
	began := time.Now()
	if _, err := s.file.WriteAt(b, s.at); err != nil {
		return 0, err
	}
	err := unix.Fdatasync(int(s.file.Fd()))
	s.at = (s.at + syncBytes) % syncFileBytes
	return time.Since(began), err
}

func (s *syncTimer) close() error { return s.file.Close() }
