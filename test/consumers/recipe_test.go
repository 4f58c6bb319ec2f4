package consumers

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"postroad/test/kafkatest"
)

//go:embed java/pom.xml
var pom []byte

//go:embed python/requirements.txt
var requirements []byte

// recipe is a recipe that can be run: a command line that its arguments follow.
type recipe []string

// change is a sabotage: a piece of the source, which is there once, and what
// stands in its place.
type change struct{ file, old, new string }

// language is how the recipes of one language are made ready.
type language struct {
	name string
	// prepare copies the source, with changes, and returns the command.
	prepare func(t *testing.T, changes ...change) recipe
	// blind makes the recipe start without looking back.
	blind change
}

func languages() []language {
	return []language{
		{"java", prepareJava, change{"Once.java", "Math.max(start, show - lookBack)", "show"}},
		{"python", preparePython, change{"once.py", "max(start, show - self.look_back)", "show"}},
	}
}

func prepareJava(t *testing.T, changes ...change) recipe {
	t.Helper()
	java, path := kafkatest.ClassPath(t, pom)
	source, classes := copySource(t, "java", "*.java", changes), t.TempDir()
	files, err := filepath.Glob(filepath.Join(source, "*.java"))
	if err != nil {
		t.Fatal(err)
	}
	flags := []string{"-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"}
	// The compiler by its module, as its own command is not in every package
	// that has it.
	args := slices.Concat(flags, []string{"-m", "jdk.compiler/com.sun.tools.javac.Main", "-Xlint:all", "-Werror", "-cp", path, "-d", classes})
	if out, err := exec.CommandContext(t.Context(), java, append(args, files...)...).CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
	return append(append(recipe{java}, flags...),
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.sqlite.tmpdir="+cacheDir(t, "sqlite"),
		"-cp", classes+string(filepath.ListSeparator)+path, "Read")
}

func preparePython(t *testing.T, changes ...change) recipe {
	t.Helper()
	return recipe{venv(t), "-W", "error", "-B", filepath.Join(copySource(t, "python", "*.py", changes), "read.py")}
}

// copySource copies files and changes them.
func copySource(t *testing.T, dir, pattern string, changes []change) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s in %s: %v", pattern, dir, err)
	}
	to := t.TempDir()
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		source := string(text)
		for _, c := range changes {
			if c.file != filepath.Base(f) {
				continue
			}
			if strings.Count(source, c.old) != 1 {
				t.Fatalf("%q is not there once in %s", c.old, f)
			}
			source = strings.Replace(source, c.old, c.new, 1)
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(f)), []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// cacheDir is a directory that is kept.
func cacheDir(t *testing.T, name string) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil { // without HOME there is none
		base = os.TempDir()
	}
	dir := filepath.Join(base, "postroad", "consumers", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// venv returns the python command of a virtual environment with what
// requirements.txt lists, which is made the first time.
func venv(t *testing.T) string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		missing(t, "python3 is not installed")
	}
	version, err := exec.CommandContext(t.Context(), python, "-c", "import sys, venv, ensurepip; print(sys.version, sys.base_prefix)").Output()
	if err != nil {
		missing(t, "python3 has no venv (Debian's python3-venv)")
	}
	dir := cacheDir(t, fmt.Sprintf("venv-%x", sha256.Sum256(append(version, requirements...)))[:21])
	unlock := lock(t, dir+".lock")
	defer unlock()
	command, ready := filepath.Join(dir, "bin", "python"), filepath.Join(dir, "ready")
	if _, err := os.Stat(ready); err == nil && exec.CommandContext(t.Context(), command, "-c", "import confluent_kafka").Run() == nil {
		return command
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]string{
		{python, "-m", "venv", dir},
		{command, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "-r", filepath.Join("python", "requirements.txt")},
	} {
		if out, err := exec.CommandContext(t.Context(), line[0], line[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(line, " "), err, out)
		}
	}
	if err := os.WriteFile(ready, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return command
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

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip("NOT TESTED WITH OTHER CLIENTS:", what)
}

// output runs a recipe to its end and returns what it printed.
func (r recipe) output(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	line := slices.Concat(r, args)
	out, err := exec.CommandContext(ctx, line[0], line[1:]...).Output()
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}
