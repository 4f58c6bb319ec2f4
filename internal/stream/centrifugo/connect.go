package centrifugo

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/centrifugal/protocol"
	"github.com/google/uuid"

	"postroad/internal/auth"
	"postroad/internal/stream/live"
)

// authTimeout bounds the judging of a token, which may need keys from elsewhere.
const authTimeout = 10 * time.Second

// maxTTL is the longest that a client is told its token is good: timers of
// browsers hold no more than 2^31 milliseconds. Who is told less refreshes sooner.
const maxTTL = math.MaxInt32 / 1000

// connect lets the client in, at once where it is subscribed to nothing by that.
// It returns false when the session takes no more.
func (s *session) connect(t *task) bool {
	ctx, cancel := context.WithTimeout(context.Background(), authTimeout)
	defer cancel()
	let, err := s.authenticate(ctx, t.cmd.Connect.Token)
	if err == nil && !let.Expires.IsZero() && !let.Expires.After(time.Now()) {
		err = auth.ErrExpired
	}
	if err != nil {
		s.refuse(t, authError(err))
		return false
	}
	t.let, t.alone = let, true
	s.mu.Lock()
	if s.state == over {
		s.mu.Unlock()
		return false
	}
	s.principal = let
	s.id = uuid.New()
	s.setExpiry(let)
	s.state = connecting
	if len(let.Channels) > 0 || len(t.cmd.Connect.Subs) > 0 {
		s.enqueue(t)
		s.mu.Unlock()
		return true
	}
	s.state = connected
	result := s.connectResult()
	s.mu.Unlock()
	s.conn.StartPings()
	s.succeed(t, &protocol.Reply{Connect: result})
	return true
}

// refuse answers connect with an error, after which nothing else is taken.
func (s *session) refuse(t *task, err error) {
	s.mu.Lock()
	if s.state != over {
		s.state = refused
	}
	s.forgetWaiting()
	s.mu.Unlock()
	s.fail(t.cmd.Id, t.method, err)
}

// setExpiry notes when the principal's token is no longer good. The caller holds
// mu.
func (s *session) setExpiry(p *auth.Principal) {
	s.expires = 0
	if !p.Expires.IsZero() {
		s.expires = p.Expires.Unix()
	}
}

// ttl is what a client is told of its token. The caller holds mu.
func (s *session) ttl() (expires bool, seconds uint32) {
	if s.expires == 0 {
		return false, 0
	}
	return true, uint32(min(max(s.expires-time.Now().Unix(), 1), maxTTL))
}

// connectResult is the answer to connect. The caller holds mu.
func (s *session) connectResult() *protocol.ConnectResult {
	r := &protocol.ConnectResult{
		Client: s.id.String(), Version: s.p.deps.Version, Node: s.p.deps.Node,
		Ping: uint32(s.p.deps.Ping / time.Second), Pong: true, Data: s.p.about,
	}
	r.Expires, r.Ttl = s.ttl()
	return r
}

// connectWith lets the client in and subscribes it to what its token names and to
// what it asked for in connect: those are subscriptions made by the server, which
// the SDK holds apart from its own.
//
// What cannot be subscribed to for good is left out, by which the SDK drops it; if
// one cannot now, connect fails, since an SDK that is left without a subscription
// in the answer forgets its position.
func (s *session) connectWith(ctx context.Context, t *task) {
	openings, err := s.serverSide(t)
	if err == nil {
		s.openAll(ctx, openings)
		openings, err = passable(openings)
	}
	if err != nil {
		for _, o := range openings {
			s.drop(o.ch)
		}
		if !errors.Is(err, errOver) && !gone(ctx, err) {
			s.refuse(t, err)
		}
		return
	}
	s.mu.Lock()
	result := s.connectResult()
	s.mu.Unlock()
	result.Subs = make(map[string]*protocol.SubscribeResult, len(openings))
	room := s.p.opts.MaxReplyBytes // for all of them: one answer must not be too large for an SDK
	for _, o := range openings {
		result.Subs[o.ch.name] = s.result(o, &room)
	}
	s.mu.Lock()
	if s.state == over {
		s.mu.Unlock()
		return // Closed has ended the subscriptions
	}
	s.state = connected
	s.mu.Unlock()
	s.conn.StartPings()
	s.succeed(t, &protocol.Reply{Connect: result})
	s.mu.Lock()
	t.alone = false
	s.spawn()
	s.mu.Unlock()
	// The short ones first: what is delivered meanwhile is held, which is bounded.
	slices.SortStableFunc(openings, func(a, b *opening) int { return cmp.Compare(a.behind(), b.behind()) })
	for _, o := range openings {
		s.follow(ctx, o)
	}
}

