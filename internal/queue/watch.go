package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"postroad/internal/durable"
)

// watch decides by one value on disk, read again and again, whether who writes
// it is dead: once it has shown the same bytes for TTL and margin, by this
// process's clock, from the return of the first read of them to the start of
// the last one. The value may be anything, torn and empty included.
//
// A pause of its own between two reads longer than a quarter of TTL restarts
// it. Without that a watcher that is itself suspended would wake, read the same
// value twice, and end a lane whose writer is well.
//
// Of a heartbeat, that the file is not found is no value: a host may remember for
// a minute that a name was not there, and looks at a lane while it is being made.
// Without asking the server such a host would end the lane of a writer that is
// well, has acknowledged messages, and renews its heartbeat in time.
type watch struct {
	q    *Queue
	read func() ([]byte, error)
	// heartbeat names the file that is read, where a writer makes it before
	// anything depends on it; else empty. read then returns nil where it is not found.
	heartbeat string

	seen  []byte
	any   bool          // something was seen
	moved bool          // it has changed since: somebody writes it
	since time.Duration // return of the first read of seen
	last  time.Duration // return of the last read
	stood time.Duration // for how long seen has stood, where still reports true
}

func (q *Queue) newWatch(read func() ([]byte, error)) *watch { return &watch{q: q, read: read} }

// watchHeartbeat returns a watch of the heartbeat file of that name.
func (q *Queue) watchHeartbeat(name string) *watch {
	w := q.newWatch(func() ([]byte, error) { return readHeartbeat(q.deps.FS, name) })
	w.heartbeat = name
	return w
}

// still reads the value once and reports whether it has stood still long enough.
// An error leaves the watch as it was.
func (w *watch) still() (bool, error) {
	began := w.q.deps.Elapsed()
	value, err := w.read()
	if err != nil {
		return false, err
	}
	returned := w.q.deps.Elapsed()
	if same := w.any && bytes.Equal(value, w.seen) && (value == nil) == (w.seen == nil); !same || began-w.last > w.q.opts.TTL/4 {
		w.moved = w.moved || w.any && !same
		w.seen, w.any, w.since, w.last = bytes.Clone(value), true, returned, returned
		return false, nil
	}
	w.last = returned
	w.stood = began - w.since
	if w.stood < w.q.opts.TTL+w.q.opts.TakeoverMargin {
		return false, nil
	}
	if value != nil || w.heartbeat == "" {
		return true, nil
	}
	return w.isMissing()
}

// isMissing reports whether the heartbeat that was not found for so long is not
// there: it is made, empty, which succeeds only where it is not, and has a writer
// that is still to make it find that it cannot. Where it is there, the kernel has
// now been told, and the watch begins anew.
func (w *watch) isMissing() (bool, error) {
	err := w.q.onBallast(func() error { return durable.WriteNew(w.q.deps.FS, w.heartbeat, nil) })
	switch {
	case err == nil, missing(err): // made here; or removed with its directory
		return true, nil
	case errors.Is(err, fs.ErrExist):
		w.any = false
		return false, nil
	case isFull(err) && w.stood >= forgotten:
		return true, nil
	}
	return false, fmt.Errorf("make sure that heartbeat %s is missing: %w", w.heartbeat, err)
}

// forgotten is after what time no host remembers any more that a name was not
// there: twice the longest that Linux does with the defaults of its mounts. It
// counts where the server cannot be asked, since the share is full: what is
// wanted may be what makes room.
const forgotten = 2 * time.Minute

// watchInterval is how long to wait between two reads.
func (q *Queue) watchInterval() time.Duration { return q.opts.TTL / 20 }
