//go:build proof

package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	byFile := make(map[string][]flip)
	for _, f := range flips(t, dir) {
		byFile[f.test] = append(byFile[f.test], f)
	}
	for name, all := range byFile {
		// Each run of tofu reads the provider's schema, which takes longer than ten flips.
		for part := range slices.Chunk(all, 40) {
			t.Run(fmt.Sprintf("%s:%d", filepath.Base(name), part[0].line), func(t *testing.T) {
				t.Parallel()
				for len(part) > 0 {
					part = w.flip(t, dir, part)
				}
			})
		}
	}
}

// flip makes changes, each in a copy of its folder, and runs each one's run block
// against its copy. It returns those that were not come to, since tofu goes on after
// an assertion that fails, but not after an error.
func (w tools) flip(t *testing.T, dir string, part []flip) []flip {
	t.Helper()
	own := filepath.Join(t.TempDir(), "azure")
	if err := os.CopyFS(own, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	folder, err := filepath.Rel(dir, part[0].module)
	if err != nil {
		t.Fatal(err)
	}
	folder = filepath.Join(own, folder)
	var text strings.Builder
	text.WriteString(part[0].head)
	for i, f := range part {
		source := fmt.Sprintf("../%s-%d", filepath.Base(folder), i)
		if err := changed(folder, filepath.Join(folder, source), f); err != nil {
			t.Fatalf("%s:%d: %v", f.test, f.line, err)
		}
		fmt.Fprintf(&text, "run \"flip_%d\" {\n  module {\n    source = %q\n  }\n\n%s\n", i, source, f.body)
	}
	name := filepath.Join("tests", "flips.tftest.hcl")
	if err := os.WriteFile(filepath.Join(folder, name), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := w.run(t.Context(), folder, "get"); err != nil {
		t.Fatalf("get: %v\n%s", err, out)
	}
	out, _ := w.run(t.Context(), folder, "test", "-json", "-filter="+name)
	verdicts, err := verdicts(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for i, f := range part {
		v := verdicts[fmt.Sprintf("flip_%d", i)]
		switch {
		case v.status == "skip" && i > 0:
			return part[i:]
		case v.status == "pass":
			t.Errorf("%s:%d: %q may become %q without a test that fails", f.test, f.line, f.was, f.is)
		case !strings.Contains(v.said, f.says):
			t.Errorf("%s:%d: with %q it is %q, but not by %q:\n%s", f.test, f.line, f.is, v.status, f.says, v.said)
		}
	}
	return nil
}

// changed copies the code of a folder beside it, with one change.
func changed(folder, to string, f flip) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(folder, "*.tf"))
	if err != nil {
		return err
	}
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		text := string(source)
		if filepath.Base(name) == f.file {
			if text, err = f.change(text); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(name)), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// A verdict is how a run block went, and all that tofu said of it.
type verdict struct {
	status, said string
}

// verdicts reads what tofu test -json prints, a message a line.
func verdicts(out string) (map[string]verdict, error) {
	found := make(map[string]verdict)
	dec := json.NewDecoder(strings.NewReader(out))
	for {
		var m struct {
			Run    string `json:"@testrun"`
			Status struct {
				Run    string `json:"run"`
				Status string `json:"status"`
			} `json:"test_run"`
			Diagnostic struct {
				Summary string `json:"summary"`
				Detail  string `json:"detail"`
			} `json:"diagnostic"`
		}
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("read what tofu says: %w", err)
		}
		v := found[m.Run]
		if m.Status.Run != "" {
			v.status = m.Status.Status
		}
		if m.Diagnostic.Summary != "" {
			v.said += m.Diagnostic.Summary + ": " + m.Diagnostic.Detail + "\n"
		}
		found[m.Run] = v
	}
}
