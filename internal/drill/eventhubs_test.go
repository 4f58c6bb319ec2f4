package drill

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"postroad/internal/loopback"
	"postroad/test/eventhubstest"
)

// eventHubsDrill is a drill on the double of Event Hubs under way.
type eventHubsDrill struct {
	*realDrill
	double *eventhubstest.Double
}

// onEventHubs makes a double whose event hub "messages" has four partitions, and a
// load for it.
func onEventHubs(t *testing.T, o eventhubstest.Options) *eventHubsDrill {
	t.Helper()
	double := eventhubstest.Start(t, o)
	reader := make([]string, 0, 8)
	for _, set := range double.Settings() {
		reader = append(reader, "--set", set)
	}
	d := &eventHubsDrill{double: double, realDrill: &realDrill{
		T: t, ctx: t.Context(), brokers: double.Addr(), topic: topic, ledger: NewLedger(),
		binary: Binary{Path: postroad(t), Dir: keptDir(t), Reader: reader},
	}}
	d.load = d.newLoad(d.ledger, d.topic, seed(t))
	var err error
	if d.listen, err = loopback.Address(d.ctx); err != nil {
		t.Fatal(err)
	}
	return d
}

// withHub are settings by which the double is reached, with others.
func (d *eventHubsDrill) withHub(sets ...string) []string {
	return slices.Concat(d.double.Settings(), []string{"gateway.classic.topic=" + d.topic}, sets)
}

// run starts a stamp.
func (d *eventHubsDrill) run(sets ...string) {
	d.Helper()
	d.start(d.withHub(sets...)...)
}

// within fails where a rule of Event Hubs was broken, besides those that the drill
// itself brings about.
func (d *eventHubsDrill) within(but ...eventhubstest.Refusal) {
	d.Helper()
	got := d.double.Refusals()
	for r, n := range got {
		if !slices.Contains(but, r) {
			d.Errorf("%q: %d times, which Event Hubs does not take", r, n)
		}
	}
	d.Logf("the largest request had %d bytes; refused: %v", d.double.Largest(), got)
}

// raw reads the event hub as it is, and judges that.
func (d *eventHubsDrill) raw() Verdict {
	d.Helper()
	older := kversion.Stable()
	older.SetMaxKeyVersion(int16(kmsg.ApiVersions), 3)
	older.SetMaxKeyVersion(int16(kmsg.Metadata), 6) // so that it learns of no leader epochs, of which the double counts requests
	return d.asItIs(d.topic, append(d.double.ClientOpts(), kgo.MaxVersions(older), kgo.DialTLSConfig(d.double.ClientTLS()))...)
}

// post posts a message of a topic and enters it in a ledger; key may be "".
func (d *eventHubsDrill) post(l *Ledger, topic, key string, value []byte) {
	d.Helper()
	var k []byte
	if key != "" {
		k = []byte(key)
	}
	s := l.Sending(fmt.Sprintf("%.20s", value), NoStream, 0, PrintOf(kindPlain, k, value))
	url := fmt.Sprintf("http://%s/v1/topics/%s/messages?key=%s", d.listen, topic, key)
	if key == "" {
		url = strings.TrimSuffix(url, "?key=")
	}
	req, err := http.NewRequestWithContext(d.ctx, http.MethodPost, url, bytes.NewReader(value))
	if err != nil {
		d.Fatal(err)
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); resp.StatusCode != http.StatusAccepted {
		d.Fatalf("posting %d bytes: %s: %s, %v", len(value), resp.Status, text, err)
	}
	l.Answered(s, Acknowledged)
}

// report is what else these drills read of a status.
type report struct {
	Stamps []struct {
		Hub struct {
			Answers          bool    `json:"answers"`
			ThrottledSeconds float64 `json:"throttled_seconds"`
			Trouble          string  `json:"trouble"`
		} `json:"hub"`
		Forward struct {
			Breaker struct {
				State string `json:"state"`
				Cause string `json:"cause"`
			} `json:"breaker"`
		} `json:"forward"`
	} `json:"stamps"`
}

