package drill

import (
	"testing"
	"time"
)

// Each broker is killed under load and started again; at least one of them is the
// controller, since whoever that is at first is killed sooner or later.
func TestRealKafkaBrokersKilled(t *testing.T) {
	d := onRealKafka(t, nil)
	d.start()
	controllers := 0
	d.under(func() {
		for node := range d.kafka.Nodes() {
			d.forwards("before")
			controller := d.kafka.Controller(d.ctx) == node
			if controller {
				controllers++
			}
			d.kafka.Kill(node)
			d.acknowledges("a broker is away")
			again := d.forwards("a broker is away")
			back := time.Now()
			d.kafka.StartNode(node)
			started := time.Since(back)
			d.kafka.WaitInSync(d.ctx, d.topic)
			t.Logf("broker %d killed (controller: %v): %d more forwarded after %.1f s; started again in %.1f s, in sync after %.1f s",
				node, controller, enough, again.Seconds(), started.Seconds(), time.Since(back).Seconds())
		}
		d.forwards("in the end")
	}, d.load)
	if controllers == 0 {
		t.Error("no controller was killed")
	}
	d.keeps(d.judge(d.ledger, d.topic))
}

// away is what was seen of all brokers being away.
type away struct {
	opened, closed, drained time.Duration
	backlog                 int64
}

// allAway kills all brokers at once for a time, under load.
func allAway(t *testing.T, lasts time.Duration, sets ...string) (seen away) {
	d := onRealKafka(t, nil)
	d.start(sets...)
	breaker := func(want func(state string) bool) {
		d.until("the breaker follows Kafka", func() (bool, error) {
			s, err := d.status()
			return want(s.Forward.Breaker.State), err
		})
	}
	d.under(func() {
		d.forwards("before")
		killed := time.Now()
		d.kafka.Kill(0, 1, 2)
		breaker(func(state string) bool { return state != "closed" })
		seen.opened = time.Since(killed)
		if err := rest(d.ctx, lasts); err != nil {
			t.Fatal(err)
		}
		d.acknowledges("Kafka is away")
		s, err := d.status()
		if err != nil {
			t.Fatal(err)
		}
		seen.backlog = s.Queue.UnforwardedMessages
		if seen.backlog < enough {
			t.Errorf("only %d messages wait while Kafka is away", seen.backlog)
		}
		d.kafka.StartNode(0, 1, 2)
		back := time.Now()
		breaker(func(state string) bool { return state == "closed" })
		seen.closed = time.Since(back)
		d.forwards("Kafka is back")
		d.backlog("Kafka is back", func(n int64) bool { return n < enough })
		seen.drained = time.Since(back)
	}, d.load)
	t.Logf("all brokers killed: breaker open after %.1f s; %d messages waited; breaker closed %.1f s after Kafka was back, all forwarded after %.1f s",
		seen.opened.Seconds(), seen.backlog, seen.closed.Seconds(), seen.drained.Seconds())
	d.keeps(d.judge(d.ledger, d.topic))
	return seen
}

// All brokers are away: the breaker opens, the backlog grows while requests are
// acknowledged, and drains when they are back.
func TestRealKafkaAway(t *testing.T) {
	allAway(t, 5*time.Second)
}

// A topic whose replicas are too few holds nobody else up, not even where a
// forwarder is killed and another takes over meanwhile, and gets all that was sent
// to it when they are enough again. Until then Kafka does not even say where such
// a topic ends.
func TestRealKafkaTooFewReplicas(t *testing.T) {
	d := onRealKafka(t, map[string]string{"min.insync.replicas": "3"})
	other, ledger := d.topic+"-other", NewLedger()
	d.kafka.CreateTopic(d.ctx, other, 4, nil)
	d.start("forward.save_interval=500ms")
	goesOn := func(when string) {
		before := d.end(other)
		d.until(when+": another topic takes more", func() (bool, error) { return d.end(other)-before >= enough, nil })
	}
	d.under(func() {
		d.forwards("before")
		d.kafka.Kill(0)
		d.backlog("a replica is away", func(n int64) bool { return n >= 2*enough })
		goesOn("a replica is away")
		d.restart()
		goesOn("taken over while a replica is away")
		d.backlog("taken over while a replica is away", func(n int64) bool { return n >= 2*enough })
		d.kafka.StartNode(0)
		d.backlog("the replica is back", func(n int64) bool { return n < enough })
	}, d.load, d.newLoad(ledger, other, seed(t)))
	d.keeps(d.judge(d.ledger, d.topic))
	d.keeps(d.judge(ledger, other))
}
