package web_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestModules runs what testdata/*.test.mjs say of the page's modules.
func TestModules(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("NO NODE: install nodejs to test the modules of the page")
		}
		t.Skip("NO NODE: install nodejs to test the modules of the page")
	}
	tests, err := filepath.Glob(filepath.Join("testdata", "*.test.mjs"))
	if err != nil || len(tests) < 2 {
		t.Fatalf("tests: %q, %v", tests, err)
	}
	// That the page's .js are modules node is told by package.json.
	args := append([]string{"--test"}, tests...)
	cmd := exec.CommandContext(t.Context(), node, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
