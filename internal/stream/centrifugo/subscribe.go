package centrifugo

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/centrifugal/protocol"

	"postroad/internal/stream/live"
)

const (
	// flagRejectUnrecovered of a subscribe: an application that loads its state
	// elsewhere wants 112 rather than a subscription that was not recovered.
	flagRejectUnrecovered = 2
	// maxHeld is how many bytes of live blocks one subscription may have waiting
	// behind what it begins with.
	maxHeld = 8 << 20
	// pace is how many bytes may wait for a client before it is sent more of what
	// a subscription begins with: much less than makes it count as slow.
	pace = 512 << 10
	// paceStep is how often that is looked at.
	paceStep = 5 * time.Millisecond
)

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

// opening is a subscription on its way.
type opening struct {
	ch      *channel
	req     *protocol.SubscribeRequest
	subject live.Subject
	start   live.Start
	// at is the offset that the subscription began at; 0 where it has none.
	at uint64
	// rest of start.Missed goes behind the reply, and so does start.Last.
	rest []*live.Record
	err  error
}

// behind is how many records follow the reply.
func (o *opening) behind() int { return len(o.rest) + len(o.start.Last) }

// subscribe answers a subscribe and sends what the subscription begins with.
func (s *session) subscribe(ctx context.Context, t *task) error {
	o, err := s.reserve(t.cmd.Subscribe.Channel, t.cmd.Subscribe, false)
	if err == nil {
		err = s.open(ctx, o)
	}
	if err != nil {
		return err
	}
	room := s.p.opts.MaxReplyBytes
	s.succeed(t, &protocol.Reply{Subscribe: s.result(o, &room)})
	s.follow(ctx, o)
	return nil
}

// reserve checks a subscribe and puts its channel into the session.
func (s *session) reserve(name string, req *protocol.SubscribeRequest, server bool) (*opening, error) {
	subject, err := s.parse(name)
	if err != nil {
		return nil, err
	}
	if req.Type != 0 || req.Tf != nil {
		// Without this one who asks for a part would be sent everything.
		return nil, errNotAvailable()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.principal.MayRead(subject.String()):
		return nil, errPermissionDenied()
	case s.find(name) != nil:
		return nil, errAlreadySubscribed()
	case len(s.channels) >= s.p.opts.MaxSubscriptions:
		return nil, errLimitExceeded()
	}
	ch := &channel{session: s, name: name, server: server, hold: &hold{}}
	s.channels = append(s.channels, ch)
	return &opening{ch: ch, req: req, subject: subject}, nil
}

// open makes the engine's subscription of a channel that is reserved; where it
// cannot it takes the reservation back.
func (s *session) open(ctx context.Context, o *opening) error {
	r := live.Request{
		Subject: o.subject, Name: o.ch.name, Encoder: s.p.encoders[s.encoding], Receiver: o.ch,
		Begin: func(start *live.Start) { o.start = *start },
	}
	if o.req.Recover {
		s.p.metrics.asked.Inc()
		r.Since = []live.Position{position(o.subject, o.req.Epoch, o.req.Offset)}
	}
	sub, err := s.p.deps.Engine.Subscribe(ctx, r)
	if err == nil {
		s.p.metrics.subscriptions.Inc()
		s.mu.Lock()
		o.ch.sub = sub
		if s.find(o.ch.name) != o.ch {
			err = context.Canceled // the session is over
		}
		s.mu.Unlock()
		if err != nil {
			o.ch.close()
			return err
		}
	}
	if err == nil && o.req.Recover && !o.start.Recovered && o.req.Flag&flagRejectUnrecovered != 0 {
		err = live.ErrUnrecoverable
	}
	if o.req.Recover {
		if err == nil && o.start.Recovered {
			s.p.metrics.complete.Inc()
			s.p.metrics.recovered.Add(float64(len(o.start.Missed)))
		} else {
			s.p.metrics.failed.Inc()
		}
	}
	if err == nil {
		return nil
	}
	s.drop(o.ch)
	if gone(ctx, err) {
		return err
	}
	f := engineFault(err)
	if f.code == errInternal().code {
		s.p.log.Debug("a subscription could not be made", "subject", o.subject.String(), "err", err)
	}
	return f
}

