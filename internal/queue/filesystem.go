package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"postroad/internal/durable"
)

// errUnsafe says that a queue may not stand on this file system.
var errUnsafe = errors.New("unsafe file system")

// lookAtFileSystem refuses a file system on which what was acknowledged could
// be lost, and says what depends on how it is mounted. It is the first thing
// that Open does: where it is refused, nothing has been made.
func (q *Queue) lookAtFileSystem() error {
	q.zeroFill = q.opts.ZeroFill == "always"
	looker, ok := q.deps.FS.(interface {
		Support(dir string) (durable.Support, error)
	})
	if !ok {
		return nil
	}
	s, err := looker.Support(q.opts.Dir)
	if errors.Is(err, fs.ErrNotExist) { // it is made in the one above
		s, err = looker.Support(path.Dir(q.opts.Dir))
	}
	if err != nil {
		return fmt.Errorf("look at the file system: %w", err)
	}
	q.fileSystem = s
	q.zeroFill = q.zeroFill || q.opts.ZeroFill == "auto" && s.FillsZero
	switch s.Verdict {
	case durable.Refused:
		if !q.opts.UnsafeFileSystem {
			return fmt.Errorf("%w: %s: %s (unsafe_file_system goes on all the same; docs/filesystems.md)", errUnsafe, s.Summary(), s.Why())
		}
		q.deps.Log.Error("unsafe file system used all the same: acknowledged messages may be lost",
			"dir", q.opts.Dir, "file_system", s.Type, "mount", s.Mount, "reasons", s.Reasons)
	case durable.Remarked:
		q.deps.Log.Warn("file system with remarks", "dir", q.opts.Dir, "file_system", s.Type, "mount", s.Mount, "reasons", s.Reasons)
	}
	if len(s.Notes) > 0 {
		q.deps.Log.Info("about this file system", "file_system", s.Type, "notes", s.Notes)
	}
	return nil
}