// shows waits until the status is as wanted, and returns its whole text.
func (d *eventHubsDrill) shows(what string, want func(text string, r report) bool) (text string) {
	d.Helper()
	err := Until(d.ctx, realLimit, what, func() (bool, error) {
		b, err := d.stamp.status(d.ctx)
		if err != nil {
			return false, err
		}
		var r report
		if err := json.Unmarshal(b, &r); err != nil || len(r.Stamps) != 1 {
			return false, fmt.Errorf("status: %w: %.300s", err, b)
		}
		text = string(b)
		return want(text, r), nil
	})
	if err != nil {
		d.Fatalf("%v; status: %s", err, text)
	}
	return text
}

// All that a site has to send goes to Event Hubs within its rules, and each message
// is seen once and in order.
func TestEventHubsDrain(t *testing.T) { eventHubsDrain(t, 5*enough) }

// eventHubsDrain gathers a backlog while the hub is away, and has it drained.
func eventHubsDrain(t *testing.T, backlog int64) {
	d := onEventHubs(t, eventhubstest.Options{})
	d.double.Away()
	d.run()
	d.under(func() {
		d.backlog("the hub is away", func(n int64) bool { return n >= backlog })
	}, d.load)
	d.double.Back()
	back := time.Now()
	v := d.judge(d.ledger, d.topic)
	t.Logf("%d messages were drained in %.1f s", v.Seen, time.Since(back).Seconds())
	d.keeps(v)
	if in := d.raw(); in.Lost.Count > 0 || in.Invented.Count > 0 {
		t.Errorf("in the topic itself:\n%s", in)
	}
	d.within()
}

// F3: Event Hubs is away for some time under load, and comes back.
func TestEventHubsAway(t *testing.T) { eventHubsAway(t, 5*time.Second) }

func eventHubsAway(t *testing.T, lasts time.Duration) (seen away) {
	d := onEventHubs(t, eventhubstest.Options{})
	d.run()
	breaker := func(want string) {
		d.until("the breaker is "+want, func() (bool, error) {
			s, err := d.status()
			return (s.Forward.Breaker.State == "closed") == (want == "closed"), err
		})
	}
	d.under(func() {
		d.forwards("before")
		left := time.Now()
		d.double.Away()
		breaker("open")
		seen.opened = time.Since(left)
		if err := rest(d.ctx, lasts); err != nil {
			t.Fatal(err)
		}
		d.acknowledges("the hub is away")
		d.backlog("the hub is away", func(n int64) bool { seen.backlog = n; return n >= enough })
		d.double.Back()
		back := time.Now()
		breaker("closed")
		seen.closed = time.Since(back)
		d.forwards("the hub is back")
		d.backlog("the hub is back", func(n int64) bool { return n < enough })
		seen.drained = time.Since(back)
	}, d.load)
	t.Logf("away for %v: breaker open after %.1f s; %d messages waited; closed %.1f s after the return, all forwarded after %.1f s",
		lasts, seen.opened.Seconds(), seen.backlog, seen.closed.Seconds(), seen.drained.Seconds())
	d.keeps(d.judge(d.ledger, d.topic))
	d.within()
	return seen
}

// F2: a forwarder is killed under load and another takes over.
func TestEventHubsTakeovers(t *testing.T) { eventHubsTakeovers(t, 3, eventhubstest.Options{}) }

func eventHubsTakeovers(t *testing.T, kills int, o eventhubstest.Options, sets ...string) (in Verdict) {
	d := onEventHubs(t, o)
	d.process("gateway", d.withHub("http.listen="+d.listen)...)
	sets = d.withHub(append(sets, "forward.save_interval=500ms")...)
	forwards := []*Process{d.process("forward", sets...), d.process("forward", sets...)}
	d.under(func() {
		for range kills {
			at := d.draining(forwards)
			d.stamp = forwards[at]
			d.forwards("before the kill")
			if err := forwards[at].Kill(); err != nil {
				t.Fatal(err)
			}
			forwards[at] = d.process("forward", sets...)
		}
		d.stamp = forwards[d.draining(forwards)]
		d.forwards("in the end")
	}, d.load)
	d.stamp = forwards[d.draining(forwards)]
	seen := d.judge(d.ledger, d.topic)
	in = d.raw()
	t.Logf("%d forwarders killed; %d messages acknowledged, and %d copies too many in the topic", kills, seen.Acknowledged, in.Twice.Count)
	d.keeps(seen)
	if in.Lost.Count > 0 || in.Seen-in.Twice.Count != seen.Seen {
		t.Errorf("the topic itself holds other messages than a reader sees:\n%s", in)
	}
	d.within()
	return in
}
