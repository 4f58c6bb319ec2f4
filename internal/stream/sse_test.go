package stream

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// A viewer that moves from node to node with the id of the last event it got sees
// each message once: here after every third one, on nodes that take turns.
func TestViewerMovesBetweenNodes(t *testing.T) {
	log := newLog()
	nodes := []*rig{startNode(t, log, testOptions(), nil), startNode(t, log, testOptions(), nil)}
	for _, row := range []struct{ name, query string }{{"one key", "key=a"}, {"all keys", ""}, {"one partition", "partition=0"}} {
		t.Run(row.name, func(t *testing.T) {
			topic := "one"
			if row.query == "" {
				topic = "cars"
			}
			path := "/v1/topics/" + topic + "/stream?" + row.query
			v := watch(t, nodes[0].url+path+"&from=end")
			v.position(t)
			last := v.last
			v.close()
			var want, got []string
			for round := range 12 {
				for i := range 3 { // missed
					want = append(want, log1(log.Send(topic, key(row.query, i), fmt.Sprintf("%s %d missed %d", row.name, round, i))))
				}
				v := watch(t, nodes[round%2].url+path, "Last-Event-ID", last)
				got = append(got, v.values(t, 3)...)
				for i := range 3 { // live
					want = append(want, log1(log.Send(topic, key(row.query, i), fmt.Sprintf("%s %d live %d", row.name, round, i))))
				}
				got = append(got, v.values(t, 3)...)
				last = v.last
				v.close()
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func key(query string, i int) string {
	if query == "key=a" {
		return "a"
	}
	return fmt.Sprint("key ", i)
}

func TestWhereStreamsBegin(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), nil)
	n.opts.History.MaxMessages = 1
	for i := range 300 {
		log.Send("cars", fmt.Sprint("k", i%7), fmt.Sprint("v", i))
	}
	log.Send("cars", "a", "a1")
	log.Send("cars", "a", "a2")
	awaitLast(t, n, "cars", "a", "a2")
	url := n.url + "/v1/topics/cars/stream"

	v := watch(t, url+"?key=a")
	if got := v.values(t, 1); got[0] != "a2" {
		t.Errorf("first the last value: %q", got)
	}
	mid := v.position(t)
	log.Send("cars", "a", "a3")
	if got := v.values(t, 1); got[0] != "a3" {
		t.Errorf("then what is new: %q", got)
	}
	v = watch(t, url+"?key=a&from=end")
	v.position(t)
	log.Send("cars", "a", "a4")
	if got := v.values(t, 1); got[0] != "a4" {
		t.Errorf("from the end: %q", got)
	}
	v = watch(t, url+"?key=a&from=beginning")
	if got := v.values(t, 4); strings.Join(got, " ") != "a1 a2 a3 a4" {
		t.Errorf("from the beginning: %q", got)
	}
	log.Send("cars", "a", "a5")
	if got := v.values(t, 1); got[0] != "a5" {
		t.Errorf("from the beginning, then what is new: %q", got)
	}
	v = watch(t, url+"?key=a&from="+mid)
	if got := v.values(t, 3); strings.Join(got, " ") != "a3 a4 a5" {
		t.Errorf("from a position: %q", got)
	}
	v = watch(t, url+"?key=a&from=beginning", "Last-Event-ID", mid)
	if got := v.values(t, 3); got[0] != "a3" {
		t.Errorf("the header goes before the parameter: %q", got)
	}
	if got := watch(t, url+"?from=beginning").values(t, 305); len(got) != 305 {
		t.Errorf("all from the beginning: %d", len(got))
	}
	if got := watch(t, url).values(t, 8); !slices.Contains(got, "a5") || !slices.Contains(got, "v299") {
		t.Errorf("last values of all keys: %q", got)
	}
}

func awaitLast(t *testing.T, n *rig, topic, key, value string) {
	t.Helper()
	await(t, value+" to be read", func() bool {
		return strings.Contains(ask(t, http.MethodGet, n.url+"/v1/topics/"+topic+"/last?key="+key).body, `"value":"`+value+`"`)
	})
}

// One who was cut off while the past was written comes back in the middle of it,
// and sees nothing twice and misses nothing.
func TestCutInThePast(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), nil)
	var want []string
	for i := range 40 {
		want = append(want, log1(log.Send("cars", fmt.Sprint("k", i%5), fmt.Sprint("v", i))))
	}
	awaitLast(t, n, "cars", "k4", "v39")
	slices.Sort(want)
	for cut := 1; cut < 40; cut += 7 {
		v := watch(t, n.url+"/v1/topics/cars/stream?from=beginning")
		got := v.values(t, cut)
		last := v.last
		v.close()
		got = append(got, watch(t, n.url+"/v1/topics/cars/stream?from=beginning", "Last-Event-ID", last).values(t, 40-cut)...)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("cut after %d: %q", cut, got)
		}
	}
}

