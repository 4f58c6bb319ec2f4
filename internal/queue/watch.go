package queue

import (
	"bytes"
	"time"
)

// watch decides by one value on disk, read again and again, whether who writes
// it is dead: once it has shown the same bytes for TTL and margin, by this
// process's clock, from the return of the first read of them to the start of
// the last one. The value may be anything, torn and empty included.
//
// A pause of its own between two reads longer than a quarter of TTL restarts
// it. Without that a watcher that is itself suspended would wake, read the same
// value twice, and end a lane whose writer is well.
type watch struct {
	q    *Queue
	read func() ([]byte, error)

	seen  []byte
	any   bool          // something was seen
	moved bool          // it has changed since: somebody writes it
	since time.Duration // return of the first read of seen
	last  time.Duration // return of the last read
}

func (q *Queue) newWatch(read func() ([]byte, error)) *watch { return &watch{q: q, read: read} }

// still reads the value once and reports whether it has stood still long enough.
// An error leaves the watch as it was.
func (w *watch) still() (bool, error) {
	began := w.q.deps.Elapsed()
	value, err := w.read()
	if err != nil {
		return false, err
	}
	returned := w.q.deps.Elapsed()
	if !w.any || began-w.last > w.q.opts.TTL/4 || !bytes.Equal(value, w.seen) {
		w.moved = w.moved || w.any && !bytes.Equal(value, w.seen)
		w.seen, w.any, w.since, w.last = bytes.Clone(value), true, returned, returned
		return false, nil
	}
	w.last = returned
	return began-w.since >= w.q.opts.TTL+w.q.opts.TakeoverMargin, nil
}

// watchInterval is how long to wait between two reads.
func (q *Queue) watchInterval() time.Duration { return q.opts.TTL / 20 }
