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
	"strings"
	"sync"
	"testing"

	"postroad/test/binary"
	"postroad/test/tree"
)

// update writes what is generated instead of comparing it.
var update = flag.Bool("update", false, "write generated files of the chart")

// only names a stamp: no other is written.
var only = flag.String("stamp", "", "the stamp whose manifests are written; all where it is empty")

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

func TestMain(m *testing.M) { os.Exit(built.Run(m)) }

// toolbox knows the tools that are pinned below tools/. Its zero value is ready.
type toolbox struct {
	paths sync.Map // name to func() (string, error)
}

// path returns where a tool is; it is built first where it never was.
func (b *toolbox) path(root, name string) (string, error) {
	find, _ := b.paths.LoadOrStore(name, sync.OnceValues(func() (string, error) {
		cmd := exec.CommandContext(context.Background(), "go", "run", "./test/verify", "tool", "-path", name)
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("tool %s: %w\n%s", name, err, out)
		}
		lines := strings.Fields(string(out))
		return lines[len(lines)-1], nil
	}))
	return find.(func() (string, error))()
}

// run runs a tool in the project's root and returns what it printed; the error
// holds what it said.
func (b *toolbox) run(t testing.TB, stdin []byte, name string, args ...string) (string, error) {
	t.Helper()
	dir := root(t)
	path, err := b.path(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, bytes.NewReader(stdin), &stdout, &stderr
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
