package hosts

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// started is a unit as far as it says what is run.
type started struct {
	name, text string
}

// line is the value of a setting that is there once, but for what systemd itself is
// asked to do.
func (s started) line(t *testing.T, key string) string {
	t.Helper()
	found := slices.DeleteFunc(values(s.text, key), func(v string) bool { return v == mounting })
	switch {
	case len(found) == 0:
		return ""
	case len(found) > 1:
		t.Fatalf("%s: %d lines %s=", s.name, len(found), key)
	}
	return found[0]
}

// command is what a line runs, with the program and the settings where they are
// here, and more arguments.
func command(t *testing.T, line, folder string, more ...string) []string {
	t.Helper()
	args := strings.Fields(line)
	if len(args) < 2 || args[0] != "/usr/bin/postroad" {
		t.Fatalf("not the program: %q", line)
	}
	args[0] = built.Path(t)
	for i, a := range args {
		if name, ok := strings.CutPrefix(a, "/etc/postroad/"); ok {
			args[i] = filepath.Join(folder, name)
		}
	}
	return append(args, more...)
}

// services are all units that start the program, with the folder of their settings.
func services(t *testing.T) map[string]started {
	t.Helper()
	found := make(map[string]started)
	for name, text := range units(t) {
		found[name] = started{filepath.Base(name), text}
	}
	if len(found) < 5 {
		t.Fatalf("only %d units", len(found))
	}
	return found
}

// Each unit's lines are run as they are, but for addresses and directories of this
// machine: the settings are checked, the process gets ready and does its work, reads
// its settings again where the unit says how, ends in order within the time that the
// unit gives it, and does nothing meanwhile that the unit forbids. A file with a
// mistake ends both lines with 2.
func TestUnitsRun(t *testing.T) {
	missing(t, "strace")
	t.Parallel() // both wait for drains
	calls, brokers := callSets(t), hub(t)
	var all []*running
	for path, s := range services(t) {
		refusesMistakes(t, s, filepath.Dir(path))
		all = append(all, runs(t, s, filepath.Dir(path), brokers))
	}
	for _, r := range all {
		r.works(t)
	}
	// All at once, for each takes seconds.
	for _, r := range all {
		r.process.tell(t, syscall.SIGTERM)
	}
	for _, r := range all {
		r.process.ends(t, stopTime(t, r.unit))
		data, err := os.ReadFile(r.trace)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range forbidden(calls, r.unit.text, string(data), r.folder) {
			t.Errorf("%s: %s", r.unit.name, f)
		}
		sharper(t, calls, r.unit.text, string(data), r.folder)
	}
}

// running is a unit's process. Its queue is below folder, what it calls in trace.
type running struct {
	unit          started
	role          string
	process       *process
	listen, admin string
	folder, trace string
}

// sharper changes the unit so that what the process did is forbidden, which has to be
// found.
func sharper(t *testing.T, calls map[string][]string, unit, trace, queue string) {
	t.Helper()
	changes := map[string]string{
		"SystemCallFilter=@system-service":                "SystemCallFilter=@basic-io",
		"RestrictAddressFamilies=AF_INET AF_INET6 ":       "RestrictAddressFamilies=",
		"SystemCallFilter=@system-service\n":              "SystemCallFilter=@system-service\nSystemCallFilter=~@network-io\n",
		"RestrictAddressFamilies=AF_INET AF_INET6 AF_UNI": "RestrictAddressFamilies=AF_INET6 AF_UNI",
	}
	if strings.Contains(unit, "ReadWritePaths=") {
		changes["ReadWritePaths=/var/lib/postroad"] = "ReadWritePaths=/var/lib/other"
		changes["SystemCallFilter=@system-service\n"] = "SystemCallFilter=@system-service\nSystemCallFilter=~@sync\n"
	}
	for was, is := range changes {
		changed := strings.Replace(unit, was, is, 1)
		if changed == unit {
			t.Errorf("no %q", was)
		} else if len(forbidden(calls, changed, trace, queue)) == 0 {
			t.Errorf("nothing of what the process did is forbidden by %q", is)
		}
	}
}

