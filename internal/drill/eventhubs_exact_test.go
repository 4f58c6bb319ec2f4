package drill

import (
	"strings"
	"testing"

	"postroad/test/eventhubstest"
)

const (
	exactly       = "forward.delivery=exactly-once"
	progressTopic = "postroad-progress"
)

// Where the tier has no transactions, exactly-once delivery says so and accepts all
// the same; nothing is lost when default delivery is chosen instead.
func TestEventHubsExactlyOnceOnStandard(t *testing.T) {
	d := onEventHubs(t, eventhubstest.Options{Compacted: []string{progressTopic}})
	d.run(soon, exactly)
	d.post(d.ledger, d.topic, "k", []byte("drill exact 1."))
	d.shows("the status says that there are no transactions", func(text string, _ report) bool {
		return strings.Contains(text, "the hub has no transactions")
	})
	d.sets = append(d.sets, "forward.delivery=default")
	d.restart()
	d.drained()
	d.sees(d.ledger, d.topic)
	d.within(eventhubstest.Transactional)
}

// Where it has, each message stands in the event hub itself once, over forwarders
// that are killed.
func TestEventHubsExactlyOnceOnPremium(t *testing.T) {
	o := eventhubstest.Options{Premium: true, Compacted: []string{progressTopic}}
	if in := eventHubsTakeovers(t, 3, o, exactly); in.Twice.Count > 0 {
		t.Errorf("%d messages stand in the topic more than once", in.Twice.Count)
	}
}
