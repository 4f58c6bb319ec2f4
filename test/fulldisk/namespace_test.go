package fulldisk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// insideEnv tells a process of this test that it has a mount namespace of its
// own, and where the binary under test is.
const insideEnv = "FULLDISK_BINARY"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inOwnNamespace runs the test again, in a process that may mount things nobody
// else sees, and reports whether this is that process.
func inOwnNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		return true
	}
	binary := filepath.Join(t.TempDir(), "postroad")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", binary, "postroad/cmd/postroad")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build postroad: %v\n%s", err, out)
	}
	out, err := again(t, binary, unix.CLONE_NEWUSER|unix.CLONE_NEWNS)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		out, err = again(t, binary, unix.CLONE_NEWNS) // as root it goes without
	}
	if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran {
		missing := fmt.Sprintf("NO NAMESPACES: root, or user namespaces, are needed to fill a real file system: %v", err)
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	t.Logf("in a mount namespace of its own:\n%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}

func again(t *testing.T, binary string, flags uintptr) ([]byte, error) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), insideEnv+"="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return cmd.CombinedOutput()
}

// mountSmall mounts a tmpfs of so many bytes on a directory; it goes with the
// namespace.
func mountSmall(t *testing.T, dir string, size int64) {
	t.Helper()
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make mounts private: %v", err)
	}
	if err := unix.Mount("fulldisk", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
