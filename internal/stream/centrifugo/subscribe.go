package centrifugo

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/centrifugal/protocol"

	"postroad/internal/stream/live"
)

// flagRejectUnrecovered of a subscribe: an application that loads its state
// elsewhere wants 112 rather than a subscription that was not recovered.
const flagRejectUnrecovered = 2

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
		err = s.opened(o, sub)
	}
	switch {
	case err == nil:
	case errors.Is(err, errOver):
		o.ch.close()
		return err
	default:
		s.drop(o.ch)
		if gone(ctx, err) {
			return err
		}
		err = s.openFault(o, err)
	}
	if o.req.Recover {
		if err == nil && o.start.Recovered {
			s.p.metrics.complete.Inc()
			s.p.metrics.recovered.Add(float64(len(o.start.Missed)))
		} else {
			s.p.metrics.failed.Inc()
		}
	}
	return err
}

// opened takes up the engine's subscription, unless it came too late or is not what
// was asked for. That the client may read it is looked at again: a token that came
// while the hub was read may allow less, and refresh ended only what was there.
func (s *session) opened(o *opening, sub *live.Subscription) error {
	s.p.metrics.subscriptions.Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	o.ch.sub = sub
	switch {
	case s.find(o.ch.name) != o.ch:
		return errOver
	case !s.principal.MayRead(o.subject.String()):
		return errPermissionDenied()
	case o.req.Recover && !o.start.Recovered && o.req.Flag&flagRejectUnrecovered != 0:
		return errUnrecoverable()
	}
	return nil
}

// openFault is how a subscription that could not be made is answered.
func (s *session) openFault(o *opening, err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
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
// one SDK drops the tags of what stands in an answer, and with them the keys. Where
// last values follow it is that before the first of them, for the same reason.
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
		if r.Recoverable && len(start.Last) > 0 {
			r.Offset = uint64(start.Last[0].Offset) // before the first of them: see the package's comment
		}
		return r
	}
	if o.subject.All {
		room = new(int)
	}
	whole := *room == s.p.opts.MaxReplyBytes
	r.Publications, o.rest = s.encoding.publications(start.Missed, publication{positioned: true, keyed: o.subject.All}, room, whole)
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
// and those that are left. One that fits into no answer is let in alone, where the
// room is whole; without that what others took of it would come on top, and the
// answer be larger than an SDK takes.
func (e Encoding) publications(records []*live.Record, p publication, room *int, whole bool) (pubs []*protocol.Publication, rest []*live.Record) {
	for i, r := range records {
		if *room <= 0 {
			return pubs, records[i:]
		}
		pub := e.publication(p, r)
		size := e.size(pub)
		if size > *room && (i > 0 || !whole) {
			return pubs, records[i:]
		}
		*room -= size
		pubs = append(pubs, pub)
	}
	return pubs, nil
}

// size is what a publication takes of an answer, at most. In JSON a small message
// is less than what stands around it.
func (e Encoding) size(pub *protocol.Publication) int {
	if e == Protobuf {
		return sizeBytes(pub.SizeVT())
	}
	n := len(`{"data":,"offset":,"tags":{}},`) + len(pub.Data)
	n += len(strconv.FormatUint(pub.Offset, 10))
	for name, value := range pub.Tags {
		n += len(`"":"",`) + len(name) + sizeText(value)
	}
	return n
}

// sizeText is how long a text is in a string of JSON, at most. What encodes answers
// escapes more than appendJSONString, for the sake of HTML.
func sizeText(s string) (n int) {
	for _, r := range s {
		if r < ' ' || strings.ContainsRune("\"\\<>&\u2028\u2029\ufffd", r) {
			n += len(`\u0000`)
		} else {
			n += utf8.RuneLen(r)
		}
	}
	return n
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
