package queue

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// owner says which process wrote a file, well enough to tell on the same
// machine that it is gone.
type owner struct {
	// Process is the id of the process run, a ULID.
	Process string `json:"process"`
	Host    string `json:"host"`
	// BootID changes with each start of the kernel.
	BootID string `json:"boot_id"`
	// PIDNamespace tells apart equal pids of two containers on one host.
	PIDNamespace string `json:"pid_namespace"`
	PID          int    `json:"pid"`
	// PIDStart is the process's start in clock ticks since boot: a pid that
	// was given out again has another.
	PIDStart uint64 `json:"pid_start"`
}

func thisProcess(run string) (owner, error) {
	host, err := os.Hostname()
	if err != nil {
		return owner{}, fmt.Errorf("host name: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return owner{}, fmt.Errorf("boot id: %w", err)
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return owner{}, fmt.Errorf("pid namespace: %w", err)
	}
	start, err := pidStart(os.Getpid())
	if err != nil {
		return owner{}, fmt.Errorf("start of this process: %w", err)
	}
	return owner{
		Process: run, Host: host, BootID: strings.TrimSpace(string(boot)),
		PIDNamespace: ns, PID: os.Getpid(), PIDStart: start,
	}, nil
}

// deadFor reports whether self can tell that o's process is gone: same host,
// boot and pid namespace, and no process has o's pid and start. Anything else,
// doubt included, is false, and the heartbeat decides.
func (o owner) deadFor(self owner) bool {
	if o.Host != self.Host || o.BootID != self.BootID || o.PIDNamespace != self.PIDNamespace || o.PID <= 0 {
		return false
	}
	start, err := pidStart(o.PID)
	if err == nil {
		return start != o.PIDStart
	}
	return errors.Is(err, os.ErrNotExist)
}

// pidStart reads field 22 of /proc/<pid>/stat. proc(5).
func pidStart(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the command in parentheses, which may hold anything.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields after the command", pid, len(fields))
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// boottime reads CLOCK_BOOTTIME.
func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Linux has had this clock since 2.6.39; a zero makes every renewal
		// look fresh, which would be unsafe, so there is no going on.
		panic("clock_gettime(CLOCK_BOOTTIME): " + err.Error())
	}
	return time.Duration(ts.Nano())
}
