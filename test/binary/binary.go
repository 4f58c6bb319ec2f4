package binary

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// Built is the binary as it is shipped, made when a test first asks for it. Its
// zero value is ready; a package has one for all its tests.
type Built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// Path builds the binary where no test has yet, and returns its path.
func (b *Built) Path(t testing.TB) string {
	t.Helper()
	b.once.Do(b.make)
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

// make builds into a directory that outlives the test that asked first.
func (b *Built) make() {
	if b.dir, b.err = os.MkdirTemp("", "postroad-tested-"); b.err != nil {
		return
	}
	b.path = filepath.Join(b.dir, "postroad")
	b.err = build(context.Background(), b.path)
}

// Run runs the tests of a package, calls what ends what they shared, removes the
// binary and looks for goroutines that are left behind. It returns the exit code
// for TestMain.
func (b *Built) Run(m *testing.M, ends ...func() error) int {
	code := m.Run()
	for _, end := range ends {
		if err := end(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if b.dir != "" {
		if err := os.RemoveAll(b.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// build builds the binary with the flags of the shipped one and some more.
func build(ctx context.Context, path string, flags ...string) error {
	args := append([]string{"build", "-trimpath", "-o", path}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "postroad/cmd/postroad")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build postroad: %w\n%s", err, out)
	}
	return nil
}

// Sabotaged builds the binary with the beginning of some functions of a source
// file replaced: after each line that is given, the other one is inserted. The
// file is named from the module's root; each line must be there just once.
func Sabotaged(t testing.TB, file string, after map[string]string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatalf("where the module is: %v", err)
	}
	path := filepath.Join(strings.TrimSpace(string(out)), filepath.FromSlash(file))
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(source)
	for line, insert := range after {
		if strings.Count(text, line+"\n") != 1 {
			t.Fatalf("%s has no single line %q to sabotage", file, line)
		}
		text = strings.Replace(text, line+"\n", line+"\n"+insert+"\n", 1)
	}
	dir := t.TempDir()
	changed, overlay, binary := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "postroad")
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := build(t.Context(), binary, "-overlay", overlay); err != nil {
		t.Fatalf("sabotaged: %v", err)
	}
	return binary
}
