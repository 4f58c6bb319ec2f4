package hub

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrLocked: another process holds the directory.
var ErrLocked = errors.New("in use by another process")

// lockDir takes the directory for this process: open(O_CREAT), flock(LOCK_EX|
// LOCK_NB). The kernel drops the lock with its holder, however that ends, so
// there is never a stale one. The file stays behind and is empty. The hub's
// directory is a local one; the queue, which may lie on a share, uses no locks.
func lockDir(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("create the hub's directory: %w", err)
	}
	name := filepath.Join(dir, "hub.lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open the hub's lock file: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("hub directory %s: %w", dir, ErrLocked), f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return f.Close, nil
}
