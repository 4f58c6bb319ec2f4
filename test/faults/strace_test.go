package faults

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/internal/drill"
)

// injection makes one system call fail, or kills the process as it enters it.
//
// strace counts calls by thread, not by process, and Go moves goroutines
// between threads as it likes: the call that is number 7 of its thread is
// another one in each run, and a second thread may come to a number 7 of its
// own. So a run is not repeatable call by call. What makes the tests sound all
// the same: the numbers are taken from a run without faults, a run counts only
// if the trace says that the fault hit a file of the queue, and the trace says
// which.
//
// With a path only the calls on that file are counted, and the first is hit for
// certain. strace knows files by their full names only, and those of lanes and
// claims are random: so this is for what an earlier process has left.
type injection struct {
	call string
	// do is what happens, in strace's words: "error=EIO", "signal=SIGKILL".
	do   string
	when int
	path string
}

func (i injection) String() string { return fmt.Sprintf("%s:%s:when=%d", i.call, i.do, i.when) }

// kills tells whether the process dies of it.
func (i injection) kills() bool { return strings.HasPrefix(i.do, "signal=") }

// strace returns the path of strace, or skips the test where it cannot trace.
func strace(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("NO FAULT WAS INJECTED: strace is not installed")
	}
	log := filepath.Join(t.TempDir(), "log")
	out, err := exec.CommandContext(t.Context(), path, "-f", "-o", log, "-e", "inject=getppid:error=EIO", "true").CombinedOutput()
	if err != nil {
		t.Skipf("NO FAULT WAS INJECTED: strace cannot trace here: %v: %s", err, out)
	}
	return path
}

// through is the command that the binary is started through. The tracer is a
// grandchild (-D), so that the process is the one that was started. Without
// --seccomp-bpf, which would be faster: with it signals are not injected.
func through(strace, log string, calls []string, i *injection) []string {
	args := []string{strace, "-D", "-f", "-y", "-s", "16", "-o", log, "-e", "trace=execve," + strings.Join(calls, ",")}
	if i != nil {
		args = append(args, "-e", "inject="+i.String())
	}
	if i != nil && i.path != "" {
		args = append(args, "-P", i.path)
	}
	return args
}

// call is one system call of a trace.
type call struct {
	thread, name string
	// nth counts the thread's calls of this name.
	nth int
	// file is the kind of file of the queue that it is about, "" if none; path
	// is its path in the queue's directory.
	file, path string
	// injected says that it failed on purpose.
	injected bool
	// cut says that it did not return before the process was gone.
	cut bool
}

func (c call) String() string { return c.name + " of " + c.file }

// trace is what strace wrote of a process.
type trace struct {
	calls  []*call
	killed bool
}

// hits are the calls of the queue's files that the fault has hit.
func (tr trace) hits(i injection) []*call {
	var hits []*call
	for _, c := range tr.calls {
		if c.name == i.call && c.file != "" && (c.injected || i.kills() && tr.killed && c.cut && c.nth == i.when) {
			hits = append(hits, c)
		}
	}
	return hits
}

// tracerLimit is how long the tracer may write on after the process is gone.
const tracerLimit = 10 * time.Second

// readTrace waits until the tracer has written everything and reads it. dir is
// the queue's directory.
func readTrace(ctx context.Context, log, dir string) (trace, error) {
	var tr trace
	err := drill.Until(ctx, tracerLimit, "the tracer has ended", func() (bool, error) {
		f, err := os.Open(log)
		if err != nil {
			return false, err
		}
		defer f.Close()
		p := newParser(dir)
		for lines := bufio.NewScanner(f); lines.Scan(); {
			p.line(lines.Text())
		}
		tr = p.trace
		return p.ended, nil
	})
	return tr, err
}

// parser reads a trace line by line.
type parser struct {
	trace trace
	file  *regexp.Regexp
	pid   string // of the first line, which is the process's execve
	ended bool
	open  map[string]*call          // by thread
	count map[string]map[string]int // by thread and name
}

func newParser(dir string) *parser {
	return &parser{
		file: regexp.MustCompile(regexp.QuoteMeta(dir) + `(/[^">]*)?[">]`),
		open: make(map[string]*call), count: make(map[string]map[string]int),
	}
}