// position is a client's, as the engine takes it. Offsets that no log can have are
// above any end.
func position(subject live.Subject, epoch string, offset uint64) live.Position {
	return live.Position{Epoch: epoch, Partition: max(subject.Partition, 0), Next: int64(min(offset, math.MaxInt64))}
}

// result is how a subscribe is answered. Of what was missed as much as there is
// room for is in it, and then its offset is that of the last record in it, not the
// one the subscription begins at: an SDK takes it for its position, and one that is
// cut off before the rest has come must ask for the rest. With no room at all the
// client's position is what it was; so it is for subjects of several keys, since
// one SDK drops the tags of what stands in an answer, and with them the keys.
func (s *session) result(o *opening, room *int) *protocol.SubscribeResult {
	start := &o.start
	r := &protocol.SubscribeResult{
		Recoverable: start.Recoverable, Positioned: start.Recoverable,
		WasRecovering: o.req.Recover, Recovered: o.req.Recover && start.Recovered,
	}
	if start.Recoverable && len(start.Positions) == 1 {
		r.Epoch, o.at = start.Positions[0].Epoch, uint64(start.Positions[0].Next)
		r.Offset = o.at
	}
	if !r.Recovered {
		return r
	}
	if o.subject.All {
		room = new(int)
	}
	r.Publications, o.rest = s.encoding.publications(start.Missed, publication{positioned: true, keyed: o.subject.All}, room)
	switch n := len(r.Publications); {
	case len(o.rest) == 0:
	case n == 0:
		r.Offset = o.req.Offset
	default:
		r.Offset = r.Publications[n-1].Offset
	}
	start.Missed = nil
	return r
}

// publications are as many records as there is room for in an answer, in bytes,
// and those that are left. One that fits into no answer takes all of the room.
func (e Encoding) publications(records []*live.Record, p publication, room *int) (pubs []*protocol.Publication, rest []*live.Record) {
	for i, r := range records {
		if *room <= 0 {
			return pubs, records[i:]
		}
		pub := e.publication(p, r)
		if *room -= pub.SizeVT(); *room < 0 && i > 0 {
			return pubs, records[i:]
		}
		pubs = append(pubs, pub)
	}
	return pubs, nil
}

// publication is one that stands in an answer.
func (e Encoding) publication(p publication, r *live.Record) *protocol.Publication {
	pub := &protocol.Publication{Data: r.Value, Offset: p.offset(r)}
	tag := ""
	if e == JSON {
		pub.Data, tag = appendJSONData(nil, r.Value)
	}
	if p.keyed || tag != "" {
		pub.Tags = make(map[string]string, 2)
	}
	if p.keyed {
		pub.Tags[tagKey] = live.EscapeKey(string(r.Key))
	}
	if tag != "" {
		pub.Tags[tagData] = tag
	}
	return pub
}

// follow sends what belongs behind the reply, no faster than the client takes it,
// and then lets live blocks through.
func (s *session) follow(ctx context.Context, o *opening) {
	last := publication{keyed: o.subject.All}
	if o.ch.server {
		last.at = o.at // see the package's comment
	}
	// Last values must not be merged with live records: what is made of them would
	// carry their own offsets.
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
		s.conn.Deliver(sub, b)
		records = records[n:]
	}
	return true
}

// paced waits until the client has taken most of what was sent. Without this a
// client on a slow line could never be sent more than may wait for one.
func (s *session) paced(ctx context.Context, ch *channel) bool {
	if s.conn.Waiting() <= pace {
		return s.wanted(ch)
	}
	tick := time.NewTicker(paceStep)
	defer tick.Stop()
	for s.conn.Waiting() > pace {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		if !s.wanted(ch) {
			return false
		}
	}
	return true
}

// wanted says whether a channel is still one of the session, and the client has
// not asked to unsubscribe it.
func (s *session) wanted(ch *channel) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
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

// unsubscribe ends a subscription; one that is not there is no mistake, since it
// may have ended meanwhile.
func (s *session) unsubscribe(req *protocol.UnsubscribeRequest) (*protocol.Reply, error) {
	if req.Channel == "" {
		return nil, errBadRequest()
	}
	s.mu.Lock()
	ch := s.find(req.Channel)
	s.mu.Unlock()
	if ch != nil {
		s.drop(ch)
	}
	return &protocol.Reply{Unsubscribe: &protocol.UnsubscribeResult{}}, nil
}
