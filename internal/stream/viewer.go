package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"postroad/internal/httpserve"
	"postroad/internal/stream/live"
)

// errSlow: more waited for a viewer than may, and could not be conflated.
var errSlow = errors.New("the viewer takes less than is sent to it")

// viewer is one open event stream. The engine delivers into its queue, and the
// goroutine of its request writes.
type viewer struct {
	node    *Node
	subject live.Subject
	w       http.ResponseWriter
	out     *http.ResponseController

	mu      sync.Mutex
	sub     *live.Subscription // guarded by mu
	start   *live.Start        // what to write first, until it is taken; guarded by mu
	queue   []*live.Block      // what waits; guarded by mu
	bytes   int                // of queue; guarded by mu
	merging bool               // queue is being conflated by a goroutine; guarded by mu
	over    error              // why nothing more comes; guarded by mu
	wake    chan struct{}      // has one entry while there is something to look at

	// The rest belongs to the goroutine that writes.

	at      position // what the viewer has been sent; without next while nothing is known
	resumes bool     // at is good for coming back
	gap     string   // what is wrong with what it came with, should it not be recovered
	buf     []byte
	begun   bool // the header is out
	// patience is how long a write may take.
	patience time.Duration
}

func newViewer(n *Node, w http.ResponseWriter, subject live.Subject) *viewer {
	return &viewer{
		node: n, subject: subject, w: w, out: http.NewResponseController(w), wake: make(chan struct{}, 1),
		patience: n.opts.SSE.WriteTimeout,
	}
}

// Deliver implements live.Receiver: it queues, and bounds what waits.
func (v *viewer) Deliver(s *live.Subscription, b *live.Block) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over != nil {
		return
	}
	v.add(len(b.Bytes))
	v.queue = append(v.queue, b)
	limit := v.node.opts.SSE.QueueBytes
	switch {
	case v.bytes <= limit || v.merging && v.bytes <= 2*limit:
	case v.bytes <= 2*limit && s.Conflates():
		v.merging = true
		go v.conflate(s)
	default:
		v.end(errSlow)
	}
	v.signal()
}

// Ended implements live.Receiver.
func (v *viewer) Ended(_ *live.Subscription, why error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over == nil {
		v.over = why
	}
	v.signal()
}

// add counts bytes that wait. The caller holds mu.
func (v *viewer) add(n int) {
	v.bytes += n
	v.node.pending.Add(int64(n))
}

// end drops what waits, with the reason. The caller holds mu.
func (v *viewer) end(why error) {
	if v.over == nil {
		v.over = why
	}
	v.add(-v.bytes)
	v.queue = nil
}

func (v *viewer) signal() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// conflate replaces what waits by the newest of each key. It runs beside the
// engine, which must not wait for it; what is delivered meanwhile comes behind.
func (v *viewer) conflate(s *live.Subscription) {
	v.mu.Lock()
	old := v.queue
	v.queue = nil
	v.mu.Unlock()
	var order []int32
	parts := map[int32][]*live.Block{}
	before := 0
	for _, b := range old {
		if parts[b.Partition] == nil {
			order = append(order, b.Partition)
		}
		parts[b.Partition] = append(parts[b.Partition], b)
		before += len(b.Bytes)
	}
	merged := make([]*live.Block, 0, len(order))
	after := 0
	for _, p := range order {
		b := s.Merge(parts[p])
		if b == nil {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.end(errSlow) // the topic takes its word back: it was asked before
			v.merging = false
			v.signal()
			return
		}
		merged = append(merged, b)
		after += len(b.Bytes)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.merging = false
	if v.over == nil || v.bytes > 0 {
		v.add(after - before)
		v.queue = append(merged, v.queue...)
		v.node.metrics.conflated.Add(float64(count(old) - count(merged)))
	}
	if v.bytes > v.node.opts.SSE.QueueBytes {
		v.end(errSlow)
	}
	v.signal()
}

func count(blocks []*live.Block) (n int) {
	for _, b := range blocks {
		n += len(b.Records)
	}
	return n
}

// take returns what is to be written next: the start, then blocks. Nothing while
// the queue is being conflated; over once there is nothing more.
func (v *viewer) take() (first *live.Start, blocks []*live.Block, over error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.merging {
		return nil, nil, nil
	}
	first, blocks = v.start, v.queue
	v.start, v.queue = nil, nil
	v.add(-v.bytes)
	if first == nil && len(blocks) == 0 {
		over = v.over
	}
	return first, blocks, over
}

// quiet says that nothing waits.
func (v *viewer) quiet() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.start == nil && len(v.queue) == 0 && !v.merging && v.over == nil
}

// close ends the subscription and gives back what waits.
func (v *viewer) close() {
	v.mu.Lock()
	s := v.sub
	v.mu.Unlock()
	if s != nil {
		s.Close()
	}
	v.mu.Lock()
	v.end(context.Canceled)
	v.mu.Unlock()
}

