package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"postroad/internal/message"
	"postroad/internal/relay/wire"
)

// relayKeyDomain separates the keys of relayed groups from clients' keys.
const relayKeyDomain = "postroad relayed group 1"

// relayKey is the key under which a group of messages of one topic of another
// stamp is indexed: by it the groups are found that other processes have stored.
func relayKey(stamp, topic string) message.Hash {
	h := message.NewHasher(relayKeyDomain)
	h.String(stamp)
	h.String(topic)
	return h.Sum()
}

// relayBatch is a batch that was read.
type relayBatch struct {
	stamp, topic string
	msgs         []wire.Relayed
	bytes        int // reserved of the load
}

// relayMessages is POST /v1/relay/messages. The answer says how many of the
// messages, from the first on, are durable.
func (g *Gateway) relayMessages(w http.ResponseWriter, r *http.Request, stamp string) (int, error) {
	if g.draining.Load() {
		return 0, refuse(errUnavailable, "draining: this stamp takes no more messages")
	}
	if err := g.load.enter(); err != nil {
		return 0, err
	}
	defer g.load.leave()
	if err := g.relay.addressed(r.Header); err != nil {
		return 0, err
	}
	b := relayBatch{stamp: stamp}
	defer func() { g.load.give(b.bytes) }()
	if err := g.readRelayed(w, r, &b); err != nil {
		return 0, err
	}
	if err := g.inOrder(r.Context(), stamp, b.topic, r.Header.Get(wire.FieldSession)); err != nil {
		return 0, err
	}
	defer g.relay.index.begin(stamp)()
	leave, err := g.relay.index.enter(r.Context(), stamp, b.topic, b.lanes())
	if err != nil {
		return 0, refuse(errSlowBody, "the sender went away")
	}
	defer leave()
	// Again: what counts is that it is not stored too late, however long the body
	// took and others had their turn.
	if err := g.relay.addressed(r.Header); err != nil {
		return 0, err
	}
	answer, err := g.storeRelayed(r.Context(), &b)
	if err != nil {
		return 0, err
	}
	answer.Hello = g.hello()
	return g.relayAnswer(w, answer)
}

// readRelayed reads the body as it comes, within body_timeout.
func (g *Gateway) readRelayed(w http.ResponseWriter, r *http.Request, b *relayBatch) error {
	if mediaType(r.Header.Get("Content-Type")) != wire.ContentType {
		return refuse(errMediaType, "content type %q; batches are %s", clip(r.Header.Get("Content-Type")), wire.ContentType)
	}
	control := http.NewResponseController(w)
	// A server that cannot set deadlines (a test's recorder) has none.
	timed := control.SetReadDeadline(time.Now().Add(g.opts.BodyTimeout)) == nil
	body, done, err := relayBody(http.MaxBytesReader(w, r.Body, int64(g.relayBatchBytes())), r.Header.Get("Content-Encoding"))
	if err != nil {
		return err
	}
	defer done()
	if err := g.parseRelayed(wire.NewReader(body, g.relayFrameBytes(), g.relayBatchBytes()), b); err != nil {
		return err
	}
	if timed {
		return control.SetReadDeadline(time.Time{})
	}
	return nil
}

// relayFields is what a stored message may take beside what message.max_bytes
// counts: ids, times, names and the framing of its headers, in bytes.
const relayFields = 4 << 10

// relayFrameBytes is the largest frame that is read. A message that is over the
// limit by less than a factor of two is read and refused by its name; one over
// that ends the request.
func (g *Gateway) relayFrameBytes() int { return 2*g.opts.Message.MaxBytes + relayFields }

func (g *Gateway) relayBatchBytes() int {
	return max(g.opts.Batch.MaxBytes, g.relayFrameBytes()) + relayFields
}

// relayBody decodes the content coding.
func relayBody(body io.Reader, coding string) (io.Reader, func(), error) {
	switch {
	case coding == "" || strings.EqualFold(coding, "identity"):
		return body, func() {}, nil
	case strings.EqualFold(coding, "zstd"):
		d, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		return d, d.Close, nil
	}
	return nil, nil, refuse(errMediaType, "content coding %q; batches are taken as they are or with zstd", clip(coding))
}

// parseRelayed reads a batch and checks what no sender may send at all. What is
// wrong with one message alone is for relayRefusal.
func (g *Gateway) parseRelayed(in *wire.Reader, b *relayBatch) error {
	for {
		m, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return relayReadError(err)
		}
		size := m.Size() + relayFields/8
		if err := g.load.take(size); err != nil {
			return err
		}
		b.bytes += size
		switch n := len(b.msgs) + 1; {
		case n > g.opts.Batch.MaxMessages:
			return refuse(message.ErrTooLarge, "more than %d messages (batch.max_messages)", g.opts.Batch.MaxMessages)
		case n == 1:
			b.topic = m.Topic
		case m.Topic != b.topic:
			return refuse(message.ErrInvalid, "message %d: topic %q in a batch of %q", n, clip(m.Topic), clip(b.topic))
		}
		if by := m.Path[len(m.Path)-1]; by != b.stamp {
			return refuse(errForbidden, "message %d: stamp %s sends as %s", len(b.msgs)+1, b.stamp, by)
		}
		b.msgs = append(b.msgs, m)
	}
	if len(b.msgs) == 0 {
		return refuse(message.ErrInvalid, "the batch holds no message")
	}
	return nil
}

