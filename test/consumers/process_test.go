package consumers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shown is a line that a recipe prints.
type shown struct {
	Partition int32   `json:"partition"`
	Offset    int64   `json:"offset"`
	ID        *string `json:"id"`
	Key       *string `json:"key"`
	Value     *string `json:"value"`
	Replay    bool    `json:"replay"`
}

// process is a recipe that runs. It prints into a pipe, so that it is never
// further than a pipe holds ahead of what the test has read.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *bufio.Reader
	errs   bytes.Buffer
	lines  []shown
	cancel context.CancelFunc
	waited bool
}

// runLimit bounds one run of a recipe, on a machine that is busy with other
// things.
const runLimit = 3 * time.Minute

func (r recipe) start(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	line := slices.Concat(r, args)
	p := &process{t: t, cmd: exec.CommandContext(ctx, line[0], line[1:]...), cancel: cancel}
	p.cmd.Stderr = &p.errs
	pipe, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	p.out = bufio.NewReader(pipe)
	t.Cleanup(func() {
		cancel()
		_ = p.wait() // whatever became of it
	})
	return p
}

// next reads a line; false at the end of what the process prints.
func (p *process) next() bool {
	p.t.Helper()
	text, err := p.out.ReadBytes('\n')
	if err != nil {
		return false // a line that was not ended was not shown
	}
	var s shown
	if err := json.Unmarshal(text, &s); err != nil {
		p.t.Fatalf("%q: %v", text, err)
	}
	p.lines = append(p.lines, s)
	return true
}

// until reads lines until there are enough.
func (p *process) until(enough func([]shown) bool) {
	p.t.Helper()
	for !enough(p.lines) {
		if !p.next() {
			_ = p.wait()
			p.t.Fatalf("the recipe ended after %d lines, or took more than %v: %v\n%s", len(p.lines), runLimit, p.cmd.ProcessState, p.errs.String())
		}
	}
}

// end sends a signal and returns all that was printed.
func (p *process) end(s syscall.Signal) []shown {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	p.drain()
	return p.lines
}

// drain reads to the end, and waits until the process is gone.
func (p *process) drain() {
	p.t.Helper()
	for p.next() {
	}
	_ = p.wait() // Java's status after SIGTERM is that of the signal
}

func (p *process) wait() error {
	if p.waited {
		return nil
	}
	p.waited = true
	defer p.cancel()
	return p.cmd.Wait()
}

// count is enough once there are n lines.
func count(n int) func([]shown) bool {
	return func(lines []shown) bool { return len(lines) >= n }
}

// lastOf is enough once the last message of each partition was shown.
func lastOf(partitions int) func([]shown) bool {
	seen, ends := 0, 0
	return func(lines []shown) bool {
		for ; seen < len(lines); seen++ {
			if v := lines[seen].Value; v != nil && strings.HasPrefix(*v, "last of ") {
				ends++
			}
		}
		return ends >= partitions
	}
}

// parse reads lines that were printed.
func parse(t *testing.T, text string) []shown {
	t.Helper()
	var lines []shown
	for l := range strings.Lines(text) {
		var s shown
		if err := json.Unmarshal([]byte(l), &s); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		lines = append(lines, s)
	}
	return lines
}
