package drill

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
)

// Kinds of message by how they come to be stored; see PrintOf.
const (
	kindPlain   = "plain"   // the value is what was posted
	kindClassic = "classic" // the value is an object that holds it
)

// classicRecord is the stored value of a classic call.
type classicRecord struct {
	SenderID        *string `json:"senderId"`
	CorrelationID   *string `json:"correlationId"`
	Value           *string `json:"value"`
	ServerTimestamp *string `json:"serverTimestamp"`
}

// Print returns what the ledger knows a record by. The record of a classic
// call is known by the sender and value that were posted, since the rest is
// Postroad's.
func (r Record) Print() Print {
	if bytes.HasPrefix(r.Value, []byte(`{"`)) {
		d := json.NewDecoder(bytes.NewReader(r.Value))
		d.DisallowUnknownFields()
		var c classicRecord
		if d.Decode(&c) == nil && c.SenderID != nil && c.CorrelationID != nil && c.Value != nil && c.ServerTimestamp != nil &&
			*c.SenderID == string(r.Key) {
			return PrintOf(kindClassic, r.Key, []byte(*c.Value))
		}
	}
	return PrintOf(kindPlain, r.Key, r.Value)
}

// request is one request of the load, and what the ledger is to know of it.
type request struct {
	// name is how its values begin.
	name              string
	path, contentType string
	headers           []string
	body              []byte
	prints            []Print
	// repeatable says that it has an idempotency key of the client's, so that
	// it can be sent again when its outcome is unknown.
	repeatable bool
}

// batchLines is how many messages a batch of the load has.
const batchLines = 5

// mix makes the requests of one connection: mostly plain messages, some
// classic calls, some batches, and now and then twins, two messages of the same
// bytes under different idempotency keys, of which both must arrive. Half of
// all have an idempotency key of the client's.
//
// Values begin with a text that no other has, but a twin's; they are legible
// in a topic and their rest is random, so that altered bytes are found.
type mix struct {
	rng     *rand.Rand
	topic   string
	classic bool
	// key of all messages; nil for a connection without.
	key   []byte
	label string
	size  int
	n     int
	last  *request // the last plain message, for its twin
}

// next makes a request.
func (m *mix) next() request {
	r := m.make()
	r.name = m.name()
	return r
}

// name is what no value of another request begins with, but a twin's.
func (m *mix) name() string { return fmt.Sprintf("drill %s %d.", m.label, m.n) }

func (m *mix) make() request {
	m.n++
	switch roll := m.rng.IntN(32); {
	case roll < 2:
		return m.batch()
	case roll < 4 && m.key != nil && m.classic:
		return m.classicCall()
	case roll < 5 && m.last != nil:
		twin := *m.last
		twin.headers, twin.repeatable = m.idempotencyKey(1), true
		return twin
	}
	return m.plain()
}

func (m *mix) plain() request {
	value := m.value(0)
	r := request{path: "/v1/topics/" + m.topic + "/messages", contentType: "text/plain", body: value}
	if m.key != nil {
		r.path += "?key=" + url.QueryEscape(string(m.key))
	}
	r.prints = []Print{PrintOf(kindPlain, m.key, value)}
	r.headers = m.idempotencyKey(m.rng.IntN(2))
	r.repeatable = r.headers != nil
	m.last = &r
	return r
}

func (m *mix) classicCall() request {
	value := m.value(0)
	body, _ := json.Marshal(map[string]string{"senderId": string(m.key), "value": string(value)}) // strings always marshal
	r := request{path: "/ServiceAPI/message", contentType: "application/json", body: body}
	r.prints = []Print{PrintOf(kindClassic, m.key, value)}
	r.headers = m.idempotencyKey(m.rng.IntN(2))
	r.repeatable = r.headers != nil
	return r
}

func (m *mix) batch() request {
	r := request{path: "/v1/topics/" + m.topic + "/messages", contentType: "application/x-ndjson"}
	for line := range batchLines {
		value := m.value(line)
		object := map[string]string{"value": string(value)}
		if m.key != nil {
			object["key"] = string(m.key)
		}
		text, _ := json.Marshal(object) // strings always marshal
		r.body = append(append(r.body, text...), '\n')
		r.prints = append(r.prints, PrintOf(kindPlain, m.key, value))
	}
	r.headers = m.idempotencyKey(m.rng.IntN(2))
	r.repeatable = r.headers != nil
	return r
}

// idempotencyKey returns the header where n is 1, nothing where it is 0.
func (m *mix) idempotencyKey(n int) []string {
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf(`Idempotency-Key: "%s-%d-%x"`, m.label, m.n, m.rng.Uint64())}
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789äöü€"

// value makes the value of line i of the present request.
func (m *mix) value(i int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%d ", m.name(), i)
	runes := []rune(letters)
	for b.Len() < m.size {
		b.WriteRune(runes[m.rng.IntN(len(runes))])
	}
	return []byte(b.String())
}
