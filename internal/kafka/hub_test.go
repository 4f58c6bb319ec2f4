package kafka

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/hub"
	"postroad/internal/message"
)

// The test binary is also the hub that is killed.
const childHubEnv = "POSTROAD_TEST_CHILD_HUB"

func childHubDir() string { return os.Getenv(childHubEnv) }

func runChildHub(dir string) {
	o := hub.DefaultOptions()
	o.Dir, o.Listen, o.Partitions = dir, "127.0.0.1:0", 3
	h, err := hub.New(o, hub.Deps{})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println("listening", h.Addr())
	h.Run(context.Background())
}

func startChildHub(t *testing.T, dir string) (addr string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childHubEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		cmd.Process.Kill() // SIGKILL
		cmd.Wait()
	})
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if !ok {
		t.Fatalf("the hub said %q (%v)", line, err)
	}
	return addr, kill
}

// kill -9 keeps what was acknowledged, in topics however they were made.
func TestKilledHubKeepsAcknowledged(t *testing.T) {
	dir := t.TempDir()
	acked := map[uint64]bool{}
	var mu sync.Mutex
	seq := uint64(0)
	for round := range 4 {
		addr, kill := startChildHub(t, dir)
		s := startSink(t, options(addr))
		if round == 0 {
			client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(-1))
			if err != nil {
				t.Fatal(err)
			}
			if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "by-name", Value: []byte("v")}).FirstErr(); err != nil {
				t.Fatal("a topic made by naming it:", err)
			}
			client.Close()
		}
		enough := make(chan struct{})
		msgs := make([]message.Stored, 20000)
		for i := range msgs {
			seq++
			msgs[i] = stored(seq)
		}
		n := 0
		for i := range msgs {
			err := s.Produce(&msgs[i], int32(i%3), s.Turn(), func(_ int64, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					acked[msgs[i].Seq] = true
					if n++; n == 3000 {
						close(enough)
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		next(t, enough)
		kill()
		s.Close()
	}
	addr, _ := startHub(t, dir, "")
	got := map[uint64]int{}
	for _, r := range all(t, addr, FollowOptions{}) {
		got[r.Seq]++
	}
	mu.Lock()
	defer mu.Unlock()
	for seq := range acked {
		if got[seq] != 1 {
			t.Fatalf("message %d was acknowledged and is shown %d times", seq, got[seq])
		}
	}
	if len(acked) < 12000 {
		t.Fatalf("only %d acknowledged: the kill came too soon to prove anything", len(acked))
	}
	if n := len(all(t, addr, FollowOptions{Topic: "by-name"})); n != 1 {
		t.Errorf("the topic made by naming it has %d records, want 1", n)
	}
}
