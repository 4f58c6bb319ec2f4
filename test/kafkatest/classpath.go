package kafkatest

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

//go:embed pom.xml
var pom []byte

// oldestJava is what Kafka 4 runs on.
const oldestJava = 17

// errMissing is a machine that cannot run Kafka.
var errMissing = errors.New("no real Kafka here")

// tools are what a node is run with.
type tools struct {
	java string
	// classPath are the jars, joined as java takes them.
	classPath string
	// archive is where the loaded classes of a node are kept, or are to be.
	archive string
}

// findTools finds java and the jars of Kafka, which Maven fetches where they are
// not there. errMissing where the machine cannot.
func findTools(ctx context.Context) (tools, error) { return findToolsOf(ctx, pom) }

// findToolsOf is findTools for the jars that a pom.xml asks for.
func findToolsOf(ctx context.Context, pom []byte) (tools, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return tools{}, fmt.Errorf("%w: java is not installed", errMissing)
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return tools{}, fmt.Errorf("%w: mvn (Maven) is not installed", errMissing)
	}
	version, err := checkJava(ctx, java)
	if err != nil {
		return tools{}, err
	}
	dir, err := cacheDir(pom)
	if err != nil {
		return tools{}, err
	}
	path, err := classPath(ctx, mvn, pom, dir)
	return tools{java, path, archiveOf(dir, version, path)}, err
}

var javaVersion = regexp.MustCompile(`version "(\d+)`)

// checkJava returns what java says of its version.
func checkJava(ctx context.Context, java string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, java, "-version").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("java -version: %w: %s", err, out)
	}
	m := javaVersion.FindSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("java -version: no version in %q", out)
	}
	if major, err := strconv.Atoi(string(m[1])); err != nil || major < oldestJava {
		return nil, fmt.Errorf("%w: java %s is older than %d", errMissing, m[1], oldestJava)
	}
	return out, nil
}

// classPath returns the jars. Where Maven has put them is kept in the user's
// cache (dir, by the hash of what it was asked for); jars that have gone since are
// fetched again. Of several processes that want them one asks Maven.
func classPath(ctx context.Context, mvn string, pom []byte, dir string) (_ string, err error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", fmt.Errorf("class path of Kafka: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }() // which unlocks it, too
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return "", fmt.Errorf("class path of Kafka: lock %s: %w", lock.Name(), err)
	}
	kept := filepath.Join(dir, "classpath")
	if path, err := keptPath(kept); path != "" || err != nil {
		return path, err
	}
	return fetch(ctx, mvn, pom, dir, kept)
}

func cacheDir(pom []byte) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil { // without HOME there is none
		base = os.TempDir()
	}
	dir := filepath.Join(base, "postroad", "kafkatest", fmt.Sprintf("%x", sha256.Sum256(pom))[:16])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("class path of Kafka: %w", err)
	}
	return dir, nil
}

// keptPath returns what a file holds; "" where there is none, or where one of
// the jars that it names has gone.
func keptPath(file string) (string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("class path of Kafka: %w", err)
	}
	path := strings.TrimSpace(string(text))
	for _, jar := range filepath.SplitList(path) {
		if info, err := os.Stat(jar); err != nil || info.Size() == 0 {
			return "", nil //nolint:nilerr // it is to be fetched again, whatever is wrong with it
		}
	}
	return path, nil
}

// fetch has Maven fetch the jars and say where they are.
func fetch(ctx context.Context, mvn string, pom []byte, dir, kept string) (string, error) {
	project, found := filepath.Join(dir, "pom.xml"), filepath.Join(dir, "found")
	if err := os.WriteFile(project, pom, 0o644); err != nil {
		return "", fmt.Errorf("class path of Kafka: %w", err)
	}
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "-f", project, "dependency:build-classpath", "-Dmdep.outputFile="+found)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("class path of Kafka: mvn: %w\n%s", err, out)
	}
	path, err := keptPath(found)
	if err != nil {
		return "", err
	}
	if path == "" {
		return "", fmt.Errorf("class path of Kafka: mvn wrote none, or of jars that are not there: %s", found)
	}
	if err := os.Rename(found, kept); err != nil {
		return "", fmt.Errorf("class path of Kafka: %w", err)
	}
	return path, nil
}
