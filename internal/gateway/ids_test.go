package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"postroad/internal/message"
)

// sending is a random request, and what a client would call its messages: each
// entry names principal, topic, idempotency key and content by their texts.
type sending struct {
	path, body string
	fields     []string
	contents   []string
}

// randomSending draws from so few texts that neighbours differ in one place
// only, in which an id that leaves something out would collide.
func randomSending(rng *rand.Rand) sending {
	pick := func(texts ...string) string { return texts[rng.IntN(len(texts))] }
	s := sending{}
	topic, idem := pick("t", "u"), pick("k1", "k2", "")
	value, key := pick("1", "12", "2"), pick("", "a", "1")
	s.path = "/v1/topics/" + topic + "/messages"
	if idem != "" {
		s.fields = append(s.fields, "Idempotency-Key: "+idem)
	}
	scope := topic + "|" + idem
	switch rng.IntN(4) {
	case 0: // plain
		contentType := pick("text/plain", "text/html")
		s.body, s.fields = value, append(s.fields, "Content-Type: "+contentType)
		if key != "" {
			s.path += "?key=" + key
		}
		s.contents = []string{fmt.Sprint("plain|", scope, "|", key, "|", value, "|", contentType)}
	case 1: // classic
		s.path = "/ServiceAPI/message"
		s.body = fmt.Sprintf(`{"senderId":"s%s","value":"%s"}`, key, value)
		s.contents = []string{fmt.Sprint("classic|", idem, "|", key, "|", value)}
	case 2: // events: binary, structured or batched, the same message
		id, source := pick("1", "2"), pick("s", "s1")
		content := fmt.Sprint("event|", topic, "|", id, "|", source, "|", value)
		event := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":%q,"type":"t","data":%s}`, id, source, value)
		switch rng.IntN(3) {
		case 0:
			s.body = value
			s.fields = append(s.fields, "Ce-Specversion: 1.0", "Ce-Id: "+id, "Ce-Source: "+source, "Ce-Type: t", "Content-Type: application/json")
			s.contents = []string{content}
		case 1:
			s.body, s.fields, s.contents = event, append(s.fields, structured), []string{content}
		case 2:
			s.body, s.fields, s.contents = "["+event+","+event+"]", append(s.fields, batched), []string{content, content}
		}
	case 3: // lines, some with an id of their own
		s.fields = append(s.fields, ndjson)
		n := 1 + rng.IntN(3)
		var lines, own, all []string
		for range n {
			line, id := fmt.Sprintf(`"value":%s`, pick("1", `"1"`, "2")), pick("", "x", "y")
			if key != "" {
				line += fmt.Sprintf(`,"key":%q`, key)
			}
			content := line
			if id != "" {
				line += fmt.Sprintf(`,"id":%q`, id)
				content = "line|" + topic + "|" + id + "|" + content
			}
			lines, own, all = append(lines, "{"+line+"}"), append(own, id), append(all, content)
		}
		s.body = strings.Join(lines, "\n")
		for i := range n {
			if own[i] != "" {
				s.contents = append(s.contents, all[i])
				continue
			}
			s.contents = append(s.contents, fmt.Sprint("request|", scope, "|", strings.Join(all, "\n"), "|", i))
		}
	}
	return s
}