// runs starts a unit, after its settings were checked.
func runs(t *testing.T, s started, settings, brokers string) *running {
	t.Helper()
	free, folder := addresses(t, 2), t.TempDir()
	r := &running{unit: s, role: strings.Fields(s.line(t, "ExecStart"))[1], listen: free[0], admin: free[1], folder: folder, trace: filepath.Join(t.TempDir(), "trace")}
	listen, queue, hub := "http.listen="+r.listen, "queue.dir="+filepath.Join(folder, "queue"), "hub.brokers="+brokers
	more := []string{"--set", "admin.listen=" + r.admin}
	for _, set := range map[string][]string{
		"stamp": {listen, queue, hub}, "gateway": {listen, queue, hub}, "forward": {queue, hub}, "stream": {listen, hub}, "door": {listen},
	}[r.role] {
		more = append(more, "--set", set)
	}
	check := exec.CommandContext(t.Context(), built.Path(t), command(t, s.line(t, "ExecStartPre"), settings, more...)[1:]...)
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("ExecStartPre of %s: %v\n%s", s.name, err, out)
	}
	// The tracer is a child of the program, so that the program is ours.
	traced := []string{"strace", "-D", "-f", "-qq", "--seccomp-bpf", "-e", "trace=!" + strings.Join(untraced, ","), "-s", "256", "-o", r.trace}
	r.process = start(t, s.name, append(traced, command(t, s.line(t, "ExecStart"), settings, more...)...)...)
	return r
}

// works waits until the process is ready and uses it; where its unit says how, it
// reads its settings again.
func (r *running) works(t *testing.T) {
	t.Helper()
	ready(t, r.process, r.admin)
	if r.role == "stamp" || r.role == "gateway" {
		accepted(t, r.process, r.listen, "hello")
		knowsItsAddress(t, r.process, r.listen)
	}
	if reload := r.unit.line(t, "ExecReload"); reload != "" {
		if reload != "/bin/kill -HUP $MAINPID" {
			t.Fatalf("ExecReload is %q", reload)
		}
		r.process.tell(t, syscall.SIGHUP)
		ready(t, r.process, r.admin)
	}
}

func stopTime(t *testing.T, s started) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s.line(t, "TimeoutStopSec") + "s")
	if err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	return d
}

// refusesMistakes runs both lines on a file with a setting that does not exist.
func refusesMistakes(t *testing.T, s started, folder string) {
	t.Helper()
	broken := t.TempDir()
	names, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("settings %q, %v", names, err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(broken, filepath.Base(name)), append(data, "\nnothing_of_ours: 1\n"...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"ExecStartPre", "ExecStart"} {
		cmd := exec.CommandContext(t.Context(), built.Path(t), command(t, s.line(t, key), broken)[1:]...)
		if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "nothing_of_ours") {
			t.Errorf("%s with a mistake in its settings: %v\n%s", key, err, out)
		}
	}
}

// callSets are systemd's names for sets of system calls, each with all its members.
func callSets(t *testing.T) map[string][]string {
	t.Helper()
	missing(t, "systemd-analyze")
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "syscall-filter", "--no-pager").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	direct := make(map[string][]string)
	set := ""
	for line := range strings.Lines(string(out)) {
		switch name := strings.TrimSpace(line); {
		case strings.HasPrefix(line, "@"):
			set = name
		case set != "" && name != "" && !strings.HasPrefix(name, "#"):
			direct[set] = append(direct[set], name)
		case name == "":
			set = ""
		}
	}
	all := make(map[string][]string)
	for name := range direct {
		all[name] = members(direct, name)
	}
	if len(all["@system-service"]) < 200 || !slices.Contains(all["@system-service"], "fdatasync") {
		t.Fatalf("@system-service is %q", all["@system-service"])
	}
	return all
}

func members(direct map[string][]string, set string) []string {
	var found []string
	for _, name := range direct[set] {
		if strings.HasPrefix(name, "@") {
			found = append(found, members(direct, name)...)
		} else {
			found = append(found, name)
		}
	}
	return found
}