func relayReadError(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, wire.ErrTooLarge), errors.As(err, &large):
		return refuse(message.ErrTooLarge, "%v", err)
	case errors.Is(err, wire.ErrBroken), errors.Is(err, zstd.ErrMagicMismatch), errors.Is(err, zstd.ErrCRCMismatch),
		errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrReservedBlockType):
		return refuse(message.ErrInvalid, "%v", err)
	}
	return refuse(errSlowBody, "the batch did not arrive: %v", err)
}

// lanes returns the lanes of the batch in order, each once.
func (b *relayBatch) lanes() []string {
	var all []string
	for i := range b.msgs {
		if n := len(all); n == 0 || all[n-1] != b.msgs[i].Place.Lane {
			all = append(all, b.msgs[i].Place.Lane)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// relayRefusal says why one message is not taken, or nil.
func (g *Gateway) relayRefusal(m *wire.Relayed) *wire.Refusal {
	own := g.deps.Identity.Stamp
	if slices.Contains(m.Path, own) {
		return &wire.Refusal{Class: "hold", Reason: fmt.Sprintf("cycle: the message has passed %s and comes to %s again", strings.Join(m.Path, ", "), own)}
	}
	if len(m.Path) >= wire.MaxHops {
		return &wire.Refusal{Class: "hold", Reason: fmt.Sprintf("the message has passed %d stamps, which is all it may: %s", len(m.Path), strings.Join(m.Path, ", "))}
	}
	if strings.HasPrefix(m.Topic, internalTopics) {
		return &wire.Refusal{Class: "dead", Reason: fmt.Sprintf("topics that begin with %q are the hub's own", internalTopics)}
	}
	if why := g.opts.Relay.takesTopic(m.Topic); why != "" {
		return &wire.Refusal{Class: "hold", Reason: why}
	}
	if size := m.Size(); size > g.opts.Message.MaxBytes {
		return &wire.Refusal{Class: "dead", Reason: fmt.Sprintf("message of %d bytes; stamp %s takes at most %d (message.max_bytes)", size, own, g.opts.Message.MaxBytes)}
	}
	return nil
}

// storeRelayed stores what of the batch is new, up to the first message that is
// refused. All that the answer counts is durable: stored now, or known to have
// been before.
func (g *Gateway) storeRelayed(ctx context.Context, b *relayBatch) (wire.Answer, error) {
	var a wire.Answer
	now := g.deps.Now().UTC().Truncate(time.Microsecond)
	fresh, places := make([]message.Message, 0, len(b.msgs)), make([]message.Place, 0, len(b.msgs))
	key := relayKey(b.stamp, b.topic)
	for i := range b.msgs {
		m := &b.msgs[i]
		if !m.Replay && g.relay.index.has(b.stamp, b.topic, m.Place) {
			a.Known++
			a.Stored++
			continue
		}
		if a.Refused = g.relayRefusal(m); a.Refused != nil {
			break
		}
		k := wire.Kept(m)
		k.Time, k.KeyHash, k.Moved = now, key, nil
		fresh, places = append(fresh, k), append(places, m.Place)
		a.Stored++
	}
	if err := g.appendRelayed(ctx, fresh); err != nil {
		return wire.Answer{}, err
	}
	remembered := places[:0]
	for i := range fresh {
		if !fresh[i].Replay {
			remembered = append(remembered, places[i])
		}
	}
	g.relay.index.add(b.stamp, b.topic, remembered, now)
	return a, nil
}

// appendRelayed makes messages durable as one group.
func (g *Gateway) appendRelayed(ctx context.Context, msgs []message.Message) error {
	if len(msgs) == 0 {
		return nil
	}
	// A group is indexed by its first message, and a replayed one is not: it
	// must not hide the others.
	if i := slices.IndexFunc(msgs, func(m message.Message) bool { return !m.Replay }); i > 0 {
		if err := g.appendRelayed(ctx, msgs[:i]); err != nil {
			return err
		}
		msgs = msgs[i:]
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(g.opts.AppendTimeout, relayAppend))
	defer cancel()
	start := time.Now()
	_, err := g.deps.Store.Append(ctx, msgs)
	g.metrics.append.Observe(time.Since(start).Seconds())
	if err == nil {
		g.metrics.stored(msgs)
		return nil
	}
	for _, sure := range []error{message.ErrNotStored, message.ErrFull, message.ErrTooLarge} {
		if errors.Is(err, sure) && !errors.Is(err, message.ErrOutcomeUnknown) {
			return fmt.Errorf("append %d relayed messages: %w", len(msgs), err)
		}
	}
	return fmt.Errorf("append %d relayed messages: %w: %w", len(msgs), message.ErrOutcomeUnknown, err)
}
