package drill

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/centrifugal/protocol"
	"github.com/gobwas/ws"
)

// maxFrame is the largest frame that every official SDK takes: centrifuge-python
// 0.5 closes the connection beyond it.
const maxFrame = 1 << 20

// socket is one WebSocket connection of a viewer.
type socket struct {
	v    *viewer
	conn net.Conn
	r    *bufio.Reader
	// waiting is how many subscriptions have no answer yet.
	waiting int
	ready   bool
}

// webSocket connects, subscribes and reads until the connection is gone.
func (v *viewer) webSocket(ctx context.Context) error {
	d := ws.Dialer{Timeout: handshakeLimit, ReadBufferSize: 1024, WriteBufferSize: 512}
	address := "ws://" + v.host + "/connection/websocket"
	if v.kind == kindProtobuf {
		if v.rng.IntN(2) == 0 { // both ways to ask for it
			address += "?cf_protocol=protobuf"
		} else {
			d.Protocols = []string{"centrifuge-protobuf"}
		}
	}
	conn, r, _, err := d.Dial(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	v.dialled()
	if r == nil {
		r = bufio.NewReaderSize(conn, 2048)
	}
	s := &socket{v: v, conn: conn, r: r}
	if err := s.send(&protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{Name: "drill"}}); err != nil {
		return err
	}
	err = s.read()
	if s.ready {
		v.stats.gone(ctx, err)
	}
	return err
}

// send writes one command.
func (s *socket) send(c *protocol.Command) error {
	var data []byte
	var err error
	op := ws.OpText
	if s.v.kind == kindProtobuf {
		op = ws.OpBinary
		data, err = protocol.NewProtobufCommandEncoder().Encode(c)
	} else {
		data, err = protocol.NewJSONCommandEncoder().Encode(c)
	}
	if err != nil {
		return fmt.Errorf("encode a command: %w", err)
	}
	return s.frame(op, data)
}

func (s *socket) frame(op ws.OpCode, data []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(handshakeLimit)); err != nil {
		return err
	}
	frame, err := ws.CompileFrame(ws.MaskFrameInPlace(ws.NewFrame(op, true, bytes.Clone(data))))
	if err != nil {
		return err
	}
	_, err = s.conn.Write(frame)
	return err
}

// read takes frames until the connection is gone.
func (s *socket) read() error {
	for {
		limit := silenceLimit
		if !s.ready {
			limit = handshakeLimit
		}
		if err := s.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
			return err
		}
		h, err := ws.ReadHeader(s.r)
		if err != nil {
			return err
		}
		if h.Length > maxFrame {
			s.v.views[0].fault("a frame of %d bytes", h.Length)
		}
		if int64(cap(s.v.buf)) < h.Length {
			s.v.buf = make([]byte, h.Length)
		}
		payload := s.v.buf[:h.Length]
		if _, err := io.ReadFull(s.r, payload); err != nil {
			return err
		}
		if err := s.take(h, payload); err != nil {
			return err
		}
	}
}

func (s *socket) take(h ws.Header, payload []byte) error {
	switch {
	case h.OpCode == ws.OpClose:
		code, reason := ws.ParseCloseFrameData(payload)
		return closedError{int(code), reason}
	case h.OpCode == ws.OpPing:
		return s.frame(ws.OpPong, payload)
	case h.OpCode == ws.OpPong:
		return nil
	case !h.Fin || h.Masked || (h.OpCode == ws.OpBinary) != (s.v.kind == kindProtobuf):
		s.v.views[0].fault("a frame with header %+v", h)
		return fmt.Errorf("%w: frame %+v", ErrAnswer, h)
	}
	var replies protocol.ReplyDecoder = protocol.NewJSONReplyDecoder(payload)
	if s.v.kind == kindProtobuf {
		replies = protocol.NewProtobufReplyDecoder(payload)
	}
	for {
		reply, err := replies.Decode()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			s.v.views[0].fault("not decodable: %v: %.200q", err, payload)
			return fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		if err := s.reply(reply); err != nil {
			return err
		}
	}
}

func (s *socket) reply(r *protocol.Reply) error {
	switch {
	case r.Error != nil:
		return refusedError{fmt.Sprintf("command %d", r.Id), r.Error.Code, r.Error.Message}
	case r.Push != nil:
		return s.push(r.Push)
	case r.Id == 0:
		return s.send(&protocol.Command{}) // a ping
	case r.Connect != nil:
		return s.subscribe()
	case r.Subscribe != nil && r.Id >= 2 && int(r.Id)-2 < len(s.v.views):
		return s.subscribed(int(r.Id)-2, r.Subscribe)
	}
	s.v.views[0].fault("a reply to nothing: %v", r)
	return nil
}

