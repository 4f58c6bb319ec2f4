package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// FS is a file system. Names are slash-separated paths as package path makes
// them. Implementations are safe for concurrent use. Errors are those of
// package os: errors.Is finds fs.ErrNotExist, fs.ErrExist, syscall.ENOSPC, ….
type FS interface {
	// Create makes a new file for reading and writing. It fails with
	// fs.ErrExist where the name is taken. open(O_RDWR|O_CREAT|O_EXCL). The
	// name is durable only after SyncDir of its directory.
	Create(name string) (File, error)
	// Open opens a file for reading. open(O_RDONLY): on a share this is what
	// makes another host's writes visible (close-to-open).
	Open(name string) (File, error)
	// OpenWrite opens an existing file for reading and writing in place.
	// open(O_RDWR).
	OpenWrite(name string) (File, error)
	// Mkdir makes a directory; fs.ErrExist where the name is taken. mkdir.
	Mkdir(name string) error
	// ReadDir lists a directory in order of names. open, getdents.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Remove removes a file or an empty directory. unlink or rmdir.
	Remove(name string) error
	// SyncDir makes the names in a directory durable. open, fsync; EINVAL is
	// taken for success, since NFS and SMB may answer it where names are
	// durable on their own.
	SyncDir(name string) error
	// Touch gives a directory a new time of change, the server's own where it is
	// on a share: caches of it that other hosts have are then dropped.
	// utimensat.
	Touch(name string) error
	// Space tells how much room there is. statfs.
	Space(name string) (Space, error)
}

// File is an open file. ReadAt and WriteAt may run at the same time.
type File interface {
	io.ReaderAt // pread
	io.WriterAt // pwrite
	io.Closer   // close
	// Datasync returns once the content, and the size as far as reading the
	// content needs it, are on stable storage. fdatasync. After an error the
	// file is not to be written again by anyone.
	Datasync() error
	// Size is the length in bytes. fstat.
	Size() (int64, error)
}

// Space is the room on a file system, in bytes, for a caller without
// privileges.
type Space struct {
	Free, Total int64
}

// ErrTooLong says that a file is longer than it can be if it is sound.
var ErrTooLong = errors.New("file too long")

// ErrLocked says that another process holds a lock.
var ErrLocked = errors.New("held by another process")

// WriteNew creates the file exclusively with the content and returns once
// content and name are durable. On an error other than fs.ErrExist the file
// may exist with any part of the content.
func WriteNew(fsys FS, name string, content []byte) error {
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	if err := writeSync(f, content); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

// Overwrite replaces the first len(content) bytes of an existing file in place
// and returns once they are durable.
func Overwrite(fsys FS, name string, content []byte) error {
	f, err := fsys.OpenWrite(name)
	if err != nil {
		return err
	}
	return writeSync(f, content)
}

func writeSync(f File, content []byte) error {
	_, err := f.WriteAt(content, 0)
	if err == nil {
		err = f.Datasync()
	}
	return errors.Join(err, f.Close())
}

// ReadFile opens, reads and closes a file of at most limit bytes.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("%s: %d bytes, at most %d expected: %w", name, size, limit, ErrTooLong)
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}

// MkdirAll makes a directory and what is missing above it, each name durable
// before the one below it is made. Names found there are synced as well: a
// process that was killed between mkdir and sync has left one that is seen and
// not durable. It does not look whether what is there is a directory.
func MkdirAll(fsys FS, name string) error {
	if err := mkdirMissing(fsys, name); err != nil {
		return err
	}
	return syncPath(fsys, name)
}

func mkdirMissing(fsys FS, name string) error {
	err := fsys.Mkdir(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := mkdirMissing(fsys, path.Dir(name)); err != nil {
			return err
		}
		err = fsys.Mkdir(name)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

// syncPath makes the name durable, and those of the directories above it. A
// directory that may not be opened or is read-only is passed over: it is not
// one that a process with our rights has left a name in.
func syncPath(fsys FS, name string) error {
	for dir := path.Dir(name); dir != name; name, dir = dir, path.Dir(dir) {
		err := fsys.SyncDir(dir)
		if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
			return err
		}
	}
	return nil
}

// Exists reports whether the name is there now. On a share the answer may be
// stale: nothing that must be safe is concluded from it.
func Exists(fsys FS, name string) bool {
	f, err := fsys.Open(name)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	_ = f.Close() // it was only looked at
	return true
}
