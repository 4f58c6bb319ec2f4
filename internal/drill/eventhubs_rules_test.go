package drill

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"postroad/test/eventhubstest"
)

// soon has what is held tried again within a second.
const soon = "forward.hold_interval=1s"

// drained waits until all is in the hub.
func (d *eventHubsDrill) drained() {
	d.Helper()
	if err := d.stamp.WaitDrained(d.ctx, drainLimit); err != nil {
		d.Fatal(err)
	}
}

// sees judges what a reader sees of a few messages, which are too few for the
// judge's own tests.
func (d *eventHubsDrill) sees(l *Ledger, topic string) {
	d.Helper()
	judge := l.Judge()
	if err := d.binary.Tail(d.ctx, d.brokers, topic, func(r Record) error { judge.Saw(r); return nil }); err != nil {
		d.Fatal(err)
	}
	v := judge.Verdict()
	if !v.OK() || v.Seen != l.Requests() {
		d.Errorf("of %d messages %d are seen:\n%s", l.Requests(), v.Seen, v)
	}
}

// A message for an event hub that does not exist waits, the status says who can
// make it, other topics go on, and it goes out once the event hub is there.
func TestEventHubsTopicMissing(t *testing.T) {
	d := onEventHubs(t, eventhubstest.Options{})
	d.run(soon)
	absent := NewLedger()
	d.under(func() {
		d.forwards("before")
		d.post(absent, "absent", "k", []byte("drill absent 1."))
		d.shows("the status says what is missing", func(text string, _ report) bool {
			return strings.Contains(text, "the namespace has no event hub of that name") && strings.Contains(text, `"held"`)
		})
		d.forwards("while one topic is held")
	}, d.load)
	d.double.Create("absent", 2)
	d.drained()
	d.keeps(d.judge(d.ledger, d.topic))
	d.sees(absent, "absent")
	d.within()
}

// Messages as large as the gateway takes, with the largest limit that the dialect
// allows, never make a request that Event Hubs does not take.
func TestEventHubsLargeMessages(t *testing.T) {
	const most, batch = 1041408, 1045504
	const contentType = len("content-type" + "application/octet-stream")
	d := onEventHubs(t, eventhubstest.Options{})
	d.double.Away()
	d.run(fmt.Sprintf("hub.batch_max_bytes=%d", batch), fmt.Sprintf("gateway.message.max_bytes=%d", most))
	for i := range 40 {
		key, size := fmt.Sprintf("k%d", i%8), most
		if i%2 == 1 {
			size = most / (1 + i) // others share a request with a large one
		}
		value := bytes.Repeat([]byte{'x'}, size-len(key)-contentType)
		copy(value, fmt.Sprintf("drill large %d.", i))
		d.post(d.ledger, d.topic, key, value)
	}
	d.double.Back()
	d.keeps(d.judge(d.ledger, d.topic))
	if n := d.double.Largest(); n <= most {
		t.Errorf("the largest request had only %d bytes", n)
	}
	d.within()
}

// A message that was accepted under a larger limit, and is now too large for the
// hub's, becomes a dead letter, and the others go on.
func TestEventHubsMessageTooLarge(t *testing.T) {
	d := onEventHubs(t, eventhubstest.Options{})
	d.double.Away()
	d.run()
	for i := range 3 {
		d.post(d.ledger, d.topic, "k", []byte(fmt.Sprintf("drill before %d.", i)))
	}
	large := bytes.Repeat([]byte{'y'}, 800_000)
	copy(large, "drill too large.")
	d.post(NewLedger(), d.topic, "k", large)
	for i := range 3 {
		d.post(d.ledger, d.topic, "k", []byte(fmt.Sprintf("drill behind %d.", i)))
	}
	d.sets = append(d.sets, "hub.batch_max_bytes=200000", "gateway.message.max_bytes=100000")
	d.restart()
	d.double.Back()
	d.shows("it is a dead letter", func(text string, _ report) bool { return strings.Contains(text, `"dead_total":1`) })
	d.keeps(d.judge(d.ledger, d.topic))
	out, err := exec.CommandContext(d.ctx, d.binary.Path, "queue", "dead", d.binary.Dir+"/queue").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "MESSAGE_TOO_LARGE") {
		t.Errorf("queue dead: %v: %s", err, out)
	}
	d.within()
}

// Throttling is obeyed and shown. Beyond the timeout of a request it is an error
// for Kafka's clients, and passes all the same: nobody has to do anything.
func TestEventHubsThrottled(t *testing.T) {
	d := onEventHubs(t, eventhubstest.Options{})
	d.run("hub.request_timeout=10s")
	d.under(func() {
		d.forwards("before")
		d.double.Throttle(300 * time.Millisecond)
		d.shows("the status shows for how long it was throttled", func(_ string, r report) bool { return r.Stamps[0].Hub.ThrottledSeconds > 0 })
		d.forwards("while it is throttled")
		d.double.Throttle(11 * time.Second)
		d.until("the hub refuses what it would have to hold back for too long", func() (bool, error) {
			return d.double.Refused(eventhubstest.OverQuota) >= 3, nil
		})
		text := d.shows("the status tells why", func(text string, _ report) bool { return strings.Contains(text, "POLICY_VIOLATION") })
		if strings.Contains(text, `"held"`) {
			t.Errorf("the topic is held as if somebody had to change something: %s", text)
		}
		d.double.Throttle(0)
		d.forwards("afterwards")
	}, d.load)
	d.keeps(d.judge(d.ledger, d.topic))
	if n := d.double.End(d.topic); n < enough {
		t.Errorf("%d records", n)
	}
	// The client has several requests under way, so those that come too early may
	// have been sent in time; eventhubstest tries it with one at a time.
	d.within(eventhubstest.Throttled, eventhubstest.OverQuota, eventhubstest.Impatient)
}