// subscribe asks for all subjects, from where the client is.
func (s *socket) subscribe() error {
	s.waiting = len(s.v.views)
	for i, view := range s.v.views {
		request := &protocol.SubscribeRequest{Channel: view.subject.name()}
		if at := s.v.positions[i]; at.known {
			request.Recover, request.Epoch, request.Offset = true, at.epoch, at.offset
		}
		if err := s.send(&protocol.Command{Id: uint32(i + 2), Subscribe: request}); err != nil {
			return err
		}
	}
	return nil
}

func (s *socket) subscribed(i int, r *protocol.SubscribeResult) error {
	view, at := s.v.views[i], s.v.positions[i]
	switch {
	case !r.Recoverable || r.Epoch == "":
		view.fault("cannot be recovered: %v", r)
	case at.known && (!r.WasRecovering || !r.Recovered):
		view.gap("from offset %d of epoch %s: was_recovering %v, recovered %v, offset %d of epoch %s",
			at.offset, at.epoch, r.WasRecovering, r.Recovered, r.Offset, r.Epoch)
	}
	if len(r.Publications) > 0 && !at.known {
		view.fault("%d publications in the reply to a subscription that begins afresh", len(r.Publications))
	}
	// What is recovered in the reply ascends from the old position; behind it
	// the reply's own holds.
	now := &s.v.positions[i]
	*now = position{known: r.Recoverable, epoch: r.Epoch}
	if at.known && r.Recovered {
		now.offset = at.offset
	}
	for _, p := range r.Publications {
		s.publication(i, p)
	}
	if n := len(r.Publications); n > 0 && r.Publications[n-1].Offset > r.Offset {
		view.fault("the reply ends at %d, and its publications at %d", r.Offset, r.Publications[n-1].Offset)
	}
	now.offset = max(now.offset, r.Offset)
	if s.waiting--; s.waiting == 0 {
		s.ready = true
		s.v.ready()
	}
	return nil
}

func (s *socket) push(p *protocol.Push) error {
	switch {
	case p.Disconnect != nil:
		return closedError{int(p.Disconnect.Code), p.Disconnect.Reason}
	case p.Unsubscribe != nil:
		return refusedError{"subscription to " + p.Channel, p.Unsubscribe.Code, p.Unsubscribe.Reason}
	case p.Pub == nil:
		return nil
	}
	for i, view := range s.v.views {
		if view.subject.name() == p.Channel {
			s.publication(i, p.Pub)
			return nil
		}
	}
	s.v.views[0].fault("a publication of %q", p.Channel)
	return nil
}

// publication enters a message into what was seen.
func (s *socket) publication(i int, p *protocol.Publication) {
	view, at := s.v.views[i], &s.v.positions[i]
	if p.Tags["postroad-last"] != "" { // a last value: no message that comes now
		view.snapshot()
		at.offset = max(at.offset, p.Offset)
		return
	}
	if p.Offset <= at.offset {
		view.fault("offset %d behind %d", p.Offset, at.offset)
	}
	at.offset = p.Offset
	r := Record{Offset: int64(p.Offset) - 1, Key: view.subject.key, Value: p.Data}
	var err error
	if s.v.kind == kindJSON {
		r.Value, err = plainData(p.Data, p.Tags)
	}
	if key, ok := p.Tags["key"]; err == nil && view.subject.all && ok && key != "" {
		var text string
		text, err = url.PathUnescape(key)
		r.Key = []byte(text)
	}
	if err != nil {
		view.fault("offset %d: %v", p.Offset, err)
		return
	}
	view.saw(s.v.prints.id(r.Print()))
}

// plainData is the value that a publication in JSON stands for.
func plainData(data []byte, tags map[string]string) ([]byte, error) {
	coding := tags["postroad-data"]
	if coding == "" {
		return data, nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return nil, fmt.Errorf("data that is said to be %s: %w", coding, err)
	}
	switch coding {
	case "text":
		return []byte(text), nil
	case "base64":
		return base64.StdEncoding.DecodeString(text)
	}
	return nil, fmt.Errorf("%w: data that is said to be %q", ErrAnswer, coding)
}
