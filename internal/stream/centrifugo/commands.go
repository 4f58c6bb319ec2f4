package centrifugo

import (
	"context"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/centrifugal/protocol"

	"postroad/internal/auth"
	"postroad/internal/stream/live"
)

// publish brings a client's message to a gateway and waits until it is durable.
func (s *session) publish(ctx context.Context, req *protocol.PublishRequest) (*protocol.Reply, error) {
	switch {
	case s.p.deps.Publisher == nil, req.Type != 0:
		return nil, errNotAvailable()
	}
	subject, err := s.parse(req.Channel)
	if err != nil {
		return nil, err
	}
	if subject.All || len(req.Data) == 0 {
		return nil, errBadRequest()
	}
	who := s.who()
	if !who.MayPublish(subject.String()) {
		return nil, errPermissionDenied()
	}
	p := Publication{
		Principal: who, Topic: subject.Topic, Key: subject.Key, HasKey: subject.Key != "",
		Data: req.Data, ContentType: contentOf(req.Data),
	}
	if err := s.p.deps.Publisher.Publish(ctx, p); err != nil {
		if gone(ctx, err) {
			return nil, err
		}
		s.p.log.Debug("a client's message was not published", "subject", subject.String(), "err", err)
		return nil, publishFault(err)
	}
	return &protocol.Reply{Publish: &protocol.PublishResult{}}, nil
}

func contentOf(data []byte) string {
	if ok, _ := isJSON(data); ok {
		return ContentJSON
	}
	if utf8.Valid(data) {
		return ContentText
	}
	return ContentBytes
}

func (s *session) who() *auth.Principal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.principal
}

// history returns a page of a subject's past. Its offset is the partition's head;
// a client goes on from the last publication it got.
func (s *session) history(ctx context.Context, req *protocol.HistoryRequest) (*protocol.Reply, error) {
	subject, err := s.parse(req.Channel)
	if err != nil {
		return nil, err
	}
	if !s.who().MayRead(subject.String()) {
		return nil, errPermissionDenied()
	}
	// Repeats: a client may be paging from the oldest message held, which the
	// protocol does not tell from one that goes on from where it was.
	r := live.HistoryRequest{Subject: subject, Limit: int(req.Limit), Reverse: req.Reverse, Repeats: true}
	if r.Limit < 0 || r.Limit > s.p.opts.MaxHistory {
		r.Limit = s.p.opts.MaxHistory
	}
	if req.Since != nil {
		r.Since = []live.Position{position(subject, req.Since.Epoch, req.Since.Offset)}
	}
	h, err := s.past(ctx, r)
	if err != nil {
		if gone(ctx, err) {
			return nil, err
		}
		return nil, engineFault(err)
	}
	result := &protocol.HistoryResult{}
	one := len(h.Heads) == 1
	if one {
		result.Epoch, result.Offset = h.Heads[0].Epoch, uint64(h.Heads[0].Next)
	}
	room := s.p.opts.MaxReplyBytes
	result.Publications, _ = s.encoding.publications(h.Records, publication{positioned: one, keyed: subject.All}, &room, true)
	if result.Publications == nil {
		result.Publications = []*protocol.Publication{} // in JSON, centrifuge-python fails over a null
	}
	return &protocol.Reply{History: result}, nil
}

// historyTime is how long a page is looked for; SDKs wait for an answer for 5
// seconds.
const historyTime = 4 * time.Second

// past returns the page that r asks for, which holds no records only where there
// are none: clients take such a page for the end, and the protocol has no other
// word for it. So where a reading ends before it has found one, since the messages
// of a key stand further apart than Options.Recovery of the engine lets one reading
// go, the next goes on behind it. The error is live.ErrBusy where that takes too
// long.
func (s *session) past(ctx context.Context, r live.HistoryRequest) (*live.History, error) {
	for end := time.Now().Add(historyTime); ; {
		h, err := s.p.deps.Engine.History(ctx, r)
		switch {
		case err != nil, len(h.Records) > 0, !h.More:
			return h, err
		case !time.Now().Before(end), slices.Equal(h.Positions, r.Since):
			return nil, live.ErrBusy
		}
		r.Since = h.Positions
	}
}