// TestIDsNameContents: over many random requests two messages have the same
// dedupe id if and only if they are the same message, at either of two stamps.
func TestIDsNameContents(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	a := newRig(t, nil)
	b := newRig(t, func(o *Options, d *Deps) {
		d.Identity = Identity{Stamp: "cloud"}
		o.Classic.Value = ClassicLines
	})
	ids, contents := make(map[string]message.ID), make(map[message.ID]string)
	for range 800 {
		s := randomSending(rng)
		stored := [2][]message.Stored{send(a, s), send(b, s)}
		if stored[0] == nil || stored[1] == nil {
			continue
		}
		minted := !strings.Contains(strings.Join(s.fields, "\n"), "Idempotency-Key")
		for i, content := range s.contents {
			id := stored[0][i].ID
			if other := stored[1][i].ID; id != other && (!minted || stored[0][i].Digest != stored[1][i].Digest) {
				t.Fatalf("%+v: id %v at one stamp, %v at the other", s, id, other)
			}
			own := strings.HasPrefix(content, "event|") || strings.HasPrefix(content, "line|")
			if minted && !own {
				content = fmt.Sprint("minted|", len(contents), "|", i) // each request has a key of its own
			}
			if known, ok := ids[content]; ok && known != id {
				t.Fatalf("%q has the ids %v and %v", content, known, id)
			}
			if known, ok := contents[id]; ok && known != content {
				t.Fatalf("%q and %q share the id %v", known, content, id)
			}
			ids[content], contents[id] = id, content
		}
	}
	if len(contents) < 200 {
		t.Fatalf("only %d different messages", len(contents))
	}
}

// send posts to one gateway, whose memory of keys is emptied first so that it
// stores what it gets; nil where the request was refused.
func send(r *rig, s sending) []message.Stored {
	r.gateway.index = newKeyIndex(IdempotencyOptions{Retention: time.Hour, MaxKeys: 1024}, func() {})
	before := len(r.store.all())
	a := r.post(s.path, s.body, s.fields...)
	if a.status != http.StatusOK && a.status != http.StatusAccepted {
		r.Fatalf("%+v: %d %s", s, a.status, a.body)
	}
	stored := r.store.all()[before:]
	if len(stored) != len(s.contents) {
		r.Fatalf("%+v: %d messages are stored", s, len(stored))
	}
	return stored
}

// TestDigestPartsDoNotRunTogether: moving a byte from one part of a message to
// the next changes the digest.
func TestDigestPartsDoNotRunTogether(t *testing.T) {
	header := func(list ...string) (h []message.Header) {
		for i := 0; i < len(list); i += 2 {
			h = append(h, message.Header{Name: list[i], Value: []byte(list[i+1])})
		}
		return h
	}
	seen := make(map[message.Hash]int)
	for i, m := range []message.Message{
		{Key: []byte("ab"), Value: []byte("c")},
		{Key: []byte("a"), Value: []byte("bc")},
		{Value: []byte("abc")},
		{Key: []byte{}, Value: []byte("abc")},
		{Value: []byte("abc"), Headers: header("d", "e")},
		{Value: []byte("abc"), Headers: header("de", "")},
		{Value: []byte("abc"), Headers: header("d", "e", "d", "e")},
		{Value: []byte("abcd"), Headers: header("", "e")},
	} {
		for _, domain := range []string{digestMessage, digestClassic} {
			d := digestOf(domain, &m)
			if j, ok := seen[d]; ok {
				t.Errorf("messages %d and %d have the same digest", i, j)
			}
			seen[d] = i
		}
	}
	one, two := message.Hash{1}, message.Hash{2}
	none := make([]message.ID, 2)
	if digestAll([]message.Hash{one}, none[:1]) != one || digestAll([]message.Hash{one, two}, none) == digestAll([]message.Hash{two, one}, none) {
		t.Error("the digest of a request is that of its messages in order")
	}
}

// Without the line's id in the digest of the request, the second line would be
// answered with the first one's place and never stored.
func TestSameLineUnderAnotherIDIsAnotherRequest(t *testing.T) {
	r := newRig(t, nil)
	post := func(body string) reply {
		return r.post("/v1/topics/t/messages", body, "Content-Type: application/x-ndjson", "Idempotency-Key: k1")
	}
	r.want(post(`{"id":"order-1","value":"on"}`), http.StatusAccepted)
	r.want(post(`{"id":"order-2","value":"on"}`), http.StatusUnprocessableEntity, "key-reused")
	replayed := post(`{"id":"order-1","value":"on"}`)
	r.want(replayed, http.StatusAccepted)
	if replayed.header.Get("Idempotent-Replayed") != "true" || len(r.store.all()) != 1 {
		t.Errorf("replayed %v, stored %d", replayed.header, len(r.store.all()))
	}
}
