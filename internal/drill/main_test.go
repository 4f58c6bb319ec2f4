package drill

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0 takes one by chance")

var keepFlag = flag.String("keep", "", "`directory` that keeps the files of the drills of several processes; a temporary one by default")

// keptDir is a new directory for a drill.
func keptDir(t *testing.T) string {
	t.Helper()
	if *keepFlag == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(*keepFlag, t.Name()+"-") //nolint:usetesting // it is to be kept
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// seed returns the seed of a random test and prints it.
func seed(t testing.TB) uint64 {
	s := *seedFlag
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d", s)
	return s
}

func TestMain(m *testing.M) {
	if path := os.Getenv(recordingEnv); path != "" {
		recordForEver(path)
	}
	code := m.Run()
	if built.dir != "" {
		if err := os.RemoveAll(built.dir); err != nil {
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
	os.Exit(code)
}

// built is the binary under test, made once.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// postroad builds the binary as it is shipped and returns its path.
func postroad(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "postroad-drill-"); built.err != nil { //nolint:usetesting // it serves other tests, too
			return
		}
		built.path = filepath.Join(built.dir, "postroad")
		cmd := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-o", built.path, "postroad/cmd/postroad")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build postroad: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// sabotaged builds the binary with the beginning of some functions of a source
// file replaced: after each line that is given, the other one is inserted.
func sabotaged(t *testing.T, file string, after map[string]string) string {
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
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-overlay", overlay, "-o", binary, "postroad/cmd/postroad")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build a sabotaged postroad: %v\n%s", err, out)
	}
	return binary
}

// testLimit bounds what a test waits for.
const testLimit = 30 * time.Second
