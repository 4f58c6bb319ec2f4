package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Addresses say where a started process listens, as it wrote them to the file
// given by --addresses-file.
type Addresses struct {
	Door     string            `json:"door"`
	Gateways map[string]string `json:"gateways"`
	Streams  map[string]string `json:"streams"`
	Hub      string            `json:"hub"`
	Admin    string            `json:"admin"`
}

// Process is a running process of the binary under test.
type Process struct {
	// Addresses are where it listens.
	Addresses Addresses
	// Started is when it was started.
	Started time.Time

	cmd    *exec.Cmd
	ended  chan struct{} // closed once it is gone
	err    error         // how it ended, set before ended is closed
	flight string
	log    string
}

// Binary starts processes of one binary, each with a log and a flight recorder
// of its own below Dir.
type Binary struct {
	// Path is the binary.
	Path string
	// Dir takes logs, flight recorders and files of addresses.
	Dir string
	// Plain leaves the flight recorder out, for those who measure.
	Plain bool

	// Through, where set, is a command and its first arguments that the binary
	// is started through. It must become the binary by execve, so that signals
	// and the process id are the binary's.
	Through []string
	// Prefix are arguments before those of each Start: the command that the one
	// given belongs to.
	Prefix []string
	// Reader are further arguments of `postroad tail`, where the hub wants more of
	// a reader than to know its address.
	Reader []string
	// Late is how long nothing of what is missing may come before Judge takes
	// it for lost; 0 means 30 s.
	Late time.Duration

	started int
}

// ErrEnded is a process that ended before anybody asked it to.
var ErrEnded = errors.New("it ended by itself")

// startTimeout bounds how long a process may take to listen, and each other
// short wait for a process.
const startTimeout = 30 * time.Second

// Start runs a long-running command, such as "dev", and returns once it says
// where it listens. Whoever gets a Process ends it with Kill or Stop.
func (b *Binary) Start(ctx context.Context, args ...string) (*Process, error) {
	b.started++
	base := filepath.Join(b.Dir, fmt.Sprintf("%03d-%s", b.started, args[0]))
	addresses := base + ".json"
	p := &Process{flight: base + ".flight", log: base + ".log", ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	defer log.Close() //nolint:errcheck // the process has its own descriptor
	line := slices.Concat(b.Through, []string{b.Path}, b.Prefix, args, []string{"--addresses-file", addresses})
	p.cmd = exec.Command(line[0], line[1:]...) //nolint:noctx // it outlives ctx on purpose
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), RecorderEnv+"="+p.flight)
	if b.Plain {
		p.cmd.Env = append(os.Environ(), RecorderEnv+"=")
	}
	p.Started = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	if err := p.waitListening(ctx, addresses); err != nil {
		err = fmt.Errorf("start %v: %w; its log ends:\n%s", args, err, p.LogTail())
		if !errors.Is(err, ErrEnded) {
			err = errors.Join(err, p.Kill())
		}
		return nil, err
	}
	return p, nil
}

func (p *Process) waitListening(ctx context.Context, file string) error {
	return Until(ctx, startTimeout, "it says where it listens", func() (bool, error) {
		select {
		case <-p.ended:
			return false, errors.Join(ErrEnded, p.err)
		default:
		}
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if err := json.Unmarshal(text, &p.Addresses); err != nil {
			return false, fmt.Errorf("%s: %w", file, err)
		}
		return true, nil
	})
}

// Until waits until done reports true or an error, for at most limit.
func Until(ctx context.Context, limit time.Duration, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("waited %v until %s", limit, what))
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Err is how the process ended, nil for exit code 0; valid once it has Ended.
func (p *Process) Err() error { return p.err }

// Kill sends SIGKILL, which nothing can catch, and waits until the process is
// gone. The process must not have ended before.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL) }

// Stop asks the process to end and waits for that.
func (p *Process) Stop() error {
	if err := p.end(syscall.SIGTERM); err != nil {
		return err
	}
	if p.err != nil {
		return fmt.Errorf("stopped with %w; its log ends:\n%s", p.err, p.LogTail())
	}
	return nil
}

// Pause stops the process where it is, as a machine does that hangs, until
// Resume.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal process %d: %w", p.cmd.Process.Pid, err)
	}
	return nil
}

