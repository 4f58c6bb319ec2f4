package hosts

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"postroad/test/binary"
)

const deploy = "../../deploy"

var built binary.Built

func TestMain(m *testing.M) { os.Exit(built.Run(m)) }

// missing ends a test for which the machine lacks a program.
func missing(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("NOT LOOKED AT: %s is not installed", program)
	}
}

// settings has `config check` look through a file, which may not be as good as
// another that was broken.
func settings(t *testing.T, path string, args ...string) {
	t.Helper()
	args = append([]string{"config", "check", "--config", path}, args...)
	if out, err := exec.CommandContext(t.Context(), built.Path(t), args...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", path, err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, append(data, "\nnothing_of_ours: 1\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if exec.CommandContext(t.Context(), built.Path(t), "config", "check", "--config", broken).Run() == nil {
		t.Errorf("%s passes with a setting that does not exist: the test tests nothing", path)
	}
}

// written is a file with a text.
func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
