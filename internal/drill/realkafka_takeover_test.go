package drill

import (
	"testing"
)

// takeovers kills the forwarder that drains time and again, under load, while
// another stands by, and judges what readers see; then what stands in the topic,
// duplicates too.
func takeovers(t *testing.T, kills int, sets ...string) (inTopic Verdict) {
	return takeoversOf(t, postroad(t), kills, sets...)
}

// takeoversOf is takeovers of a binary.
func takeoversOf(t *testing.T, path string, kills int, sets ...string) (inTopic Verdict) {
	d := onRealKafka(t, nil)
	d.binary.Path = path
	d.process("gateway", "http.listen="+d.listen, "gateway.classic.topic="+d.topic)
	sets = append(sets, "forward.save_interval=500ms")
	forwards := []*Process{d.process("forward", sets...), d.process("forward", sets...)}
	busy := 0
	d.under(func() {
		for range kills {
			at := d.draining(forwards)
			d.stamp = forwards[at]
			d.forwards("before the kill")
			if err := forwards[at].Kill(); err != nil {
				t.Fatal(err)
			}
			f, err := forwards[at].Flight()
			if err != nil {
				t.Fatal(err)
			}
			if f.Produces > 0 {
				busy++
			}
			forwards[at] = d.process("forward", sets...)
		}
		d.stamp = forwards[d.draining(forwards)]
		d.forwards("in the end")
	}, d.load)
	d.stamp = forwards[d.draining(forwards)]
	seen := d.judge(d.ledger, d.topic)
	inTopic = d.raw(d.topic)
	t.Logf("%d forwarders killed, %d of them while something was on its way; %d messages acknowledged, and %d copies too many in the topic",
		kills, busy, seen.Acknowledged, inTopic.Twice.Count)
	d.keeps(seen)
	if inTopic.Lost.Count > 0 || inTopic.Seen-inTopic.Twice.Count != seen.Seen {
		t.Errorf("the topic itself holds other messages than a reader sees:\n%s", inTopic)
	}
	return inTopic
}

// A forwarder is killed and another takes its work over: a reader sees each
// message once.
func TestRealKafkaTakeovers(t *testing.T) {
	takeovers(t, 3)
}
