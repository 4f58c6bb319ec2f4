package gateway

import (
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"postroad/internal/message"
)

// postClassic is POST /ServiceAPI/message: {"senderId", "value"} in any letter
// case becomes one message of the classic topic with the sender as its key,
// and the answer is the one that clients of old expect.
func (g *Gateway) postClassic(c *call) (int, error) {
	if err := classicType(c.r); err != nil {
		return 0, err
	}
	var err error
	b := c.b
	if b.body, err = g.readBody(c.w, c.r, g.opts.Batch.MaxBytes, "batch.max_bytes"); err != nil {
		return 0, err
	}
	sender, value, err := g.readClassic(b.body.b)
	if err != nil {
		return 0, err
	}
	b.topic, b.domain = g.opts.Classic.Topic, digestClassic
	b.add(message.Message{Key: sender, Value: value}, len(b.headers), "")
	if err := b.checkPermission(b.topic); err != nil {
		return 0, err
	}
	g.identify(b, traceParent(c.r.Header["Traceparent"]))

	m := &b.msgs[0]
	id := m.ID.String()
	m.Value, m.Headers = g.classicValue(sender, value, id, b.time), append(m.Headers, g.static.classicType)
	if err := g.checkSizes(b); err != nil {
		return 0, err
	}
	done, err := g.keep(c)
	if err != nil {
		return 0, err
	}
	receipt := message.Receipt{ID: b.msgs[0].ID, Place: done.first}
	h := c.w.Header()
	h["Postroad-Receipt"] = []string{receipt.String()}
	g.markReplay(h, done)
	b.out = append(b.out[:0], `{"serverTimestamp":"`...)
	b.out = appendTime(b.out, done.time)
	b.out = append(b.out, `","senderId":`...)
	b.out = appendString(b.out, sender)
	b.out = append(b.out, `,"correlationId":"`...)
	b.out = append(b.out, id...)
	b.out = append(b.out, `","value":`...)
	b.out = appendString(b.out, value)
	b.out = append(b.out, `,"success":true}`...)
	return g.answer(c, http.StatusOK), nil
}

// classicType takes JSON and, as old clients do, no content type at all.
func classicType(r *http.Request) error {
	contentType := r.Header.Get("Content-Type")
	if contentType != "" && !isJSON(contentType) {
		return refuse(errMediaType, "content type %q; send application/json", clip(contentType))
	}
	return checkCharset(contentType)
}

// readClassic reads the body of a classic call. Members of other names are
// passed over. The texts may be parts of the body.
func (g *Gateway) readClassic(src []byte) (sender, value []byte, err error) {
	r := g.json.get()
	defer g.json.put(r)
	r.reset(src)
	err = r.object(func(name []byte, v jsontext.Value) error {
		switch n := string(name); {
		case strings.EqualFold(n, "senderId"):
			return classicText(&sender, "senderId", v)
		case strings.EqualFold(n, "value"):
			return classicText(&value, "value", v)
		}
		return nil
	})
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return nil, nil, err
	}
	if len(sender) == 0 {
		return nil, nil, refuse(message.ErrInvalid, "senderId is missing or empty")
	}
	if len(value) == 0 {
		return nil, nil, refuse(message.ErrInvalid, "value is missing or empty")
	}
	return sender, value, checkMessageKey("senderId", sender)
}

// classicText sets to to the text of a member, which must not be there twice
// in whatever letter case.
func classicText(to *[]byte, name string, v jsontext.Value) error {
	if *to != nil {
		return refuse(message.ErrInvalid, "%s is there twice, in different letter case", name)
	}
	if v.Kind() == 'n' {
		*to = []byte{}
		return nil
	}
	s, err := text(name, v)
	*to = s
	return err
}

// classicValue is what a classic message is stored as, by classic.value.
func (g *Gateway) classicValue(sender, value []byte, id string, at time.Time) []byte {
	b := make([]byte, 0, len(sender)+len(value)+len(value)/8+160)
	if g.opts.Classic.Value == ClassicLines {
		b = append(b, sender...)
		b = append(b, '\n')
		return append(b, value...)
	}
	b = append(b, `{"senderId":`...)
	b = appendString(b, sender)
	b = append(b, `,"correlationId":"`...)
	b = append(b, id...)
	b = append(b, `","value":`...)
	b = appendString(b, value)
	b = append(b, `,"serverTimestamp":"`...)
	b = appendTime(b, at)
	return append(b, `"}`...)
}

// appendTime writes a time as in RFC 3339, always with microseconds.
func appendTime(b []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
}