// begin subscribes; the stream of one who wants the beginning begins before that,
// with the past in pieces.
func (v *viewer) begin(ctx context.Context, from start) *httpserve.Problem {
	now, err := v.node.engine.Positions(v.subject)
	if err != nil {
		return v.node.problemOf(ctx, err)
	}
	// One key is in so many partitions only while the topic is foreign-partitioned,
	// and then nobody can come back to it: it is served without positions. A browser
	// that was told 400 instead would give up for good.
	if len(now) > maxView && v.subject.Key == "" {
		return badRequest(fmt.Sprintf("topic %s has %d partitions, and the id of an event holds the position of at most %d: ask for a key or a partition",
			v.subject.Topic, len(now), maxView))
	}
	var since []live.Position
	switch {
	case from.lost != "":
		since, v.gap = position{}.since(now), from.lost
	case from.since != nil:
		since, v.gap = from.since.since(now), gapHeld
		if len(since) == 0 || since[0].Epoch == "" {
			v.gap = gapOther
		}
		v.at, v.resumes = *from.since, true
	case from.beginning:
		v.gap = gapHeld
		if since, err = v.past(ctx); err != nil {
			return v.failed(ctx, err)
		}
	}
	if err := v.subscribe(ctx, since, from.end); err != nil {
		return v.failed(ctx, err)
	}
	return nil
}

// Why what a viewer missed is not known.
const (
	gapHeld  = "the hub no longer holds all that was missed, or it is more than may be recovered"
	gapOther = "the position is of another hub, or the topic was made anew or has more partitions"
)

// failed is an error on the way to a subscription: the answer or, where that has
// begun, its end.
func (v *viewer) failed(ctx context.Context, err error) *httpserve.Problem {
	if !v.begun {
		return v.node.problemOf(ctx, err)
	}
	v.Ended(nil, err)
	return nil
}

func (v *viewer) subscribe(ctx context.Context, since []live.Position, onlyNew bool) error {
	s, err := v.node.engine.Subscribe(ctx, live.Request{
		Subject: v.subject, Name: v.subject.String(), Encoder: eventEncoder{}, Receiver: v, Since: since,
		Begin: func(st *live.Start) {
			v.mu.Lock()
			defer v.mu.Unlock()
			if onlyNew {
				st.Last = nil
			}
			v.start, v.sub = st, st.Subscription
			v.signal()
		},
	})
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sub = s
	return nil
}

// past writes all that the hub holds, a piece after the other, and returns where
// the live stream has to begin. However long it is, only a piece is in memory.
func (v *viewer) past(ctx context.Context) ([]live.Position, error) {
	var since []live.Position
	for {
		h, err := v.node.history(ctx, live.HistoryRequest{Subject: v.subject, Since: since, Limit: -1, Repeats: true})
		if v.begun && errors.Is(err, live.ErrUnrecoverable) {
			return since, nil // the subscription says it, and goes on
		}
		if err != nil {
			return nil, err
		}
		if err := v.header(); err != nil {
			return nil, err
		}
		if since == nil {
			since = beginningOf(h)
		}
		v.at, v.resumes = positionOf(since), len(since) <= maxView
		if err := v.records(h.Records, true); err != nil {
			return nil, err
		}
		if err := v.flush(); err != nil {
			return nil, err
		}
		if since = h.Positions; !h.More {
			return since, nil
		}
	}
}

// beginningOf is a position before all records of the first piece of the past.
func beginningOf(h *live.History) []live.Position {
	all := slices.Clone(h.Positions)
	for _, r := range slices.Backward(h.Records) {
		for i := range all {
			if all[i].Partition == r.Partition {
				all[i].Next = r.Offset
			}
		}
	}
	return all
}

// run writes until the viewer goes, cannot take what it is sent, or ctx ends.
func (v *viewer) run(ctx context.Context) error {
	if err := v.header(); err != nil {
		return err
	}
	alive := time.NewTicker(v.node.opts.SSE.KeepAlive)
	defer alive.Stop()
	for {
		select {
		case <-ctx.Done():
			return v.goodbye(ctx)
		case <-v.wake:
		case <-alive.C:
			if err := v.keepAlive(); err != nil {
				return err
			}
		}
		first, blocks, over := v.take()
		if over != nil {
			return errors.Join(over, v.goodbye(ctx))
		}
		if err := v.write(first, blocks); err != nil {
			return err
		}
		if first != nil || len(blocks) > 0 {
			alive.Reset(v.node.opts.SSE.KeepAlive)
			v.signal() // there may be more, or an end
		}
	}
}

// header begins the answer.
func (v *viewer) header() error {
	if v.begun {
		return nil
	}
	v.begun = true
	eventHeader(v.w.Header())
	v.w.WriteHeader(http.StatusOK)
	v.buf = fmt.Appendf(v.buf, "retry: %d\n\n", v.node.retry().Milliseconds())
	return v.flush()
}

