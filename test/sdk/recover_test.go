package sdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// How much of what is sent in each part of a run.
const (
	// before the cut, of each key.
	before = 200
	// missed of the busy key, and of each other, while no node runs.
	missedBusy, missedOther = 11_000, 200
	// after a node runs again, of each key.
	after = 100
	// perBatch messages are in a request.
	perBatch = 200
)

const busy = "busy"

// recovery is a run in which all clients are cut off at once.
type recovery struct {
	*world
	clients []*client
	keys    []string
	// sent are the ids that were acknowledged, by key and in order; early are
	// the requests before the cut, and late some of those while no node ran.
	sent        map[string][]string
	early, late []batch
	next        map[string]int
	// partition is that of the busy key, mine are the keys in it.
	partition int32
	mine      []string
}

// Clients of all SDKs lose their node by SIGKILL, and come back to one that was
// started afterwards. In between more was sent than any ring holds; and what
// they had seen, and much of what they had not, was written to the hub again.
func TestSDKsRecover(t *testing.T) { recoverAll(t, newWorld(t, "")) }

func recoverAll(t *testing.T, w *world) {
	r := &recovery{world: w, sent: make(map[string][]string), next: make(map[string]int)}
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) { // which is skipped alone
			c := l.ready(t)
			for _, protocol := range l.protocols {
				// A client belongs to the test as a whole.
				r.clients = append(r.clients, c.start(w.t, l.name+"-"+protocol, protocol, w.balancer.Addr(), ""))
			}
		})
	}
	if len(r.clients) == 0 || t.Failed() {
		t.Fatal("there is no client")
	}
	r.begin()
	r.cut()
	r.resume()
	for _, p := range r.clients {
		r.judge(p)
	}
}

// send posts messages of a key to the first stamp, one request after another,
// so that their order is promised, and enters them as acknowledged.
func (r *recovery) send(key string, n int) (requests []batch) {
	r.t.Helper()
	for n > 0 {
		var messages []message
		for range min(n, perBatch) {
			m := numbered(key, r.next[key], 120)
			r.next[key]++
			messages = append(messages, m)
		}
		n -= len(messages)
		b := r.batch(messages...)
		r.post("east", b)
		for _, m := range messages {
			r.sent[key] = append(r.sent[key], m.Value)
		}
		requests = append(requests, b)
	}
	return requests
}

// again posts requests once more, at the other stamp: they are stored and
// forwarded again, with the ids that they had.
func (r *recovery) again(requests []batch) {
	r.t.Helper()
	for _, b := range requests {
		r.post("west", b)
	}
	r.drain("west")
}

// begin subscribes everybody and sends what they see before the cut.
func (r *recovery) begin() {
	r.t.Helper()
	r.keys = []string{busy, "a/%", "ö", "c", "d", "e"}
	for _, key := range r.keys { // so that it is known where they are
		r.post("east", r.batch(message{key, `{"id":"before anybody looked"}`}))
	}
	r.drain("east")
	shown, _ := r.hub(r.t.Context())
	r.partition = r.partitionOf(shown, busy)
	for _, key := range r.keys {
		if r.partitionOf(shown, key) == r.partition {
			r.mine = append(r.mine, key)
		}
	}
	r.startNode()
	for _, p := range r.clients {
		for _, subject := range r.subjects() {
			if e := p.subscribe(subject); !e.Recoverable || e.WasRecovering {
				r.t.Fatalf("%s: %+v", p.name, e)
			}
		}
	}
	for _, key := range r.keys {
		r.early = append(r.early, r.send(key, before)...)
	}
	for _, p := range r.clients {
		r.complete(p)
	}
}

// subjects are what each client is subscribed to.
func (r *recovery) subjects() []string {
	return []string{topic + "/" + busy, fmt.Sprintf("%s/*@%d", topic, r.partition)}
}

// cut kills the node, and sends on.
func (r *recovery) cut() {
	r.t.Helper()
	r.killNode()
	r.again(r.early) // duplicates on both sides of the cut
	for i, b := range r.send(busy, missedBusy) {
		if i%3 == 0 {
			r.late = append(r.late, b)
		}
	}
	for _, key := range r.keys[1:] {
		r.late = append(r.late, r.send(key, missedOther)...)
	}
	r.drain("east") // so that these are the first copies, in order
	r.again(r.late)
}

