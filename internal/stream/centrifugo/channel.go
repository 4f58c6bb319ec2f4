package centrifugo

import (
	"sync/atomic"

	"github.com/centrifugal/protocol"

	"postroad/internal/stream/live"
)

// maxHeld is how many bytes of live blocks one subscription may have waiting behind
// what it begins with.
const maxHeld = 8 << 20

// channel is one subscription of a session: the live.Receiver of it.
type channel struct {
	session *session
	name    string
	// server: it was made at connect.
	server bool
	// flowing: blocks go straight to the connection. Set once, with mu held.
	flowing atomic.Bool
	// The following are guarded by the session's mu. sub is nil until the engine
	// has made it; hold is what must not be sent yet, nil while flowing and once
	// it is over.
	sub  *live.Subscription
	hold *hold
}

// hold is what was delivered before the client was told how its subscription
// begins.
type hold struct {
	blocks []*live.Block
	bytes  int
	// mergeAt is from how many bytes on it is worth while to look for messages
	// that newer ones have replaced.
	mergeAt int
	// ended says that the subscription is over, by the engine or since too much
	// was held.
	ended bool
}

// Deliver implements live.Receiver.
func (ch *channel) Deliver(sub *live.Subscription, b *live.Block) {
	if !ch.flowing.Load() && ch.held(b) {
		return
	}
	ch.session.conn.Deliver(sub, b)
}

// held keeps a block for later, unless the channel flows by now.
func (ch *channel) held(b *live.Block) bool {
	ch.session.mu.Lock()
	defer ch.session.mu.Unlock()
	h := ch.hold
	switch {
	case h == nil:
		return !ch.flowing.Load() // neither: it is over
	case h.ended:
	case h.bytes+len(b.Bytes) > maxHeld:
		h.ended, h.blocks = true, nil
	default:
		h.blocks = append(h.blocks, b)
		h.bytes += len(b.Bytes)
	}
	return true
}

// condense leaves out, where the topic allows it, held messages that newer ones of
// their key have replaced: a client on a slow line that begins with the last values
// of many keys could otherwise be told again and again to begin anew.
func (ch *channel) condense() {
	s := ch.session
	s.mu.Lock()
	h := ch.hold
	if h == nil || h.bytes < max(h.mergeAt, maxHeld/4) {
		s.mu.Unlock()
		return
	}
	blocks := h.blocks
	s.mu.Unlock()
	merged := mergedOf(ch.sub, blocks)
	s.mu.Lock()
	defer s.mu.Unlock()
	looked := bytesOf(blocks)
	if merged != nil && !h.ended {
		h.bytes += bytesOf(merged) - looked
		h.blocks = append(merged, h.blocks[len(blocks):]...)
		looked = bytesOf(merged)
	}
	// Not what came meanwhile: on a slow machine that may be so much that twice
	// of it is more than may be held, and it would never be merged again.
	h.mergeAt = 2 * looked
}

// mergedOf returns one block for each partition of blocks; nil where they cannot be
// merged. One block of several partitions would break the order in the writers,
// which merge again by Block.Partition: what it holds of the others would come
// behind newer blocks of theirs, and a client of topic/* end with old values.
func mergedOf(sub *live.Subscription, blocks []*live.Block) (merged []*live.Block) {
	var order []int32
	parts := make(map[int32][]*live.Block)
	for _, b := range blocks {
		if parts[b.Partition] == nil {
			order = append(order, b.Partition)
		}
		parts[b.Partition] = append(parts[b.Partition], b)
	}
	for _, p := range order {
		b := sub.Merge(parts[p])
		if b == nil {
			return nil
		}
		merged = append(merged, b)
	}
	return merged
}

func bytesOf(blocks []*live.Block) (n int) {
	for _, b := range blocks {
		n += len(b.Bytes)
	}
	return n
}

// Ended implements live.Receiver.
func (ch *channel) Ended(*live.Subscription, error) {
	s := ch.session
	s.mu.Lock()
	if ch.hold != nil {
		ch.hold.ended = true // follow tells the client, behind what it begins with
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	if s.lost(ch) {
		s.p.metrics.subscriptions.Dec()
	}
}

// lost tells the client that a subscription is over and should be made anew, with
// the position that the client has; false where it was no longer the session's.
// The engine may hold locks.
//
// SDKs do that on an unsubscribe of 2500 for subscriptions of their own; one made
// at connect they would just forget, with its position, so that there the
// connection must be made anew.
func (s *session) lost(ch *channel) bool {
	if !s.remove(ch) {
		return false
	}
	if ch.server {
		s.disconnect(byeInsufficientState())
	} else {
		s.pushUnsubscribe(ch.name, unsubscribedInsufficient, "insufficient state")
	}
	return true
}

// pushUnsubscribe tells the client that a subscription is over. One SDK needs the
// reason to be there.
func (s *session) pushUnsubscribe(name string, code uint32, reason string) {
	s.send(&protocol.Reply{Push: &protocol.Push{
		Channel: name, Unsubscribe: &protocol.Unsubscribe{Code: code, Reason: reason},
	}})
}

// close ends the engine's part. It must not be called from a live.Receiver.
func (ch *channel) close() {
	ch.session.mu.Lock()
	sub := ch.sub
	ch.hold = nil
	ch.session.mu.Unlock()
	if sub != nil {
		sub.Close()
		ch.session.p.metrics.subscriptions.Dec()
	}
}

// remove takes a channel out of the session; false where it was out already, and
// whoever did that ends it.
func (s *session) remove(ch *channel) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.channels {
		if s.channels[i] == ch {
			s.channels = append(s.channels[:i], s.channels[i+1:]...)
			return true
		}
	}
	return false
}

// drop removes a channel and closes it.
func (s *session) drop(ch *channel) bool {
	if !s.remove(ch) {
		return false
	}
	ch.close()
	return true
}

// find returns the channel of a name; nil where there is none. The caller holds
// mu.
func (s *session) find(name string) *channel {
	for _, ch := range s.channels {
		if ch.name == name {
			return ch
		}
	}
	return nil
}
