package bench

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cores are those that the process may use, apart for the node that is measured
// and for everything else. On a machine with one both are the same.
type cores struct{ node, rest, all unix.CPUSet }

// splitCores gives the node the last core, and this process, with whatever it
// starts, the others. restore undoes that.
func splitCores() (c cores, restore func() error, err error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return cores{}, nil, fmt.Errorf("cores of this process: %w", err)
	}
	c.node, c.rest, c.all = all, all, all
	for i := range len(all) * strconv.IntSize {
		if all.IsSet(i) {
			c.node.Zero()
			c.node.Set(i)
		}
	}
	if all.Count() > 1 {
		for i := range len(all) * strconv.IntSize {
			if c.node.IsSet(i) {
				c.rest.Clear(i)
			}
		}
	}
	return c, func() error { return confine(all) }, confine(c.rest)
}

// confine moves all threads of this process to a set of cores; new ones inherit it.
func confine(set unix.CPUSet) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("threads of this process: %w", err)
	}
	for _, t := range tasks {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		// A thread may be gone by now.
		if err := unix.SchedSetaffinity(id, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cores of a thread: %w", err)
		}
	}
	return nil
}

// startOn runs start with the calling thread on the node's core, which a process
// started by it inherits.
func (c cores) startOn(start func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &c.node); err != nil {
		return fmt.Errorf("core of the node: %w", err)
	}
	defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &c.rest)) }()
	return start()
}

// processorTime is what a process has used of processors since its start.
func processorTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseProcessorTime(string(text))
}

// tick is the unit of times in /proc: Linux has 100 a second for programs.
const tick = 10 * time.Millisecond

func parseProcessorTime(stat string) (time.Duration, error) {
	// The name, in parentheses, may hold anything.
	_, rest, found := cutLast(stat, ") ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 13 {
		return 0, fmt.Errorf("processor time: %.100q is not what is expected", stat)
	}
	total := int64(0)
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("processor time: %w", err)
		}
		total += n
	}
	return time.Duration(total) * tick, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
