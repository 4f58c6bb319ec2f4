package sdk

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"postroad/test/kafkatest"
)

//go:embed java/pom.xml
var pom []byte

//go:embed python/requirements.txt
var requirements []byte

// command is a command line that a URL follows, and the protocol.
type command []string

// language is how the client of one SDK is made ready.
type language struct {
	name      string
	protocols []string
	prepare   func(t *testing.T) command
	once      *prepared
}

// prepared is a client that was made ready for all tests of a run.
type prepared struct {
	mu      sync.Mutex
	command command // guarded by mu
}

// languages are all clients, each with all protocols that its SDK has.
var languages = []language{
	{"js", []string{"json", "protobuf"}, prepareNode, &prepared{}},
	{"go", []string{"json", "protobuf"}, prepareGo, &prepared{}},
	{"python", []string{"json", "protobuf"}, preparePython, &prepared{}},
	{"java", []string{"protobuf"}, prepareJava, &prepared{}},
}

// ready returns the command, made the first time. A test that finds nothing to
// run it with is skipped, and so is the next.
func (l language) ready(t *testing.T) command {
	t.Helper()
	l.once.mu.Lock()
	defer l.once.mu.Unlock()
	if l.once.command == nil {
		l.once.command = l.prepare(t)
	}
	return l.once.command
}

// each runs a test for every client and protocol, at once.
func each(t *testing.T, test func(t *testing.T, name, protocol string, c command)) {
	t.Helper()
	for _, l := range languages {
		for _, protocol := range l.protocols {
			t.Run(l.name+"-"+protocol, func(t *testing.T) {
				t.Parallel()
				test(t, l.name, protocol, l.ready(t))
			})
		}
	}
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip("NOT TESTED WITH AN OFFICIAL SDK:", what)
}

// cached returns a directory of the user's cache that is kept, by the hash of
// all that decides what is in it. It is filled where it was not filled whole
// before, by one process at a time.
func cached(t *testing.T, name string, of []byte, sound func(dir string) bool, fill func(dir string)) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil { // without HOME there is none
		base = os.TempDir()
	}
	dir := filepath.Join(base, "postroad", "sdk", fmt.Sprintf("%s-%x", name, sha256.Sum256(of))[:len(name)+17])
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	defer lock(t, dir+".lock")()
	ready := filepath.Join(dir, "ready")
	if _, err := os.Stat(ready); err == nil && sound(dir) {
		return dir
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	fill(dir)
	if !sound(dir) {
		t.Fatalf("%s is made, and does not work", dir)
	}
	if err := os.WriteFile(ready, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// lock keeps other processes out until unlock.
func lock(t *testing.T, file string) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// run runs a command to its end.
func run(t *testing.T, dir string, line ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(line, " "), err, out, stderr.Bytes())
	}
	return out
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// oldestNode is the major version that centrifuge-js and ws run on.
const oldestNode = 18

// findNode returns the commands of Node.js and npm, and what decides of what is
// installed with them.
func findNode(t *testing.T) (node, npm string, version []byte) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "Node.js is not installed")
	}
	if npm, err = exec.LookPath("npm"); err != nil {
		missing(t, "npm is not installed")
	}
	version = run(t, "", node, "--version")
	major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldestNode {
		missing(t, fmt.Sprintf("Node.js %s is older than %d", version, oldestNode))
	}
	return node, npm, version
}

func prepareNode(t *testing.T) command {
	t.Helper()
	node, npm, of := findNode(t)
	files := []string{"package.json", "package-lock.json", ".npmrc"}
	for _, f := range files {
		of = append(of, read(t, filepath.Join("js", f))...)
	}
	sound := func(dir string) bool {
		cmd := exec.CommandContext(t.Context(), node, "--input-type=module", "-e", "import 'ws'; import 'centrifuge'; import 'centrifuge/build/protobuf'")
		cmd.Dir = dir
		return cmd.Run() == nil
	}
	cache := cached(t, "node", of, sound, func(dir string) {
		for _, f := range files {
			write(t, filepath.Join(dir, f), read(t, filepath.Join("js", f)))
		}
		run(t, dir, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	})
	// The client finds what it imports beside itself.
	dir := filepath.Join(filepath.Dir(built.Path(t)), "sdk-js")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Symlink(filepath.Join(cache, "node_modules"), filepath.Join(dir, "node_modules"))); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"package.json", "client.js"} {
		write(t, filepath.Join(dir, f), read(t, filepath.Join("js", f)))
	}
	return command{node, filepath.Join(dir, "client.js")}
}

func prepareGo(t *testing.T) command {
	t.Helper()
	client := filepath.Join(filepath.Dir(built.Path(t)), "sdk-go")
	run(t, "", "go", "build", "-trimpath", "-o", client, "postroad/test/sdk/go")
	return command{client}
}

func preparePython(t *testing.T) command {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		missing(t, "python3 is not installed")
	}
	version, err := exec.CommandContext(t.Context(), python, "-c", "import sys, venv, ensurepip; print(sys.version, sys.base_prefix)").Output()
	if err != nil {
		missing(t, "python3 has no venv (Debian's python3-venv)")
	}
	in := func(dir string) string { return filepath.Join(dir, "bin", "python") }
	sound := func(dir string) bool {
		return exec.CommandContext(t.Context(), in(dir), "-c", "import centrifuge").Run() == nil
	}
	dir := cached(t, "venv", append(version, requirements...), sound, func(dir string) {
		write(t, filepath.Join(dir, "requirements.txt"), requirements)
		run(t, dir, python, "-m", "venv", dir)
		run(t, dir, in(dir), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--no-deps", "-r", "requirements.txt")
	})
	source, err := filepath.Abs(filepath.Join("python", "client.py"))
	if err != nil {
		t.Fatal(err)
	}
	return command{in(dir), "-B", source}
}

func prepareJava(t *testing.T) command {
	t.Helper()
	java, path := kafkatest.ClassPath(t, pom)
	flags := []string{"-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"}
	classes := filepath.Join(filepath.Dir(built.Path(t)), "sdk-java")
	// The compiler by its module, as its own command is not in every package
	// that has it.
	run(t, "", slices.Concat([]string{java}, flags, []string{
		"-m", "jdk.compiler/com.sun.tools.javac.Main", "-cp", path, "-d", classes, filepath.Join("java", "SdkClient.java"),
	})...)
	return append(append(command{java}, flags...), "-cp", classes+string(filepath.ListSeparator)+path, "SdkClient")
}
