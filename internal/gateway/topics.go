package gateway

import (
	"context"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"postroad/internal/message"
)

// Content types by which POST /v1/topics/{topic}/messages tells what it gets.
const (
	typeNDJSON     = "application/x-ndjson"
	typeEvent      = "application/cloudevents+json"
	typeEventBatch = "application/cloudevents-batch+json"
)

// postTopic is POST /v1/topics/{topic}/messages.
func (g *Gateway) postTopic(c *call) (int, error) {
	b, r := c.b, c.r
	if !message.ValidTopic(b.topic) {
		return 0, refuse(message.ErrInvalid, "topic %q: must be 1 to %d of A-Z, a-z, 0-9, '.', '_' and '-'", clip(b.topic), message.MaxTopicLen)
	}
	if strings.HasPrefix(b.topic, internalTopics) {
		// A hub refuses these for good, and one such message would hold up
		// all that is behind it.
		return 0, refuse(message.ErrInvalid, "topic %q: names that begin with %q are the hub's own", clip(b.topic), internalTopics)
	}
	b.domain = digestMessage
	key, err := readMessageKey(r)
	if err != nil {
		return 0, err
	}
	if err := g.readMessages(c, key); err != nil {
		return 0, err
	}
	if err := b.checkPermission(b.topic); err != nil {
		return 0, err
	}
	g.identify(b, traceParent(r.Header["Traceparent"]))
	if err := g.checkSizes(b); err != nil {
		return 0, err
	}
	done, err := g.keep(c)
	if err != nil {
		return 0, err
	}
	b.dropBody(g)
	g.markReplay(c.w.Header(), done)
	if wait := preferWait(r.Header["Prefer"], g.opts.WaitMax); wait > 0 {
		return g.answerWaiting(c, done, wait), nil
	}
	b.out = g.appendAccepted(b.out[:0], b, done.first, nil)
	return g.answer(c, http.StatusAccepted), nil
}

// internalTopics begins the names of topics that a hub keeps for itself, such
// as __consumer_offsets.
const internalTopics = "__"

// readMessages reads the body by its content type into the batch.
func (g *Gateway) readMessages(c *call, key []byte) error {
	contentType := c.r.Header.Get("Content-Type")
	media := mediaType(contentType)
	switch {
	case media == typeNDJSON, media == typeEvent, media == typeEventBatch:
		return g.readBatch(c, media, contentType, key)
	case strings.HasPrefix(media, "application/cloudevents"):
		return refuse(errMediaType, "content type %q; structured CloudEvents are taken as %s or %s", clip(contentType), typeEvent, typeEventBatch)
	}
	attributes, err := eventAttributes(c.r.Header)
	if err != nil {
		return err
	}
	if err := checkText("Content-Type", []byte(contentType)); err != nil {
		return err
	}
	b := c.b
	if b.body, err = g.readBody(c.w, c.r, g.opts.Message.MaxBytes, "message.max_bytes"); err != nil {
		return err
	}
	if attributes != nil {
		return b.addEvent(attributes, b.body.b, key)
	}
	mark := len(b.headers)
	if contentType != "" {
		b.headers = append(b.headers, message.Header{Name: "content-type", Value: b.keepText(contentType)})
	}
	b.add(message.Message{Key: key, Value: b.body.b}, mark, "")
	return nil
}

// readBatch reads one of the JSON forms.
func (g *Gateway) readBatch(c *call, media, contentType string, key []byte) error {
	if err := checkCharset(contentType); err != nil {
		return err
	}
	var err error
	b := c.b
	if b.body, err = g.readBody(c.w, c.r, g.opts.Batch.MaxBytes, "batch.max_bytes"); err != nil {
		return err
	}
	r := g.json.get()
	defer g.json.put(r)
	if media == typeNDJSON {
		return b.readLines(r, b.body.b, key, g.opts.Batch.MaxMessages)
	}
	r.reset(b.body.b)
	if media == typeEvent {
		err = b.readEvent(r, key)
	} else {
		err = b.readEvents(r, key, g.opts.Batch.MaxMessages)
	}
	if err != nil {
		return err
	}
	return r.end()
}

// readEvents reads a batch of events.
func (b *batch) readEvents(r *jsonReader, key []byte, most int) error {
	b.unit = "event"
	err := r.array(func(i int) error {
		if i == most {
			return refuse(message.ErrTooLarge, "more than %d messages (batch.max_messages)", most)
		}
		if err := b.readEvent(r, key); err != nil {
			return within(err, "event", i+1)
		}
		return nil
	})
	if err == nil && len(b.msgs) == 0 {
		return refuse(message.ErrInvalid, "the batch holds no event")
	}
	return err
}

// answerWaiting waits until the messages are settled, or time is up: 200 with
// what became of each, or 202 like without waiting.
func (g *Gateway) answerWaiting(c *call, done accepted, wait time.Duration) int {
	ctx, cancel := context.WithTimeout(c.r.Context(), wait)
	defer cancel()
	b := c.b
	outcomes := g.deps.Tracker.Await(ctx, done.first, len(b.msgs))
	c.w.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(wait/time.Second)))
	open := func(o message.Outcome) bool { return o.State != message.StateForwarded && o.State != message.StateDead }
	if len(outcomes) != len(b.msgs) || slices.ContainsFunc(outcomes, open) {
		b.out = g.appendAccepted(b.out[:0], b, done.first, nil)
		return g.answer(c, http.StatusAccepted)
	}
	b.out = g.appendAccepted(b.out[:0], b, done.first, outcomes)
	return g.answer(c, http.StatusOK)
}

// mediaType returns the media type without parameters, in lower case.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.Trim(media, " \t"))
}

// isJSON reports whether the content type declares JSON.
func isJSON(contentType string) bool {
	media := mediaType(contentType)
	return media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json")
}

// checkCharset refuses JSON that says it is not UTF-8.
func checkCharset(contentType string) error {
	if strings.IndexByte(contentType, ';') < 0 {
		return nil
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return refuse(errMediaType, "content type %q: %v", clip(contentType), err)
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return refuse(errMediaType, "charset %q; JSON is UTF-8", clip(charset))
	}
	return nil
}