// Where what was missed cannot be had, the viewer is told, before the last values.
func TestGap(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), nil)
	log.Send("one", "a", "old")
	v := watch(t, n.url+"/v1/topics/one/stream?key=a")
	v.values(t, 1)
	old := v.position(t)
	other := watch(t, n.url+"/v1/topics/cars/stream?key=a").position(t)
	for i := range 100 {
		log.Send("one", "a", fmt.Sprint("v", i))
	}
	awaitLast(t, n, "one", "a", "v99")
	gap := func(name, id, reason string) {
		t.Helper()
		v := watch(t, n.url+"/v1/topics/one/stream?key=a", "Last-Event-ID", id)
		e := v.nextEvent(t)
		if e.name != "gap" || !strings.Contains(e.data, reason) || e.hasID {
			t.Fatalf("%s: first event %+v", name, e)
		}
		if got := v.nextEvent(t); got.hasID || *got.message(t).Value != "v99" {
			t.Errorf("%s: then %+v", name, got)
		}
		again := v.position(t)
		v.close()
		v = watch(t, n.url+"/v1/topics/one/stream?key=a", "Last-Event-ID", again)
		v.position(t) // and from there on no gap
	}
	gap("no position", "whatever", "no position")
	gap("of another topic", other, "another hub")
	log.Truncate("one", 0, 60)
	n2 := startNode(t, log, testOptions(), nil) // the first one still has it in memory
	n = n2
	awaitLast(t, n, "one", "a", "v99")
	gap("no longer held", old, "no longer holds")
}

// A viewer of a topic that is made anew is let go, and told of the gap.
func TestTopicMadeAnew(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), nil)
	log.Send("one", "a", "old")
	v := watch(t, n.url+"/v1/topics/one/stream?key=a")
	v.values(t, 1)
	v.position(t)
	log.Make("one", 1)
	for {
		e, ok := v.next(t)
		if !ok {
			break
		}
		if e.data != "" {
			t.Errorf("event %+v", e)
		}
	}
	await(t, "the node to be ready again", func() bool { return n.Ready() == nil })
	log.Send("one", "a", "new")
	awaitLast(t, n, "one", "a", "new")
	again := watch(t, n.url+"/v1/topics/one/stream?key=a", "Last-Event-ID", v.last)
	if e := again.nextEvent(t); e.name != "gap" {
		t.Errorf("first event %+v", e)
	}
	if got := again.values(t, 1); got[0] != "new" {
		t.Errorf("then %q", got)
	}
}

// A stream that is silent is kept alive, with ids that follow the partition: the
// position of a key without messages would otherwise grow too old to come back to.
func TestKeepAliveMovesOn(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), nil, func(n *Node) { n.opts.SSE.KeepAlive = 20 * time.Millisecond })
	v := watch(t, n.url+"/v1/topics/one/stream?key=silent")
	first := v.position(t)
	for i := range 20 {
		log.Send("one", "other", fmt.Sprint(i))
	}
	for v.last == first {
		if e, ok := v.next(t); !ok || e.data != "" || e.hasID && e.comment != "keep-alive" {
			t.Fatalf("%+v, %v", e, ok)
		}
	}
	for {
		e, _ := v.next(t)
		p, err := parsePosition(v.last)
		if err != nil || e.data != "" {
			t.Fatalf("%+v: %v", e, err)
		}
		if p.next[0] == 20 {
			break
		}
	}
	log.Send("one", "silent", "at last")
	if got := watch(t, n.url+"/v1/topics/one/stream?key=silent", "Last-Event-ID", v.last).values(t, 1); got[0] != "at last" {
		t.Errorf("%q", got)
	}
}

// A position ahead of this node is kept: nothing at or below it is sent again, and
// the ids do not go back.
func TestPositionAhead(t *testing.T) {
	log := newLog()
	ahead := startNode(t, log, testOptions(), nil)
	log.Send("one", "a", "v0")
	log.Hold("one", 0, 1)
	behind := startNode(t, log, testOptions(), nil, func(n *Node) { n.opts.SSE.KeepAlive = 10 * time.Millisecond })
	log.Hold("one", 0, -1)
	awaitLast(t, ahead, "one", "a", "v0")
	log.Hold("one", 0, 1)
	log.Send("one", "a", "v1")
	log.Send("one", "a", "v2")
	now, err := behind.engine.Positions(subjectA())
	if err != nil {
		t.Fatal(err)
	}
	now[0].Next = 3
	id := positionOf(now).String()
	v := watch(t, behind.url+"/v1/topics/one/stream?key=a", "Last-Event-ID", id)
	for range 3 {
		if e, ok := v.next(t); !ok || e.data != "" || e.hasID && e.id != id {
			t.Fatalf("%+v, want id %s", e, id)
		}
	}
	log.Hold("one", 0, -1)
	log.Send("one", "a", "v3")
	if got := v.values(t, 1); got[0] != "v3" {
		t.Errorf("%q", got)
	}
}
