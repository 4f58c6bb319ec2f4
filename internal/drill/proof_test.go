//go:build proof

package drill

import (
	"testing"
	"time"

	"postroad/test/binary"
)

// TestProofShareKills is F2: a hundred kills of processes that share a
// directory, with the queue's default times. The pace is such that the readers'
// look-back (32768 offsets of each of 8 partitions) lasts for minutes: a chain
// whose forwarders are ended one after the other may wait that long, and what a
// client has repeated at another gateway meanwhile would be beyond it.
func TestProofShareKills(t *testing.T) {
	o := shared(t)
	o.Kills, o.Pauses = 100, 20
	o.TTL, o.Heartbeat, o.Margin = 0, 0, 0
	o.Connections, o.Pace = 48, 50*time.Millisecond
	checkShare(t, o)
}

// TestProofShareShort is the same with short times, in which more of it happens
// at once.
func TestProofShareShort(t *testing.T) {
	o := shared(t)
	o.Kills, o.Pauses = 100, 30
	checkShare(t, o)
}

// TestProofShareWithoutFence is the sabotaged twin: gateways that no longer look
// whether their lane was ended, nor whether they are late, acknowledge what
// nobody reads. The drill must find that lost.
func TestProofShareWithoutFence(t *testing.T) {
	const blind = "\tif w != nil {\n\t\treturn nil\n\t}"
	o := shared(t)
	o.Binary = binary.Sabotaged(t, "internal/queue/writer.go", map[string]string{
		"func (w *writer) confirm() error {": blind, "func (w *writer) alive() error {": blind,
	})
	o.Kills, o.Pauses, o.Spare = 6, 12, true
	report, err := Share(t.Context(), o)
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	if report.Verdict.Lost.Count == 0 {
		t.Error("the fence is not looked at, and nothing is found lost")
	}
}

// TestProofTakeover is F4, with the queue's default times. The limits are the
// promise's own, and far above what is measured.
func TestProofTakeover(t *testing.T) {
	o := shared(t)
	o.Kills, o.Pauses = 20, 6
	o.TTL, o.Heartbeat, o.Margin = 0, 0, 0
	report := checkTakeover(t, o)
	for kind, limit := range map[string]time.Duration{
		"forward killed": time.Second, "gateway killed": time.Second,
		"forward paused": 30 * time.Second, "gateway paused": 30 * time.Second,
	} {
		if slowest := report.Slowest(kind); slowest > limit {
			t.Errorf("%s: %v, want at most %v", kind, slowest, limit)
		}
	}
}