func (p *Process) end(signal syscall.Signal) error {
	select {
	case <-p.ended:
		return fmt.Errorf("process %d: %w, %s; its log ends:\n%s", p.cmd.Process.Pid, ErrEnded, p.cmd.ProcessState, p.LogTail())
	default:
	}
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", p.cmd.Process.Pid, err)
	}
	timer := time.NewTimer(2 * startTimeout)
	defer timer.Stop()
	select {
	case <-p.ended:
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("process %d is not gone %v after %v", p.cmd.Process.Pid, 2*startTimeout, signal), p.cmd.Process.Kill())
	}
}

// PID is the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed once the process is gone.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Flight is what the process was doing when it died.
func (p *Process) Flight() (Flight, error) {
	f, err := ReadFlight(p.flight)
	if err != nil {
		return Flight{}, err
	}
	if f.PID != p.cmd.Process.Pid {
		return Flight{}, fmt.Errorf("%s is of process %d, not %d", p.flight, f.PID, p.cmd.Process.Pid)
	}
	return f, nil
}

// LogTail is the end of what the process printed.
func (p *Process) LogTail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	const most = 4 << 10
	if len(text) > most {
		text = append([]byte("…"), text[len(text)-most:]...)
	}
	return string(bytes.TrimSpace(text))
}

// StampStatus is what a drill reads of a stamp's status.
type StampStatus struct {
	Name  string `json:"name"`
	Queue struct {
		UnforwardedMessages int64  `json:"unforwarded_messages"`
		UnreadLanes         int    `json:"unread_lanes"`
		Listing             bool   `json:"listing"`
		DamagedMessages     int64  `json:"damaged_messages"`
		Trouble             string `json:"trouble"`
	} `json:"queue"`
	Forward struct {
		// Chains are those that this process drains.
		Chains []struct {
			ID string `json:"id"`
		} `json:"chains"`
		ForwardedTotal int64 `json:"forwarded_total"`
		Breaker        struct {
			State string `json:"state"`
			Cause string `json:"cause"`
		} `json:"breaker"`
	} `json:"forward"`
}

// Status asks the admin listener for the state of the process's stamps.
func (p *Process) Status(ctx context.Context) ([]StampStatus, error) {
	text, err := p.status(ctx)
	if err != nil {
		return nil, err
	}
	var report struct {
		Stamps []StampStatus `json:"stamps"`
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return nil, fmt.Errorf("status: %w: %.300s", err, text)
	}
	if len(report.Stamps) == 0 {
		return nil, fmt.Errorf("status: no stamp in the answer: %.300s", text)
	}
	return report.Stamps, nil
}

// maxStatusBytes bounds what is read of a status.
const maxStatusBytes = 1 << 20

func (p *Process) status(ctx context.Context) ([]byte, error) { return p.get(ctx, "/admin/v1/status") }

// get asks the admin listener.
func (p *Process) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Addresses.Admin+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	req.Close = true // nothing of it stays behind
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxStatusBytes))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", path, resp.Status, err)
	}
	return text, nil
}

// statusText is the whole status and the end of the log, for a person who
// looks for what went wrong.
func (p *Process) statusText(ctx context.Context) (string, error) {
	text, err := p.status(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("status: %s\nthe log ends:\n%s\n", bytes.TrimSpace(text), p.LogTail()), nil
}

// WaitDrained waits until the stamps of a process have nothing that is not in
// the hub.
func (p *Process) WaitDrained(ctx context.Context, limit time.Duration) error {
	messages, lanes := int64(-1), -1
	err := Until(ctx, limit, "everything is in the hub", func() (bool, error) {
		stamps, err := p.Status(ctx)
		if err != nil {
			return false, err
		}
		messages, lanes = 0, 0
		for _, s := range stamps {
			messages += s.Queue.UnforwardedMessages
			lanes += s.Queue.UnreadLanes
			if s.Queue.Listing { // it does not know yet which there are
				lanes++
			}
		}
		return messages == 0 && lanes == 0, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %d messages are not, %d lanes are not read; the log ends:\n%s", err, messages, lanes, p.LogTail())
	}
	return nil
}
