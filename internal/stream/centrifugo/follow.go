package centrifugo

import (
	"context"
	"time"

	"postroad/internal/stream/live"
)

// paceStep is how often it is looked at whether a client has taken what it was
// sent.
const paceStep = 5 * time.Millisecond

// follow sends what belongs behind the reply, no faster than the client takes it,
// and then lets live blocks through.
func (s *session) follow(ctx context.Context, o *opening) {
	last := publication{keyed: o.subject.All, last: true, positioned: o.start.Recoverable}
	if n := len(o.start.Last); n > 0 && o.start.Recoverable {
		last.at, last.final = o.at, o.start.Last[n-1]
	}
	// Last values must not be merged with live records: what is made of them would
	// lose the offset of the final one, and their tag.
	if s.pieces(ctx, o.ch, o.rest, publication{positioned: true, keyed: o.subject.All}, o.ch.sub) &&
		s.pieces(ctx, o.ch, o.start.Last, last, nil) {
		s.release(o.ch)
	}
}

// pieces sends records in blocks of about a frame. It returns false where the
// client has gone, or does not want them any more.
func (s *session) pieces(ctx context.Context, ch *channel, records []*live.Record, p publication, sub *live.Subscription) bool {
	for len(records) > 0 {
		if !s.paced(ctx, ch) {
			return false
		}
		n, size := 0, 0
		for n < len(records) && (n == 0 || size+len(records[n].Value) < maxFrame/2) {
			size += len(records[n].Value) + 64
			n++
		}
		b := &live.Block{Partition: records[0].Partition, Records: records[:n:n]}
		b.Bytes = s.p.encoders[s.encoding].frames(ch.name, p, b.Records)
		if !s.deliver(ch, sub, b) {
			return false
		}
		records = records[n:]
	}
	return true
}

// deliver queues a piece while it is wanted. Both are one step: without this an
// unsubscribe and another subscribe to the name could be answered in between, and
// offsets of long ago come behind the new answer, or a piece behind the push that
// a refreshed token has ended the subscription with.
func (s *session) deliver(ch *channel, sub *live.Subscription, b *live.Block) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.wants(ch) {
		return false
	}
	s.conn.Deliver(sub, b)
	return true
}

// paced waits until the client has taken most of what was sent. Without this a
// client on a slow line could never be sent more than may wait for one.
func (s *session) paced(ctx context.Context, ch *channel) bool {
	if s.roomy() {
		return true
	}
	tick := time.NewTicker(paceStep)
	defer tick.Stop()
	for !s.roomy() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		if !s.wanted(ch) {
			return false
		}
		ch.condense()
	}
	return true
}

// roomy says whether so little waits for the client that more may be sent.
func (s *session) roomy() bool { return s.conn.Waiting() <= s.p.pace }

func (s *session) wanted(ch *channel) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wants(ch)
}

// wants says whether a channel is still one of the session, and the client has
// not asked to unsubscribe it. The caller holds mu.
func (s *session) wants(ch *channel) bool {
	if s.find(ch.name) != ch {
		return false
	}
	for _, t := range s.tasks {
		if t.cmd.Unsubscribe != nil && t.channel == ch.name {
			return false
		}
	}
	return true
}

// release lets live blocks through, those that were held first.
func (s *session) release(ch *channel) {
	s.mu.Lock()
	h := ch.hold
	if h == nil {
		s.mu.Unlock()
		return // closed meanwhile
	}
	for _, b := range h.blocks {
		s.conn.Deliver(ch.sub, b)
	}
	ch.hold = nil
	ch.flowing.Store(!h.ended)
	s.mu.Unlock()
	// It ended, or was delivered too much, while it was held.
	if h.ended && s.lost(ch) {
		ch.close()
	}
}
