package kafka

import (
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"postroad/internal/message"
	"postroad/test/kafkatest"
)

// The table is what Kafka's own client prints, see Partitions.java beside it.
const partitionTable = "testdata/partitions/table.tsv"

// TestPartitionsAsJava: each key of the table goes where Kafka's Java client
// would send it.
func TestPartitionsAsJava(t *testing.T) {
	text, err := os.ReadFile(partitionTable)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	counts := strings.Split(lines[0], "\t")[2:]
	if len(lines) < 400 || len(counts) < 10 {
		t.Fatalf("a table of %d keys and %d counts", len(lines)-1, len(counts))
	}
	for _, line := range lines[1:] {
		fields := strings.Split(line, "\t")
		key, err := hex.DecodeString(fields[0])
		if err != nil || len(fields) != 2+len(counts) {
			t.Fatalf("%q: %v", line, err)
		}
		if got := strconv.Itoa(int(int32(message.Murmur2(key)))); got != fields[1] {
			t.Errorf("murmur2(%x) = %s, in Java %s", key, got, fields[1])
		}
		for i, count := range counts {
			n, err := strconv.ParseInt(count, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			got := Partition(&message.Message{Key: key}, int32(n))
			if strconv.Itoa(int(got)) != fields[2+i] {
				t.Errorf("key %x goes to partition %d of %d, in Java to %s", key, got, n, fields[2+i])
			}
		}
	}
}

// TestPartitionTableIsJavas runs Kafka's own code again.
func TestPartitionTableIsJavas(t *testing.T) {
	java, path := kafkatest.Java(t)
	cmd := exec.CommandContext(t.Context(), java, "-Xmx64m", "-XX:TieredStopAtLevel=1", "-cp", path, "testdata/partitions/Partitions.java")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.Bytes())
	}
	if *update {
		if err := os.WriteFile(partitionTable, out, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(partitionTable)
	if err != nil || !bytes.Equal(kept, out) {
		t.Errorf("%s is not what Java says now: go test ./internal/kafka -run PartitionTable -update (%v)", partitionTable, err)
	}
}
