package auth

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// lookEvery is how long a file counts as it was, so that a flood of requests
// does not become one of system calls.
const lookEvery = 250 * time.Millisecond

// watched is what a file says. It is read again when its time or size has
// changed; while it cannot be read, or says nothing of use, the last value stays
// good: a file is often replaced in two steps. It is safe for concurrent use.
type watched[T any] struct {
	file string
	// most is the largest file that is read, in bytes.
	most  int64
	parse func([]byte) (T, error)

	mu     sync.Mutex
	looked time.Time // guarded by mu, and all below: when the file was looked at
	size   int64
	mod    time.Time
	known  bool // value was read once
	value  T
	err    error // of the last look
}

// get returns the last value that was good. The error is that of the last look,
// and is given only where there was none.
func (w *watched[T]) get() (T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Sub(w.looked) < lookEvery && (w.known || w.err != nil) {
		return w.result()
	}
	w.looked = now
	info, err := os.Stat(w.file)
	if err == nil && w.err == nil && w.known && info.Size() == w.size && info.ModTime().Equal(w.mod) {
		return w.value, nil
	}
	if err == nil {
		var value T
		if value, err = w.read(); err == nil {
			w.value, w.known, w.err, w.size, w.mod = value, true, nil, info.Size(), info.ModTime()
			return w.value, nil
		}
	}
	w.err = err
	return w.result()
}

// result is what is known. The caller holds mu.
func (w *watched[T]) result() (T, error) {
	if w.known {
		return w.value, nil
	}
	return w.value, w.err
}

func (w *watched[T]) read() (T, error) {
	var none T
	f, err := os.Open(w.file)
	if err != nil {
		return none, err
	}
	defer f.Close() //nolint:errcheck // opened for reading: nothing to lose
	b, err := io.ReadAll(io.LimitReader(f, w.most+1))
	if err != nil {
		return none, err
	}
	if int64(len(b)) > w.most {
		return none, fmt.Errorf("it has more than %d bytes", w.most)
	}
	return w.parse(b)
}
