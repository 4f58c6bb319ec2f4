package bench

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// fakePeersEnv makes the test binary act as the program of bench/peers.
const fakePeersEnv = "BENCH_TEST_FAKE_PEERS"

func TestMain(m *testing.M) {
	if mode := os.Getenv(fakePeersEnv); mode != "" && len(os.Args) > 1 && os.Args[1][0] != '-' {
		if err := fakePeers(mode, os.Args[1:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
