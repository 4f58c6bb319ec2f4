package stream

import (
	"net/http"
	"testing"
	"time"

	"postroad/internal/stream/live"
)

// A topic of more partitions than an id has room for turns foreign-partitioned: now
// one key is in view of all of them. A browser that comes back then is served, and
// told of the gap; after a 400 it would never come again.
func TestKeyOfAWideForeignTopic(t *testing.T) {
	log := newLog()
	log.Make("wide", maxView+1)
	n := startNode(t, log, testOptions(live.TopicOptions{Name: "wide"}), nil)
	url := n.url + "/v1/topics/wide/stream?key=a"
	home := log.Send("wide", "a", "home").Partition
	first := watch(t, url)
	first.values(t, 1)
	id := first.position(t)
	first.cancel()
	if _, err := parsePosition(id); err != nil {
		t.Fatal(err)
	}
	foreign := func(value string) {
		log.Append("wide", live.Record{
			Partition: (home + 1) % (maxView + 1), Key: []byte("a"), Value: []byte(value), ID: log.Mint(), HasID: true,
		})
	}
	foreign("1")
	awaitWide(t, n)
	for _, id := range []string{id, noPosition} {
		v := watch(t, url, "Last-Event-ID", id)
		if v.res.StatusCode != http.StatusOK {
			t.Fatalf("with id %s: %s", id, v.res.Status)
		}
		if e := v.nextEvent(t); e.name != "gap" {
			t.Fatalf("with id %s: %+v, want the gap", id, e)
		}
		v.values(t, 1)
		if at := v.position(t); at != noPosition {
			t.Errorf("id %q, want %q", at, noPosition)
		}
		foreign("new")
		if got := v.values(t, 1); got[0] != "new" || v.last != noPosition {
			t.Errorf("%q with id %q", got, v.last)
		}
		v.cancel()
	}
	v := watch(t, url+"&from=beginning")
	for i, got := range v.values(t, 4) {
		if got == "" || v.last != noPosition {
			t.Errorf("message %d from the beginning is %q with id %q", i, got, v.last)
		}
	}
	v.cancel()
}

// awaitWide waits until the node has seen that the topic is foreign-partitioned.
func awaitWide(t *testing.T, n *rig) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; <-time.After(time.Millisecond) {
		if at, err := n.engine.Positions(live.Subject{Topic: "wide", Key: "a"}); err == nil && len(at) > maxView {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the topic is not foreign-partitioned")
		}
	}
}
