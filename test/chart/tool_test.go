package chart

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"postroad/test/binary"
	"postroad/test/tree"
)

// update writes what is generated instead of comparing it.
var update = flag.Bool("update", false, "write generated files of the chart")

const (
	chartDir    = "deploy/charts/postroad"
	profilesDir = chartDir + "/profiles"
	appsDir     = "deploy/gitops/apps"
	renderedDir = "deploy/rendered"
)

// stamps are those that are deployed, with their profile.
var stamps = map[string]string{"onprem": "onprem", "cloud-green": "cloud", "cloud-blue": "cloud"}

var (
	built binary.Built
	tools toolbox
)

func TestMain(m *testing.M) { os.Exit(built.Run(m, tools.remove)) }

// toolbox runs the tools that are pinned below tools/. Its zero value is ready.
type toolbox struct {
	once      sync.Once
	dir, root string
	err       error
}

func (b *toolbox) prepare() {
	if b.root, b.err = tree.Root(); b.err != nil {
		return
	}
	if b.dir, b.err = os.MkdirTemp("", "postroad-verify-"); b.err != nil {
		return
	}
	cmd := exec.CommandContext(context.Background(), "go", "build", "-o", b.verify(), "./test/verify")
	cmd.Dir = b.root
	if out, err := cmd.CombinedOutput(); err != nil {
		b.err = fmt.Errorf("build verify: %w\n%s", err, out)
		return
	}
}

func (b *toolbox) verify() string { return filepath.Join(b.dir, "verify") }

func (b *toolbox) remove() error {
	if b.dir == "" {
		return nil
	}
	return os.RemoveAll(b.dir)
}

// built remembers which tools were asked for: the first time one may be built,
// which is printed.
var ready sync.Map

// run runs a tool in the project's root and returns what it printed, and what it
// said of an error.
func (b *toolbox) run(t testing.TB, stdin []byte, name string, args ...string) (string, error) {
	t.Helper()
	if b.once.Do(b.prepare); b.err != nil {
		t.Fatal(b.err)
	}
	once, _ := ready.LoadOrStore(name, &sync.Once{})
	once.(*sync.Once).Do(func() {
		//nolint:errcheck // a tool that cannot be built says so below
		exec.CommandContext(t.Context(), b.verify(), "tool", name, "--help").Run()
	})
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), b.verify(), append([]string{"tool", name}, args...)...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = b.root, bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), errors.Join(err, errors.New(stderr.String()))
	}
	return stdout.String(), nil
}

// root is the project's.
func root(t testing.TB) string {
	t.Helper()
	dir, err := tree.Root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// read reads a file of the project.
func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// current compares a generated file with what it should be, or writes it.
func current(t testing.TB, name string, want []byte) {
	t.Helper()
	path := filepath.Join(root(t), filepath.FromSlash(name))
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is stale: run make chart", name)
	}
}
