package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"postroad/internal/message"
)

// Key is the idempotency key of an acknowledged request: a later one under the
// same key can be given the same answer.
type Key struct {
	// Hash is that of the client's key, as the gateway made it.
	Hash message.Hash
	// Digest identifies the request; see message.GroupDigest.
	Digest message.Hash
	// ID is the dedupe id of the request's first message, First its place and
	// Time when the request was accepted, in microseconds resolution.
	ID    message.ID
	First message.Place
	Time  time.Time
}

// Keys hands out the idempotency keys of clients' requests that were
// acknowledged since a time, in lanes that other runs have written, whether
// their processes live or not. It reads key files, and the lanes themselves where
// these leave something out: after a crash, a lost or damaged block, a missing
// file. What is behind a lane's known durable seq was not acknowledged and is
// left out; so are, after a crash, requests acknowledged so shortly before that
// nothing on disk tells.
//
// The order is about that of age, newest first, so that one who has room for some
// only may stop early; a key may come twice. An error of yield ends it and is
// returned as it is. Other errors say that keys are missing; what could be read
// was handed out. It holds a key file and a piece of a segment in memory.
func (q *Queue) Keys(ctx context.Context, since time.Time, yield func(Key) error) error {
	r := keyReader{q: q, ctx: ctx, since: since, yield: yield}
	if err := r.plan(); err != nil {
		return err
	}
	small := func(g keyGap) bool { return g.to-g.from <= smallGap }
	r.readGaps(small)
	r.readFiles()
	r.readGaps(func(g keyGap) bool { return !small(g) })
	if r.stopped != nil {
		return r.stopped
	}
	return errors.Join(r.errs...)
}

// smallGap is how many messages a gap may have to be read before the key files:
// it is what was acknowledged right before a crash, which is what clients repeat.
const smallGap = 1 << 16

// keyReader is one call of Keys.
type keyReader struct {
	q     *Queue
	ctx   context.Context
	since time.Time
	yield func(Key) error

	files []keyFile // the newest first
	gaps  []keyGap  // those of the newest lane first
	// stopped is why nothing more is to be handed out.
	stopped error
	errs    []error
}

// keyGap is a part of a lane of which no key file tells: the groups that begin
// behind from and up to to.
type keyGap struct {
	lane     string
	from, to uint64
	// before, where set, is a time before which all of them were acknowledged.
	before time.Time
}

// plan finds out which lanes have gaps.
func (r *keyReader) plan() error {
	files, err := r.q.keyFiles()
	if err != nil {
		return err
	}
	r.files = slices.DeleteFunc(files, func(f keyFile) bool { return r.q.keys.isOwn(f.lane) })
	byLane := make(map[string][]keyFile)
	for _, f := range r.files {
		byLane[f.lane] = append(byLane[f.lane], f)
	}
	names, err := r.q.laneNames()
	if err != nil {
		return err
	}
	lanes := make([]string, 0, len(names))
	for name := range names {
		if message.ValidLane(name) && !r.q.keys.isOwn(name) {
			lanes = append(lanes, name)
		}
	}
	slices.Sort(lanes)
	for _, lane := range slices.Backward(lanes) {
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		l, err := r.q.loadLane(lane)
		if err != nil {
			r.errs = append(r.errs, err)
			continue
		}
		if l.info.Kind != "" || l.info.Owner.Process == r.q.self.Process {
			continue // copies of messages that were keyed elsewhere; or still empty
		}
		for _, g := range r.q.keyGaps(lane, byLane[lane], math.MaxUint64) {
			if g.before.IsZero() || !g.before.Before(r.since) {
				r.gaps = append(r.gaps, g)
			}
		}
	}
	return nil
}

// keyGaps returns what a lane's key files leave out up to a seq, in order. A file
// that cannot be read leaves out all of it.
func (q *Queue) keyGaps(lane string, files []keyFile, to uint64) []keyGap {
	type span struct {
		from, to uint64
		written  int64
	}
	var spans []span
	for _, f := range files {
		q.eachKeyBlock(f, func(b keyBlock) {
			if n := len(spans); n > 0 && spans[n-1].to == b.from {
				spans[n-1].to = b.to // the time of the first stays: what is before it is older
				return
			}
			spans = append(spans, span{b.from, b.to, b.written})
		})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var gaps []keyGap
	at := uint64(0)
	for _, s := range spans {
		if s.from > at && at < to {
			gaps = append(gaps, keyGap{lane, at, min(s.from, to), time.UnixMicro(s.written)})
		}
		at = max(at, s.to)
	}
	if at < to {
		gaps = append(gaps, keyGap{lane: lane, from: at, to: to})
	}
	return gaps
}

// eachKeyBlock hands out the sound blocks of a key file and reports the rest.
func (q *Queue) eachKeyBlock(f keyFile, block func(keyBlock)) {
	b, err := q.readKeyFile(f)
	if missing(err) {
		return // removed meanwhile
	}
	if err != nil {
		q.keys.damaged.Inc()
		q.deps.Log.Warn("key file not read, its keys are read from the lane", "file", f.name(), "err", err)
		return
	}
	decodeKeyFile(b, f.salt(), block, func(bad badKeys) {
		if bad.tail { // as a crash leaves it, or one that is being written now
			q.deps.Log.Debug("key file ends in no valid block", "file", f.name(), "offset", bad.offset, "err", bad.err)
			return
		}
		q.keys.damaged.Inc()
		q.deps.Log.Warn("damage in a key file, its keys are read from the lane", "file", f.name(), "offset", bad.offset, "err", bad.err)
	})
}

// readFiles hands out what is in the key files, the newest first.
func (r *keyReader) readFiles() {
	for _, f := range r.files {
		if r.stopped != nil || f.begun().Add(keyFileSpan).Before(r.since) {
			continue
		}
		var blocks []keyBlock
		r.q.eachKeyBlock(f, func(b keyBlock) { blocks = append(blocks, b) })
		for _, b := range slices.Backward(blocks) {
			for _, k := range slices.Backward(b.records) {
				if !r.hand(f.lane, k) {
					return
				}
			}
		}
	}
}

// readGaps hands out what is in the lanes and in no key file, of the gaps that
// are chosen.
func (r *keyReader) readGaps(chosen func(keyGap) bool) {
	for _, g := range r.gaps {
		if r.stopped != nil {
			return
		}
		if !chosen(g) {
			continue
		}
		err := r.q.keysOfLane(r.ctx, g, r.since, func(k keyRecord) bool { return r.hand(g.lane, k) })
		if err != nil && r.stopped == nil {
			r.errs = append(r.errs, fmt.Errorf("keys of lane %s: %w", g.lane, err))
		}
	}
}

// hand gives a key to the caller and reports whether to go on.
func (r *keyReader) hand(lane string, k keyRecord) bool {
	if r.stopped = r.ctx.Err(); r.stopped != nil {
		return false
	}
	at := time.UnixMicro(k.time).UTC()
	if at.Before(r.since) {
		return true
	}
	r.stopped = r.yield(Key{Hash: k.hash, Digest: k.digest, ID: k.id, First: message.Place{Lane: lane, Seq: k.seq}, Time: at})
	return r.stopped == nil
}

// sortKeyFiles puts the newest first.
func sortKeyFiles(files []keyFile) {
	slices.SortFunc(files, func(a, b keyFile) int {
		return cmp.Or(-a.id.Compare(b.id), cmp.Compare(a.lane, b.lane))
	})
}