// A connection that was silent for too long is dead, whether that is said or not,
// and nobody hears of it: the next message goes out.
func TestEventHubsIdle(t *testing.T) {
	for name, reset := range map[string]bool{"reset": true, "silent": false} {
		t.Run(name, func(t *testing.T) {
			d := onEventHubs(t, eventhubstest.Options{Idle: time.Second, IdleReset: reset})
			d.run("hub.request_timeout=10s")
			for i := range 2 {
				posted := time.Now()
				d.post(d.ledger, d.topic, "k", []byte(fmt.Sprintf("drill idle %d.", i)))
				d.drained()
				t.Logf("forwarded after %.1f s", time.Since(posted).Seconds())
				d.until("the connection that it went by is dead", func() (bool, error) { return d.double.Live() == 0, nil })
			}
			text := d.shows("the status is there", func(string, report) bool { return true })
			if strings.Contains(text, `"held"`) || !strings.Contains(text, `"dead_total":0`) {
				t.Errorf("somebody is to do something: %s", text)
			}
			d.sees(d.ledger, d.topic)
			d.within(eventhubstest.Idle)
		})
	}
}

// A wrong connection string concerns the whole hub: the breaker opens and says why,
// no topic is held or moved aside, and it goes on by itself once it is right.
func TestEventHubsWrongString(t *testing.T) {
	d := onEventHubs(t, eventhubstest.Options{})
	good := d.double.Current()
	d.double.Write(eventhubstest.NewString())
	d.run(soon)
	d.post(d.ledger, d.topic, "k", []byte("drill wrong string 1."))
	text := d.shows("the breaker opens and says why", func(_ string, r report) bool {
		b := r.Stamps[0].Forward.Breaker
		return b.State == "open" && strings.Contains(b.Cause, "TOPIC_AUTHORIZATION_FAILED") && strings.Contains(b.Cause, "the connection string is wrong")
	})
	if strings.Contains(text, `"held"`) {
		t.Errorf("a topic is held: %s", text)
	}
	if secret := d.double.Current(); strings.Contains(text, secret) || strings.Contains(d.stamp.LogTail(), secret) {
		t.Error("the connection string is shown")
	}
	d.double.Write(good)
	d.drained()
	d.sees(d.ledger, d.topic)
	d.within(eventhubstest.Access)
}

// The key of a rule is regenerated under load, in either order: first the file and
// then the namespace, or the other way round.
func TestEventHubsStringRotated(t *testing.T) {
	d := onEventHubs(t, eventhubstest.Options{})
	d.run(soon)
	d.under(func() {
		for _, fileFirst := range []bool{true, false, true} {
			d.forwards("before")
			next, refused := eventhubstest.NewString(), d.double.Refused(eventhubstest.Access)
			if fileFirst {
				d.double.Accept(d.double.Current(), next)
				d.double.Write(next)
				d.double.Accept(next)
				d.double.Drop()
				continue
			}
			d.double.Accept(next)
			d.double.Drop()
			d.until("the old string is refused", func() (bool, error) { return d.double.Refused(eventhubstest.Access) > refused, nil })
			d.double.Write(next)
		}
		d.forwards("in the end")
	}, d.load)
	d.keeps(d.judge(d.ledger, d.topic))
	d.within(eventhubstest.Access)
}

// Compression that the tier does not take holds everything and says so: no message
// is at fault, so none becomes a dead letter.
func TestEventHubsCompression(t *testing.T) {
	d := onEventHubs(t, eventhubstest.Options{})
	d.run(soon, "hub.compression=gzip")
	value := bytes.Repeat([]byte("drill gzip. "), 1000)
	d.post(d.ledger, d.topic, "k", value)
	text := d.shows("the breaker says what is wrong", func(_ string, r report) bool {
		b := r.Stamps[0].Forward.Breaker
		return b.State == "open" && strings.Contains(b.Cause, "hub.compression")
	})
	if !strings.Contains(text, `"dead_total":0`) {
		t.Errorf("there are dead letters: %s", text)
	}
	d.sets = append(d.sets, "hub.compression=none")
	d.restart()
	d.drained()
	d.sees(d.ledger, d.topic)
	d.within(eventhubstest.Compressed)
}

// The twin of all these: the dialect of Kafka does not keep the rules, and the
// double sees that.
func TestEventHubsWithoutTheDialect(t *testing.T) {
	d := onEventHubs(t, eventhubstest.Options{})
	d.start("hub.brokers="+d.double.Addr(), "hub.tls.ca_file="+d.double.CAFile(),
		"hub.sasl.mechanism=PLAIN", "hub.sasl.username="+eventhubstest.User, "hub.sasl.password_file="+d.double.StringFile())
	d.post(d.ledger, d.topic, "k", []byte("drill without the dialect."))
	d.until("the double closes connections", func() (bool, error) { return d.double.Refused(eventhubstest.Version) > 0, nil })
}
