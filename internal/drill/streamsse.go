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
	"net/http"
	"net/url"
	"time"
)

// event is the data of one server-sent event.
type event struct {
	Partition *int32  `json:"partition"`
	Offset    *int64  `json:"offset"`
	Key       *string `json:"key"`
	Value     *string `json:"value"`
	Base64    *string `json:"base64"`
}

// eventStream reads server-sent events as the HTML standard has it.
type eventStream struct {
	v    *viewer
	conn net.Conn
	r    *bufio.Reader

	id, kind string
	data     bytes.Buffer
	// named: an id came by this connection; begun: it counts as subscribed.
	named, begun bool
}

// events asks for a stream and reads until the connection is gone. The client
// counts as subscribed once the node has given it an id to come back with: one
// that cannot serve it may say so in a stream that ends at once.
func (v *viewer) events(ctx context.Context) error {
	d := net.Dialer{Timeout: handshakeLimit}
	conn, err := d.DialContext(ctx, "tcp", v.host)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s := &eventStream{v: v, conn: conn, r: bufio.NewReaderSize(conn, 2048), id: v.hint}
	err = s.read()
	if s.begun {
		v.stats.gone(ctx, err)
	}
	return err
}

func (s *eventStream) request() string {
	subject := s.v.views[0].subject
	path := "/v1/topics/" + subject.topic + "/stream"
	if !subject.all {
		path += "?key=" + url.QueryEscape(string(subject.key))
	}
	text := "GET " + path + " HTTP/1.1\r\nHost: " + s.v.host + "\r\nAccept: text/event-stream\r\n"
	if s.id != "" {
		text += "Last-Event-ID: " + s.id + "\r\n"
	}
	return text + "\r\n"
}

func (s *eventStream) read() error {
	if err := s.conn.SetDeadline(time.Now().Add(handshakeLimit)); err != nil {
		return err
	}
	if _, err := io.WriteString(s.conn, s.request()); err != nil {
		return err
	}
	resp, err := http.ReadResponse(s.r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // only for the message
		return fmt.Errorf("%w: %s: %s", ErrAnswer, resp.Status, text)
	}
	s.v.dialled()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 2048), 4*maxFrame)
	for {
		if err := s.conn.SetDeadline(time.Now().Add(silenceLimit)); err != nil {
			return err
		}
		if !lines.Scan() {
			return errors.Join(io.EOF, lines.Err())
		}
		s.line(lines.Bytes())
	}
}

// line takes one line of the stream.
func (s *eventStream) line(line []byte) {
	if len(line) == 0 {
		s.dispatch()
		return
	}
	name, value, _ := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, []byte{' '})
	switch string(name) {
	case "": // a comment
	case "id":
		s.id, s.named = string(value), true
	case "event":
		s.kind = string(value)
	case "data":
		s.data.Write(value)
		s.data.WriteByte('\n')
	}
}

// dispatch ends an event. The id holds from here on, with data or without.
func (s *eventStream) dispatch() {
	s.v.hint = s.id
	data, kind := bytes.TrimSuffix(s.data.Bytes(), []byte{'\n'}), s.kind
	switch {
	case kind == "gap":
		s.v.views[0].gap("%s", data)
	case len(data) == 0:
	case kind != "" && kind != "message":
		s.v.views[0].fault("an event %q: %.200s", kind, data)
	default:
		s.message(data)
	}
	s.data.Reset()
	s.kind = ""
	if !s.begun && s.named {
		s.begun = true
		s.v.ready()
	}
}

func (s *eventStream) message(data []byte) {
	view := s.v.views[0]
	var e event
	if err := json.Unmarshal(data, &e); err != nil || e.Partition == nil || e.Offset == nil {
		view.fault("not decodable: %v: %.200q", err, data)
		return
	}
	r := Record{Partition: *e.Partition, Offset: *e.Offset}
	if e.Key != nil {
		r.Key = []byte(*e.Key)
	}
	switch {
	case e.Value != nil:
		r.Value = []byte(*e.Value)
	case e.Base64 != nil:
		value, err := base64.StdEncoding.DecodeString(*e.Base64)
		if err != nil {
			view.fault("offset %d: %v", r.Offset, err)
			return
		}
		r.Value = value
	}
	if last, ok := s.v.partitions[r.Partition]; ok && r.Offset <= last {
		view.fault("partition %d: offset %d behind %d", r.Partition, r.Offset, last)
	}
	s.v.partitions[r.Partition] = r.Offset
	view.saw(s.v.prints.id(r.Print()))
}
