//go:build proof

package azure

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// run runs tofu in a folder and returns all that it printed, with white space and
// the frames of its messages made one space.
func (w tools) run(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, w.tofu, append(args, "-no-color")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1")
	if w.config != "" {
		cmd.Env = append(cmd.Env, "TF_CLI_CONFIG_FILE="+w.config)
	}
	out, err := cmd.CombinedOutput()
	text := strings.NewReplacer("│", " ", "╷", " ", "╵", " ").Replace(string(out))
	return strings.Join(strings.Fields(text), " "), err
}

// prepared copies the code and finds the modules of its folders; it returns the
// copy, and the folders with tests. Nothing is installed: the provider is there.
func (w tools) prepared(t *testing.T) (string, []string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "azure")
	if err := os.CopyFS(dir, os.DirFS(deploy)); err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, name := range testFiles(t, dir) {
		folders = append(folders, filepath.Dir(filepath.Dir(name)))
	}
	slices.Sort(folders)
	folders = slices.Compact(folders)
	for _, f := range folders {
		if out, err := w.run(t.Context(), f, "get"); err != nil {
			t.Fatalf("%s: get: %v\n%s", f, err, out)
		}
	}
	return dir, folders
}

// The code is formatted; each folder is valid by the provider's own schema, and its
// tests pass.
func TestProofAzure(t *testing.T) {
	w := ready(t)
	if out, err := w.run(t.Context(), deploy, "fmt", "-check", "-recursive"); err != nil {
		t.Errorf("not formatted: %v\n%s", err, out)
	}
	_, folders := w.prepared(t)
	for _, f := range folders {
		for _, command := range []string{"validate", "test"} {
			if out, err := w.run(t.Context(), f, command); err != nil {
				t.Errorf("%s: %s: %v\n%s", f, command, err, out)
			}
		}
	}
}

// Each change of the code that a test file names makes its run fail, by the
// assertion that it is written at.
func TestProofAzureFlips(t *testing.T) {
	w := ready(t)
	dir, _ := w.prepared(t)
	for _, f := range flips(t, dir) {
		folder, err := filepath.Rel(dir, f.module)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprintf("%s:%d", filepath.Base(f.test), f.line), func(t *testing.T) {
			t.Parallel()
			own := filepath.Join(t.TempDir(), "azure")
			if err := os.CopyFS(own, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			w.fails(t, filepath.Join(own, folder), f)
		})
	}
}

// fails makes one change in a folder.
func (w tools) fails(t *testing.T, folder string, f flip) {
	t.Helper()
	path := filepath.Join(folder, f.file)
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := f.change(string(source))
	if err != nil {
		t.Fatal(err)
	}
	alone := filepath.Join("tests", "alone.tftest.hcl")
	for name, text := range map[string]string{path: changed, filepath.Join(folder, alone): f.alone} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := w.run(t.Context(), folder, "test", "-filter="+alone)
	if err == nil {
		t.Errorf("%q may become %q without a test that fails", f.was, f.is)
	} else if !strings.Contains(out, f.says) {
		t.Errorf("with %q the tests fail, but not by %q:\n%s", f.is, f.says, out)
	}
}