// line takes one of
//
//	71 openat(AT_FDCWD</>, "/q/lanes", O_RDONLY) = 8</q/lanes>
//	71 fdatasync(8</q/lanes/…/00000001.seg> <unfinished ...>
//	71 <... fdatasync resumed>) = -1 EIO (Input/output error) (INJECTED)
//	71 +++ killed by SIGKILL +++
func (p *parser) line(text string) {
	thread, text, _ := strings.Cut(text, " ")
	text = strings.TrimLeft(text, " ")
	p.pid = cmp.Or(p.pid, thread)
	switch {
	case strings.HasPrefix(text, "+++"):
		p.ended = p.ended || thread == p.pid
		p.trace.killed = p.trace.killed || strings.HasPrefix(text, "+++ killed by SIGKILL")
	case strings.HasPrefix(text, "<..."):
		if c := p.open[thread]; c != nil {
			p.returned(c, text)
		}
	default:
		name, _, ok := strings.Cut(text, "(")
		if !ok || strings.ContainsAny(name, " <") {
			return
		}
		if p.count[thread] == nil {
			p.count[thread] = make(map[string]int)
		}
		p.count[thread][name]++
		c := &call{thread: thread, name: name, nth: p.count[thread][name], cut: true}
		if found := p.file.FindStringSubmatch(text); found != nil {
			c.path = strings.Trim(found[1], "/")
			c.file = kindOf(c.path)
		}
		p.trace.calls = append(p.trace.calls, c)
		p.open[thread] = c
		if !strings.HasSuffix(text, "<unfinished ...>") {
			p.returned(c, text)
		}
	}
}

func (p *parser) returned(c *call, text string) {
	c.injected = strings.HasSuffix(text, "(INJECTED)")
	c.cut = strings.HasSuffix(text, "= ?")
}

// kindOf names the kind of file that a path in the queue's directory is.
func kindOf(path string) string {
	parts := strings.Split(path, "/")
	last := parts[len(parts)-1]
	switch {
	case len(parts) == 1:
		return "queue/" + last
	case len(parts) == 2:
		return parts[0] + "/…"
	case strings.HasSuffix(last, ".seg"):
		return "segment"
	}
	last, _, _ = strings.Cut(last, ".")
	if parts[0] == "processes" {
		last = "process's " + last
	}
	return last
}

// numbers are those that a thread first comes to at a call on a file of the
// queue: with any other a kill would come somewhere else.
func (tr trace) numbers(name string) []int {
	var all []int
	come := make(map[int]bool)
	for _, c := range tr.calls {
		if c.name != name || come[c.nth] {
			continue
		}
		come[c.nth] = true
		if c.file != "" {
			all = append(all, c.nth)
		}
	}
	slices.Sort(all)
	return all
}

// most is the highest number that a thread comes to at a call on a file of the
// queue.
func (tr trace) most(name string) int {
	n := 0
	for _, c := range tr.calls {
		if c.name == name && c.file != "" {
			n = max(n, c.nth)
		}
	}
	return n
}

func TestParseTrace(t *testing.T) {
	p := newParser("/tmp/q")
	for line := range strings.Lines(`70 openat(AT_FDCWD</>, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 8</etc/hosts>
71 openat(AT_FDCWD</>, "/tmp/q/lanes", O_RDONLY|O_CLOEXEC <unfinished ...>
70 openat(AT_FDCWD</>, "/tmp/q/claims/01AB/claim.000001", O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0640) = -1 ENOSPC (No space left on device) (INJECTED)
71 <... openat resumed>)             = 8</tmp/q/lanes>
71 fdatasync(9</tmp/q/lanes/01AB/00000002.seg> <unfinished ...>
71 <... fdatasync resumed>)           = -1 EIO (Input/output error) (INJECTED)
72 pwrite64(8</tmp/q/processes/01AB/heartbeat>, "x"..., 24, 512) = ?
70 mkdirat(AT_FDCWD</>, "/tmp/qq", 0750) = 0
73 unlinkat(AT_FDCWD</>, "/tmp/q/lanes/01AB", AT_REMOVEDIR <unfinished ...>
73 +++ killed by SIGKILL +++
70 +++ killed by SIGKILL +++
`) {
		p.line(strings.TrimSuffix(line, "\n"))
	}
	var got []string
	for _, c := range p.trace.calls {
		got = append(got, fmt.Sprintf("%s %s %d %q %v %v", c.thread, c.name, c.nth, c.file, c.injected, c.cut))
	}
	want := []string{
		`70 openat 1 "" false false`,
		`71 openat 1 "queue/lanes" false false`,
		`70 openat 2 "claim" true false`,
		`71 fdatasync 1 "segment" true false`,
		`72 pwrite64 1 "process's heartbeat" false true`,
		`70 mkdirat 1 "" false false`,
		`73 unlinkat 1 "lanes/…" false true`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !p.ended || !p.trace.killed {
		t.Error("the end of the process goes unnoticed")
	}
	for inject, hit := range map[injection]string{
		{call: "fdatasync", do: "error=EIO", when: 1}:     "fdatasync of segment",
		{call: "pwrite64", do: "signal=SIGKILL", when: 1}: "pwrite64 of process's heartbeat",
		{call: "pwrite64", do: "signal=SIGKILL", when: 2}: "",
		{call: "mkdirat", do: "error=EIO", when: 1}:       "",
	} {
		text := ""
		for _, c := range p.trace.hits(inject) {
			text += c.String()
		}
		if text != hit {
			t.Errorf("%s: hit %q, want %q", inject, text, hit)
		}
	}
	if n := p.trace.numbers("openat"); !slices.Equal(n, []int{2}) || p.trace.most("openat") != 2 {
		t.Errorf("numbers of openat: %v, at most %d", n, p.trace.most("openat"))
	}
}
