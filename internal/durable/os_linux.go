package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// OS is the operating system's file system.
type OS struct{}

const (
	filePerm = 0o640
	dirPerm  = 0o750
)

// Create implements FS.
func (OS) Create(name string) (File, error) {
	return wrap(os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, filePerm))
}

// Open implements FS.
func (OS) Open(name string) (File, error) { return wrap(os.Open(name)) }

// OpenWrite implements FS.
func (OS) OpenWrite(name string) (File, error) { return wrap(os.OpenFile(name, os.O_RDWR, 0)) }

// Mkdir implements FS.
func (OS) Mkdir(name string) error { return os.Mkdir(name, dirPerm) }

// ReadDir implements FS.
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir implements FS.
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// Touch implements FS.
func (OS) Touch(name string) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_NOW}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, times, 0); err != nil {
		return &fs.PathError{Op: "utimensat", Path: name, Err: err}
	}
	return nil
}

// Space implements FS.
func (OS) Space(name string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return Space{}, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	return Space{Free: int64(st.Bavail) * st.Bsize, Total: int64(st.Blocks) * st.Bsize}, nil
}

type osFile struct{ *os.File }

func wrap(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Datasync implements File. The descriptor is held for the length of the call,
// so that a Close at the same time cannot have it sync another file.
func (f osFile) Datasync() error {
	conn, err := f.SyscallConn()
	if err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	var synced error
	err = conn.Control(func(fd uintptr) {
		for synced = syscall.EINTR; errors.Is(synced, syscall.EINTR); {
			synced = unix.Fdatasync(int(fd))
		}
	})
	if err != nil { // Control fails only where it finds the file closed
		synced = fs.ErrClosed
	}
	if synced != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: synced}
	}
	return nil
}

// Size implements File.
func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// Lock takes the exclusive lock of a file, made where it is missing, until the
// closer is closed or the process ends. ErrLocked where another process has it.
// open(O_CREAT), flock(LOCK_EX|LOCK_NB). On a share a lock may be lost without
// a word: it serves to tell people early, never as the only fence.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return f, nil
}
