package centrifugo

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/centrifugal/protocol"
	"github.com/google/uuid"

	"postroad/internal/auth"
	"postroad/internal/stream/live"
)

// state of a session.
type state uint8

const (
	fresh      state = iota // nothing but connect is taken
	connecting              // connect is being worked on, what follows waits
	connected               //
	refused                 // connect was answered with an error, nothing more is taken
	over                    // the connection is ending
)

// session is one client. It is kept small: a node has one for each connection, and
// most are idle.
type session struct {
	p            *Protocol
	conn         Conn
	authenticate Authenticate
	id           uuid.UUID

	// mu is never held while the engine is called: the engine calls channels
	// under the locks of partitions, and they take mu.
	mu        sync.Mutex
	principal *auth.Principal // guarded by mu
	channels  []*channel      // guarded by mu
	tasks     []*task         // under way and waiting, the oldest first; guarded by mu
	running   int             // of tasks; guarded by mu
	// since is when the connection was accepted, expires when its token is no
	// longer good, 0 for never, both in seconds since 1970.
	since   int64
	expires int64 // guarded by mu

	state    state // guarded by mu
	encoding Encoding
}

// task is a command that was taken.
type task struct {
	cmd    *protocol.Command
	method string
	// channel is what it is about; commands on one wait for each other.
	channel string
	// alone makes all commands behind it wait.
	alone   bool
	running bool
	// let is who was let in, in a connect that goes on in the background.
	let *auth.Principal
}

// Message implements wire.Handler.
func (s *session) Message(payload []byte) {
	if s.encoding.commands(payload, s.command) != nil {
		s.disconnect(byeBadRequest())
	}
}

// Tick implements wire.Handler. A client that was refused has as long to go as one
// that never asked: it is not pinged and has no token that runs out, so that without
// this anybody could hold all places of limits.connections.
func (s *session) Tick(now time.Time) {
	s.mu.Lock()
	state, expires := s.state, s.expires
	s.mu.Unlock()
	switch grace := int64(s.p.opts.ExpiryGrace / time.Second); {
	case state == over:
	case (state == fresh || state == refused) && now.Unix()-s.since > int64(s.p.opts.ConnectTimeout/time.Second):
		s.disconnect(byeStale())
	case expires != 0 && now.Unix() > expires+grace:
		s.disconnect(byeExpired())
	}
}

// Closed implements wire.Handler.
func (s *session) Closed(code uint16, _ string) {
	s.mu.Lock()
	s.state = over
	channels := s.channels
	s.channels = nil
	s.forgetWaiting()
	s.mu.Unlock()
	for _, ch := range channels {
		ch.close()
	}
	s.p.metrics.connections[s.encoding].Dec()
	s.p.metrics.closed(code)
}

// disconnect ends the connection. Closed follows.
func (s *session) disconnect(d *disconnect) {
	s.mu.Lock()
	s.state = over
	s.forgetWaiting()
	s.mu.Unlock()
	s.conn.Disconnect(d.code, d.reason)
}

// forgetWaiting drops the tasks that were not begun. The caller holds mu.
func (s *session) forgetWaiting() {
	kept := s.tasks[:0]
	for _, t := range s.tasks {
		if t.running {
			kept = append(kept, t)
		}
	}
	clear(s.tasks[len(kept):])
	s.tasks = kept
}

// command takes one command; it returns false when the session takes no more.
func (s *session) command(cmd *protocol.Command) bool {
	name, asked := method(cmd)
	s.mu.Lock()
	state := s.state
	s.mu.Unlock()
	switch {
	case state == over:
		return false
	case state == refused,
		state == fresh && (cmd.Id == 0 || asked != 1 || cmd.Connect == nil),
		state != fresh && cmd.Connect != nil,
		cmd.Id == 0 && asked > 0 && (cmd.Send == nil || asked > 1):
		s.p.metrics.command(nameOf(name, asked), uint32(byeBadRequest().code))
		s.disconnect(byeBadRequest())
		return false
	case cmd.Id == 0 && asked == 0: // a pong; wire has noted that the client lives
		return true
	case asked == 1 && cmd.Send != nil:
		s.p.metrics.ignored.Inc()
		return true
	case asked == 0:
		s.fail(cmd.Id, nameOf(name, asked), errMethodNotFound())
		return true
	case asked > 1:
		s.fail(cmd.Id, nameOf(name, asked), errBadRequest())
		return true
	}
	return s.take(&task{cmd: cmd, method: name, channel: channelOf(cmd)})
}

// nameOf is the name of a command in metrics.
func nameOf(method string, asked int) string {
	switch asked {
	case 0:
		return "unknown"
	case 1:
		return method
	}
	return "several"
}

func channelOf(cmd *protocol.Command) string {
	switch {
	case cmd.Subscribe != nil:
		return cmd.Subscribe.Channel
	case cmd.Unsubscribe != nil:
		return cmd.Unsubscribe.Channel
	case cmd.Publish != nil:
		return cmd.Publish.Channel
	case cmd.History != nil:
		return cmd.History.Channel
	case cmd.SubRefresh != nil:
		return cmd.SubRefresh.Channel
	}
	return ""
}

