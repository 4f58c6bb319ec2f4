//go:build proof

package azure

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tofu is OpenTofu, or what POSTROAD_TOFU names. Where the provider comes from is
// for its own configuration to say (TF_CLI_CONFIG_FILE).
func tofu(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("POSTROAD_TOFU"); path != "" {
		return path
	}
	path, err := exec.LookPath("tofu")
	if err != nil {
		t.Skip("deploy/azure WAS NOT TESTED: there is no tofu")
	}
	return path
}

// run runs tofu in a folder and returns all that it printed, with white space and
// the frames of its messages made one space.
func run(ctx context.Context, program, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1")
	out, err := cmd.CombinedOutput()
	text := strings.NewReplacer("│", " ", "╷", " ", "╵", " ").Replace(string(out))
	return strings.Join(strings.Fields(text), " "), err
}

// prepared copies the code and makes its folders ready; it returns the copy, and
// the folders with tests.
func prepared(t *testing.T, program string) (string, []string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "azure")
	if err := os.CopyFS(dir, os.DirFS(deploy)); err != nil {
		t.Fatal(err)
	}
	var modules []string
	for _, name := range testFiles(t, dir) {
		modules = append(modules, filepath.Dir(filepath.Dir(name)))
	}
	slices.Sort(modules)
	modules = slices.Compact(modules)
	for _, m := range modules {
		if out, err := run(t.Context(), program, m, "init", "-backend=false", "-input=false", "-no-color"); err != nil {
			t.Fatalf("%s: init: %v\n%s", m, err, out)
		}
	}
	return dir, modules
}

// The code is formatted and valid, and its tests pass.
func TestProofAzure(t *testing.T) {
	program := tofu(t)
	_, modules := prepared(t, program)
	if out, err := run(t.Context(), program, deploy, "fmt", "-check", "-recursive", "-no-color"); err != nil {
		t.Errorf("not formatted: %v\n%s", err, out)
	}
	for _, m := range modules {
		for _, args := range [][]string{{"validate", "-no-color"}, {"test", "-no-color"}} {
			if out, err := run(t.Context(), program, m, args...); err != nil {
				t.Errorf("%s: %s: %v\n%s", m, args[0], err, out)
			}
		}
	}
}

// Each change of the code that a test file names makes its tests fail, by the
// assertion that it is written at.
func TestProofAzureFlips(t *testing.T) {
	program := tofu(t)
	dir, _ := prepared(t, program)
	for _, f := range flips(t, dir) {
		path := filepath.Join(f.module, f.file)
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := f.change(string(source))
		if err != nil {
			t.Errorf("%s:%d: %v", f.test, f.line, err)
			continue
		}
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		filter := "-filter=" + filepath.Join("tests", filepath.Base(f.test))
		out, err := run(t.Context(), program, f.module, "test", "-no-color", filter)
		if err == nil {
			t.Errorf("%s:%d: %q may become %q without a test that fails", f.test, f.line, f.was, f.is)
		} else if !strings.Contains(out, f.says) {
			t.Errorf("%s:%d: with %q the tests fail, but not by %q:\n%s", f.test, f.line, f.is, f.says, out)
		}
		if err := os.WriteFile(path, source, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