// resume starts a node, and sends on while clients are still being told what
// they missed.
func (r *recovery) resume() {
	r.t.Helper()
	r.startNode()
	for range 4 {
		for _, key := range r.keys {
			r.send(key, after/4)
		}
	}
	for _, p := range r.clients {
		r.complete(p)
	}
	// What comes twice may come late: one more, behind all others.
	r.again(r.late[:1])
	for _, key := range r.keys {
		r.send(key, 1)
	}
	for _, p := range r.clients {
		r.complete(p)
	}
	if _, duplicates := r.hub(r.t.Context()); duplicates < before+missedBusy/4 {
		r.t.Fatalf("only %d duplicates are in the hub: it proves too little", duplicates)
	}
}

// complete waits until a client has as many messages of each subject as were
// acknowledged. Which they are is judged later.
func (r *recovery) complete(p *client) {
	r.t.Helper()
	want := map[string]int{r.subjects()[0]: len(r.sent[busy])}
	for _, key := range r.mine {
		want[r.subjects()[1]] += len(r.sent[key])
	}
	counts, at := make(map[string]int), 0
	p.until(fmt.Sprintf("it has received %v", want), func(events []event) bool {
		for ; at < len(events); at++ {
			if e := events[at]; e.Event == "publication" && !e.last() {
				counts[e.Channel]++
			}
		}
		for subject, n := range want {
			if counts[subject] < n {
				return false
			}
		}
		return true
	})
}

// judge compares what a client was given with what was acknowledged.
func (r *recovery) judge(p *client) {
	r.t.Helper()
	received := make(map[string][]string) // by subject and key
	for _, e := range p.all(func(e event) bool { return e.Event == "publication" && !e.last() }) {
		value, err := p.value(e)
		if err != nil {
			r.t.Fatalf("%s: %+v: %v", p.name, e, err)
		}
		key, err := keyOf(e)
		if err != nil {
			r.t.Fatalf("%s: %+v: %v", p.name, e, err)
		}
		received[e.Channel+" "+key] = append(received[e.Channel+" "+key], value)
	}
	subjects := r.subjects()
	problems := compare(busy, received[subjects[0]+" "+busy], r.sent[busy])
	for _, key := range r.mine {
		problems = append(problems, compare(key, received[subjects[1]+" "+key], r.sent[key])...)
	}
	if len(received) != 1+len(r.mine) {
		problems = append(problems, fmt.Sprintf("messages of %d subjects and keys, want %d", len(received), 1+len(r.mine)))
	}
	for _, problem := range slices.Concat(problems, r.told(p)) {
		r.t.Errorf("%s: %s", p.name, problem)
	}
	if len(problems) > 0 {
		r.t.Logf("%s said:\n%s", p.name, p.said())
	}
	r.t.Logf("%s: %d messages of %s, %d missed while it was away", p.name, len(r.sent[busy]), busy, missedBusy)
}

// keyOf is the key of a publication: that of its subject, or the one that its tag
// names.
func keyOf(e event) (string, error) {
	if e.Channel == topic+"/"+busy {
		return busy, nil
	}
	tag, ok := e.Tags["key"]
	if !ok {
		return "", errors.New("no tag says the key")
	}
	return url.PathUnescape(tag)
}

// told finds what is wrong with what a client was told of its subscriptions.
func (r *recovery) told(p *client) (problems []string) {
	for _, subject := range r.subjects() {
		times := 0
		for _, e := range p.all(of("subscribed", subject)) {
			if e.WasRecovering {
				times++
				if !e.Recovered {
					problems = append(problems, fmt.Sprintf("%s: told that something is missing: %+v", subject, e))
				}
			}
		}
		if times == 0 {
			problems = append(problems, subject+": it never came back")
		}
		// The last value before anybody looked, and no more of its kind: what
		// was recovered has no need of it.
		snapshots := p.all(func(e event) bool { return e.Event == "publication" && e.Channel == subject && e.last() })
		if subject == topic+"/"+busy && len(snapshots) != 1 || len(snapshots) > len(r.mine) {
			problems = append(problems, fmt.Sprintf("%s: %d last values", subject, len(snapshots)))
		}
	}
	for _, e := range p.all(func(e event) bool { return e.Event == "unsubscribed" || e.Event == "disconnected" }) {
		problems = append(problems, fmt.Sprintf("it was sent away for good: %+v", e))
	}
	return problems
}

// What the judge compares are the values as every SDK gives them out again.
func TestNumbered(t *testing.T) {
	var v struct{ ID string }
	m := numbered("a/%", 7, 3)
	if err := json.Unmarshal([]byte(m.Value), &v); err != nil || v.ID != "a/% 7" || strings.Contains(m.Value, " :") {
		t.Errorf("%s: %v, %+v", m.Value, err, v)
	}
}
