package drill

import (
	"flag"
	"os"
	"testing"
	"time"

	"postroad/test/binary"
)

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

// built is the binary under test.
var built binary.Built

func TestMain(m *testing.M) {
	if path := os.Getenv(recordingEnv); path != "" {
		recordForEver(path)
	}
	if os.Getenv(backendEnv) != "" {
		os.Exit(backendMain(os.Args[1:]))
	}
	os.Exit(built.Run(m, realKafka.Close))
}

func postroad(t *testing.T) string { return built.Path(t) }

func seed(t testing.TB) uint64 { return binary.Seed(t) }

// testLimit bounds what a test waits for.
const testLimit = 30 * time.Second