// take does a task at once where that takes no time, else in the background, after
// those before it that it must wait for.
func (s *session) take(t *task) bool {
	if t.cmd.Connect != nil {
		return s.connect(t)
	}
	// A subscribe waits until its client takes more, which must not keep the reader
	// from hearing its pongs.
	atOnce := quick(t.cmd) && (t.cmd.Subscribe == nil || s.roomy())
	s.mu.Lock()
	switch {
	case atOnce && !s.blocked(t, len(s.tasks)):
		s.mu.Unlock()
		s.do(s.conn.Context(), t)
		return true
	case len(s.tasks) >= s.p.opts.MaxCommands:
		s.mu.Unlock()
		s.fail(t.cmd.Id, t.method, errTooManyRequests())
		return true
	}
	s.enqueue(t)
	s.mu.Unlock()
	return true
}

// quick tells commands that neither read the hub nor wait for anything else. A
// subscription to many keys begins with as many last values, which are sent no
// faster than the client takes them.
func quick(cmd *protocol.Command) bool {
	switch {
	case cmd.Publish != nil, cmd.History != nil, cmd.Refresh != nil:
		return false
	case cmd.Subscribe != nil:
		subject, err := live.ParseSubject(cmd.Subscribe.Channel)
		return err != nil || !subject.All && !cmd.Subscribe.Recover
	}
	return true
}

// blocked says whether t must wait for one of the first n tasks. The caller holds
// mu.
func (s *session) blocked(t *task, n int) bool {
	for _, before := range s.tasks[:n] {
		if before.alone || t.channel != "" && before.channel == t.channel {
			return true
		}
	}
	return false
}

// enqueue adds a task. The caller holds mu.
func (s *session) enqueue(t *task) {
	s.tasks = append(s.tasks, t)
	s.spawn()
}

// spawn begins tasks that may run. The caller holds mu.
func (s *session) spawn() {
	for i, t := range s.tasks {
		if s.running >= s.p.opts.Concurrent {
			return
		}
		if !t.running && !s.blocked(t, i) {
			t.running = true
			s.running++
			go s.work(t)
		}
	}
}

func (s *session) work(t *task) {
	s.do(s.conn.Context(), t)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	for i := range s.tasks {
		if s.tasks[i] == t {
			s.tasks = append(s.tasks[:i], s.tasks[i+1:]...)
			break
		}
	}
	if len(s.tasks) == 0 {
		s.tasks = nil // most connections never have any again
	}
	s.spawn()
}

// do does a task and answers its command.
func (s *session) do(ctx context.Context, t *task) {
	var reply *protocol.Reply
	var err error
	switch cmd := t.cmd; {
	case cmd.Connect != nil:
		s.connectWith(ctx, t)
	case cmd.Subscribe != nil:
		err = s.subscribe(ctx, t)
	case cmd.Unsubscribe != nil:
		reply, err = s.unsubscribe(cmd.Unsubscribe)
	case cmd.Publish != nil:
		reply, err = s.publish(ctx, cmd.Publish)
	case cmd.History != nil:
		reply, err = s.history(ctx, cmd.History)
	case cmd.Ping != nil:
		reply = &protocol.Reply{Ping: &protocol.PingResult{}}
	case cmd.Refresh != nil:
		reply, err = s.refresh(ctx, cmd.Refresh)
	case cmd.SubRefresh != nil:
		reply, err = s.subRefresh(cmd.SubRefresh)
	default: // presence, presence_stats, rpc
		err = errNotAvailable()
	}
	switch {
	case errors.Is(err, errOver), err != nil && gone(ctx, err):
	case err != nil:
		s.fail(t.cmd.Id, t.method, err)
	case reply != nil:
		s.succeed(t, reply)
	}
}

// succeed answers a command.
func (s *session) succeed(t *task, reply *protocol.Reply) {
	s.p.metrics.command(t.method, 0)
	reply.Id = t.cmd.Id
	s.send(reply)
}

// fail answers a command with an error, or ends the connection over it.
func (s *session) fail(id uint32, method string, err error) {
	if d, ok := errors.AsType[*disconnect](err); ok {
		s.p.metrics.command(method, uint32(d.code))
		s.disconnect(d)
		return
	}
	f, ok := errors.AsType[*fault](err)
	if !ok {
		f = errInternal()
	}
	s.p.metrics.command(method, f.code)
	s.send(&protocol.Reply{Id: id, Error: f.reply()})
}

// send queues a reply or a push.
func (s *session) send(r *protocol.Reply) {
	payload, err := s.encoding.encode(r)
	if err != nil {
		s.p.log.Error("a reply could not be encoded", "err", err)
		s.disconnect(byeServerError())
		return
	}
	s.conn.Send(payload)
}

// encode returns a reply as one message of a frame.
func (e Encoding) encode(r *protocol.Reply) ([]byte, error) {
	if e == JSON {
		return protocol.NewJSONReplyEncoder().Encode(r)
	}
	size := r.SizeVT()
	head := binary.AppendUvarint(make([]byte, 0, size+binary.MaxVarintLen64), uint64(size))
	payload := head[:len(head)+size]
	if _, err := r.MarshalToSizedBufferVT(payload[len(head):]); err != nil {
		return nil, err
	}
	return payload, nil
}
