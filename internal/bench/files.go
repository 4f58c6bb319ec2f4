package bench

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
)

// files is the classic way to keep messages: each in a file of its own, which
// is synced, and its directory with it, before the answer.
type files struct {
	dir   string
	sync  *os.File // the directory, open to be synced
	n     atomic.Int64
	syncs atomic.Int64
}

func openFiles(dir string) (*files, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return &files{dir: dir, sync: d}, nil
}

// put returns once a new file with b in it is on stable storage, by content and
// by name.
func (s *files) put(b []byte) error {
	f, err := os.OpenFile(s.name(s.n.Add(1)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	s.syncs.Add(2)
	return s.sync.Sync()
}

func (s *files) name(n int64) string { return filepath.Join(s.dir, fmt.Sprintf("%012d.json", n)) }

// clear removes the files, which nobody reads.
func (s *files) clear() error {
	for n := s.n.Load(); n > 0; n-- {
		if err := os.Remove(s.name(n)); err != nil {
			return err
		}
	}
	s.n.Store(0)
	return nil
}

func (s *files) close() error { return s.sync.Close() }

// ServeHTTP keeps the body of a POST and answers as the no-op handler does.
func (s *files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if err := s.put(body); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, err.Error()) // the client is gone then
		return
	}
	answer(w)
}
