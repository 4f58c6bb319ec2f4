//go:build proof

package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"postroad/test/binary"
	"postroad/test/kafkatest"
)

// TestProofDrainIntoRealKafka drains a backlog into a real Kafka of three nodes,
// beside a bare producer, and says what share of its rate that reached (F1).
func TestProofDrainIntoRealKafka(t *testing.T) {
	kafka := kafkatest.Start(t, kafkatest.Options{})
	for _, topic := range []string{topic, bareTopic} {
		kafka.CreateTopic(t.Context(), topic, 8, nil)
	}
	program := filepath.Join(t.TempDir(), "peers")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", filepath.Join("..", "..", "bench", "peers"), "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var built binary.Built
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(built.Path(t))) })
	o := DefaultDrainOptions()
	o.Binary, o.Dir, o.Peers, o.Hub = built.Path(t), t.TempDir(), program, kafka.Addrs("plain")[0]
	report, err := Drain(t.Context(), o, Deps{Progress: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Write(t.Output()); err != nil {
		t.Fatal(err)
	}
}
