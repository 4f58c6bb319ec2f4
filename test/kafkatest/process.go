package kafkatest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one run of a node.
type process struct {
	cmd *exec.Cmd
	// ended is closed once it is gone.
	ended chan struct{}
	// err is how it ended, set before ended is closed.
	err error
}

// start runs a command whose output is appended to a file. The goroutine that
// starts it keeps its thread until the process is gone, because that is whose
// end the kernel looks at; see tied.
func start(log string, line ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(line[0], line[1:]...), ended: make(chan struct{})} //nolint:noctx // it outlives every context on purpose
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = out, out, tied()
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- errors.Join(err, out.Close()) // the process has its own descriptor
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", line[0], err)
	}
	return p, nil
}

// alive reports whether the process has not ended.
func (p *process) alive() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// signal sends a signal to the process, all of its group.
func (p *process) signal(s syscall.Signal) error {
	if !p.alive() {
		return errors.New("it is not running")
	}
	if err := syscall.Kill(-p.cmd.Process.Pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.cmd.Process.Pid, err)
	}
	return nil
}

// end sends a signal and waits until the process is gone.
func (p *process) end(s syscall.Signal, limit time.Duration) error {
	if err := p.signal(s); err != nil {
		return err
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("process %d is not gone %v after %v", p.cmd.Process.Pid, limit, s), p.signal(syscall.SIGKILL))
	}
}

// resident is the memory that the process has in RAM, in bytes; 0 where the
// system does not say.
func (p *process) resident() int64 {
	if !p.alive() {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			kib, _ := strconv.ParseInt(strings.Fields(string(rest))[0], 10, 64) // 0 is unknown
			return kib << 10
		}
	}
	return 0
}

// tailOf is the end of a file.
func tailOf(file string, most int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	if len(text) > most {
		text = append([]byte("…"), text[len(text)-most:]...)
	}
	return string(bytes.TrimSpace(text))
}
