package sdk

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// largest is a value that is nearly as large as a message may be.
const largest = 880_000

// Each SDK connects, subscribes to keys and to a partition, is given the last
// value and what comes, publishes, and reads back.
func TestSDKs(t *testing.T) {
	w := newWorld(t, "")
	for _, key := range []string{"müller/7 %", "plain"} {
		w.post("east", w.batch(numbered(key, 0, 1)))
	}
	w.drain("east")
	w.startNode() // now that the hub has the topic: what is subscribed to before has no position
	each(t, func(t *testing.T, name, protocol string, c command) {
		w := *w
		w.t = t
		key := name + "-" + protocol + "/ä%" // of its own, and not harmless in a subject
		subject := topic + "/" + strings.NewReplacer("%", "%25", "/", "%2F").Replace(key)
		watcher := c.start(t, name, protocol, w.balancer.Addr(), "")
		p := c.start(t, name, protocol, w.balancer.Addr(), "")
		p.wait("it is connected", func(e event) bool { return e.Event == "connected" })
		receive(t, &w, p, key, subject)
		publish(t, watcher, p, subject)
		history(t, p, subject)
		refused(t, p)
	})
}

// got waits for the publication of a subject that has a value.
func (p *client) got(subject, value string) event {
	p.t.Helper()
	return p.wait(fmt.Sprintf("%.60s is received from %s", value, subject), func(e event) bool {
		if e.Event != "publication" || e.Channel != subject {
			return false
		}
		text, err := p.value(e)
		return err == nil && text == value
	})
}

// receive shows the last value at subscribing, messages of a key and of all keys
// of its partition, and data that is no JSON.
func receive(t *testing.T, w *world, p *client, key, subject string) {
	first := numbered(key, 0, 10)
	w.post("east", w.batch(first))
	w.drain("east")
	shown, _ := w.hub(t.Context())
	all := fmt.Sprintf("%s/*@%d", topic, w.partitionOf(shown, key))
	begun := p.subscribe(subject)
	if !begun.Recoverable {
		t.Errorf("not recoverable: %+v", begun)
	}
	if e := p.got(subject, first.Value); !e.last() || e.Offset <= begun.Offset {
		t.Errorf("the last value is not marked, or would set the position of %+v back: %+v", begun, e)
	}
	p.subscribe(all)
	if e := p.got(all, first.Value); e.Tags["key"] != strings.TrimPrefix(subject, topic+"/") {
		t.Errorf("tags %v of a publication from a subject of several keys", e.Tags)
	}
	second := numbered(key, 1, 10)
	w.post("west", w.batch(second))
	one, every := p.got(subject, second.Value), p.got(all, second.Value)
	if one.Offset == 0 || one.Offset != every.Offset {
		t.Errorf("offset %d in %s, %d in %s", one.Offset, subject, every.Offset, all)
	}
	for _, value := range []string{"plain text, \"quoted\" ä€", "\x00\xff\xfe bytes", `{"spaced" : [1, 2.50, "\u00e4"]}`, "", largeValue()} {
		w.put("east", key, []byte(value))
		if strings.HasPrefix(value, "{") {
			// In JSON a program is given the value, not how it was written.
			p.wait("JSON is received", func(e event) bool { return of("publication", subject)(e) && alike(e.Data, value) })
			continue
		}
		p.got(subject, value)
	}
}

// alike reports whether two texts are the same value in JSON.
func alike(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}

func largeValue() string { return `{"pad":"` + strings.Repeat("€", largest/3) + `"}` }

// publish shows that what one client publishes is at another.
func publish(t *testing.T, watcher, p *client, subject string) {
	watcher.subscribe(subject)
	for i := range 3 {
		value := fmt.Sprintf(`{"published":%d}`, i)
		if e := p.answer(p.ask(ask{Do: "publish", Channel: subject, Data: value})); e.Event != "done" {
			t.Fatalf("%+v", e)
		}
		if e := watcher.got(subject, value); e.Offset == 0 || e.last() {
			t.Errorf("%+v", e)
		}
		p.got(subject, value)
	}
}

// history shows the newest first, and then what lies behind a position.
func history(t *testing.T, p *client, subject string) {
	h := p.answer(p.ask(ask{Do: "history", Channel: subject, Limit: 3, Reverse: true}))
	if h.Event != "done" || len(h.Publications) != 3 || h.Epoch == "" {
		t.Fatalf("%+v", h)
	}
	for i, e := range h.Publications {
		if want := fmt.Sprintf(`{"published":%d}`, 2-i); e.Data != want {
			t.Errorf("publication %d of the history is %s, want %s", i, e.Data, want)
		}
	}
	behind := p.answer(p.ask(ask{Do: "history", Channel: subject, Limit: 10, Since: &since{h.Publications[2].Offset, h.Epoch}}))
	if len(behind.Publications) != 2 || behind.Publications[0].Data != `{"published":1}` {
		t.Errorf("behind offset %d: %+v", h.Publications[2].Offset, behind)
	}
	if head := p.answer(p.ask(ask{Do: "history", Channel: subject})); head.Event != "done" || len(head.Publications) > 0 || head.Offset < h.Publications[0].Offset {
		t.Errorf("asked for the position alone: %+v", head)
	}
	offsets := func(a, b event) int { return int(a.Offset) - int(b.Offset) }
	if !slices.IsSortedFunc(behind.Publications, offsets) {
		t.Errorf("not in order: %+v", behind.Publications)
	}
}

// refused shows the codes of what cannot be.
func refused(t *testing.T, p *client) {
	if e := p.answer(p.ask(ask{Do: "publish", Channel: topic + "/*", Data: "{}"})); e.Event != "failed" || e.Code != 107 {
		t.Errorf("a publish to all keys: %+v", e)
	}
	for channel, code := range map[string]int{"elsewhere/a": 102, topic: 107, topic + "/*@99": 102} {
		p.ask(ask{Do: "subscribe", Channel: channel})
		e := p.wait("it is refused "+channel, of("unsubscribed", channel))
		if e.Code != code {
			t.Errorf("subscribed to %s: %+v, want code %d", channel, e, code)
		}
	}
}