// serverSide are the subscriptions that a connect brings, reserved.
func (s *session) serverSide(t *task) (all []*opening, err error) {
	asked := make(map[string]*protocol.SubscribeRequest, len(t.let.Channels)+len(t.cmd.Connect.Subs))
	for _, name := range t.let.Channels {
		asked[name] = nil
	}
	maps.Copy(asked, t.cmd.Connect.Subs)
	if len(asked) > s.p.opts.MaxSubscriptions {
		return nil, byeChannelLimit()
	}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		req := asked[name]
		if req == nil {
			req = &protocol.SubscribeRequest{}
		}
		o, err := s.reserve(name, req, true)
		if err == nil {
			all = append(all, o)
		}
	}
	return all, nil
}

// openAll opens subscriptions, several at once: those that read the hub again for
// one partition share the reading.
func (s *session) openAll(ctx context.Context, all []*opening) {
	slots := make(chan struct{}, s.p.opts.Concurrent)
	done := make(chan struct{}, len(all))
	for _, o := range all {
		slots <- struct{}{}
		go func() {
			o.err = s.open(ctx, o)
			<-slots
			done <- struct{}{}
		}()
	}
	for range all {
		<-done
	}
}

// passable leaves out what failed for good; the error is what may pass.
func passable(all []*opening) (opened []*opening, err error) {
	for _, o := range all {
		f, failed := errors.AsType[*fault](o.err)
		switch {
		case o.err == nil:
			opened = append(opened, o)
		case !failed || f.temporary:
			err = o.err
		}
	}
	return opened, err
}

// refresh takes a new token of the same client. What it does not let the client
// see any more is ended for good.
func (s *session) refresh(ctx context.Context, req *protocol.RefreshRequest) (*protocol.Reply, error) {
	if req.Token == "" {
		return nil, errBadRequest()
	}
	ctx, cancel := context.WithTimeout(ctx, authTimeout)
	defer cancel()
	let, err := s.authenticate(ctx, req.Token)
	switch {
	case errors.Is(err, auth.ErrExpired), err == nil && !let.Expires.IsZero() && !let.Expires.After(time.Now()):
		return nil, byeExpired() // the SDK connects again, with a token that it fetches
	case errors.Is(err, auth.ErrInvalidToken), errors.Is(err, auth.ErrNoToken):
		return nil, byeInvalidToken()
	case err != nil:
		return nil, errInternal()
	}
	s.mu.Lock()
	if s.principal.Name != let.Name || s.principal.Anonymous != let.Anonymous {
		s.mu.Unlock()
		return nil, byeInvalidToken() // another's token would take this one's place unseen
	}
	s.principal = let
	s.setExpiry(let)
	result := &protocol.RefreshResult{Client: s.id.String(), Version: s.p.deps.Version}
	result.Expires, result.Ttl = s.ttl()
	var lost []*channel
	for _, ch := range s.channels {
		if ch.sub != nil && !let.MayRead(ch.sub.Subject().String()) {
			lost = append(lost, ch)
		}
	}
	s.mu.Unlock()
	for _, ch := range lost {
		if s.drop(ch) {
			s.pushUnsubscribe(ch.name, unsubscribedServer, "permission denied")
		}
	}
	return &protocol.Reply{Refresh: result}, nil
}

// subRefresh is for subscriptions with tokens of their own, of which there are
// none: a subscription is as long as its connection.
func (s *session) subRefresh(req *protocol.SubRefreshRequest) (*protocol.Reply, error) {
	if _, err := s.parse(req.Channel); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(req.Channel) == nil {
		return nil, errPermissionDenied()
	}
	return &protocol.Reply{SubRefresh: &protocol.SubRefreshResult{}}, nil
}

// parse reads the name of a channel.
func (s *session) parse(name string) (live.Subject, error) {
	if name == "" || len(name) > s.p.opts.MaxNameBytes {
		return live.Subject{}, errBadRequest()
	}
	subject, err := live.ParseSubject(name)
	if err != nil {
		return live.Subject{}, errBadRequest()
	}
	return subject, nil
}