// goodbye tells a viewer that the node ends how long to wait, at random, so that
// those of a node that stops do not come to another one at once.
func (v *viewer) goodbye(ctx context.Context) error {
	var left *leaveError
	if cause := context.Cause(ctx); cause != nil && !errors.As(cause, &left) {
		return nil // the client is gone
	}
	v.buf = fmt.Appendf(v.buf, "retry: %d\n: connect again\n\n", v.node.retry().Milliseconds())
	v.patience = min(v.patience, goodbyeTimeout)
	return v.flush()
}

// keepAlive writes a comment and, where nothing waits, an id that is up to date:
// a key that is silent for a day would otherwise have a position that the hub
// does not hold any more, and its viewer be told of a gap that is none.
func (v *viewer) keepAlive() error {
	v.buf = append(v.buf, ": keep-alive\n"...)
	if v.resumes {
		if now, err := v.node.engine.Positions(v.subject); err == nil && v.quiet() && hashEpochs(now) == v.at.epochs {
			// What is below these was delivered before they were asked for, and
			// nothing waits: all of it is written. A position that was ahead of
			// this node stays.
			for i, p := range now {
				v.at.next[i] = max(v.at.next[i], p.Next)
			}
			v.id()
		}
	}
	v.buf = append(v.buf, '\n')
	return v.flush()
}

// id adds the line that a browser comes back with.
func (v *viewer) id() {
	v.buf = append(v.buf, "id: "...)
	if v.resumes {
		v.buf = v.at.append(v.buf)
	} else {
		v.buf = append(v.buf, noPosition...)
	}
	v.buf = append(v.buf, '\n')
}

// noPosition is the id of streams that cannot be resumed: one who comes back with
// it is told of the gap. Without any id that would pass in silence.
const noPosition = "-"

func (v *viewer) write(first *live.Start, blocks []*live.Block) error {
	if first != nil {
		if err := v.writeStart(first); err != nil {
			return err
		}
	}
	for _, b := range blocks {
		if err := v.events(b.Bytes, b.Records, true); err != nil {
			return err
		}
	}
	return v.flush()
}

// writeStart writes what was missed or, where that is not known, the gap and the
// last values. The position comes last: until then one who is cut off comes back
// as it came, or it would miss the rest.
func (v *viewer) writeStart(st *live.Start) error {
	begun := positionOf(st.Positions)
	switch {
	case st.Recovered:
		if err := v.records(st.Missed, true); err != nil {
			return err
		}
	default:
		if v.gap != "" {
			v.buf = fmt.Appendf(v.buf, "event: gap\ndata: {\"reason\":%q}\n\n", v.gap)
		}
		v.resumes = false
		if err := v.records(st.Last, false); err != nil {
			return err
		}
	}
	// One who has a position of each partition can come back to several. Where the
	// topic turns out not to allow it, coming back tells of the gap.
	v.at, v.resumes = begun, st.Recoverable || len(begun.next) > 1 && len(begun.next) <= maxView
	v.id()
	v.buf = append(v.buf, '\n')
	return nil
}

// chunk is how many records are encoded at once where they were not delivered.
const chunk = 128

// records encodes and writes records; with ids those of them that are positions.
func (v *viewer) records(all []*live.Record, ids bool) error {
	for len(all) > 0 {
		some := all[:min(chunk, len(all))]
		all = all[len(some):]
		if err := v.events(eventEncoder{}.Encode(v.subject.String(), true, true, some), some, ids); err != nil {
			return err
		}
	}
	return nil
}

const (
	// flushBytes is how much is gathered before it is written.
	flushBytes = 64 << 10
	// keptBytes is the largest buffer that a silent viewer keeps.
	keptBytes = 8 << 10
)

// events adds an event for each record, whose data are the lines of text.
func (v *viewer) events(text []byte, records []*live.Record, ids bool) error {
	for _, r := range records {
		end := bytes.IndexByte(text, '\n') + 1
		if ids && (!v.resumes || v.at.set(r.Partition, r.Offset+1)) {
			v.id()
		}
		v.buf = append(v.buf, text[:end]...)
		v.buf = append(v.buf, '\n')
		text = text[end:]
		if len(v.buf) >= flushBytes {
			if err := v.flush(); err != nil {
				return err
			}
		}
	}
	v.node.metrics.delivered.Add(float64(len(records)))
	return nil
}

// flush sends what was gathered.
func (v *viewer) flush() error {
	if len(v.buf) == 0 {
		return nil
	}
	if err := v.out.SetWriteDeadline(time.Now().Add(v.patience)); err != nil {
		return err
	}
	n, err := v.w.Write(v.buf)
	v.node.metrics.bytes.Add(float64(n))
	if v.buf = v.buf[:0]; cap(v.buf) > keptBytes {
		v.buf = nil
	}
	if err != nil {
		return err
	}
	return v.out.Flush()
}
