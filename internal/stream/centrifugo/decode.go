package centrifugo

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"

	"github.com/centrifugal/protocol"
)

var errFrame = errors.New("a frame that is not made of commands")

// commands calls fn with each command of a frame, in order, until it returns
// false. What was decoded keeps nothing of the frame's bytes.
func (e Encoding) commands(frame []byte, fn func(*protocol.Command) bool) error {
	next := nextJSON
	if e == Protobuf {
		next = nextProtobuf
	}
	if len(frame) == 0 {
		return errFrame
	}
	for len(frame) > 0 {
		cmd := new(protocol.Command)
		rest, err := next(frame, cmd)
		if err != nil {
			return err
		}
		if !fn(cmd) {
			return nil
		}
		frame = rest
	}
	return nil
}

// nextJSON decodes the first line, which must be an object: encoding/json takes
// null for one with nothing in it.
func nextJSON(frame []byte, cmd *protocol.Command) (rest []byte, err error) {
	line, rest, _ := bytes.Cut(frame, []byte{'\n'})
	if line = bytes.TrimLeft(line, " \t\r"); len(line) == 0 || line[0] != '{' {
		return nil, errFrame
	}
	if err := json.Unmarshal(line, cmd); err != nil {
		return nil, errFrame // the error quotes what was sent
	}
	return rest, nil
}

func nextProtobuf(frame []byte, cmd *protocol.Command) (rest []byte, err error) {
	size, n := binary.Uvarint(frame)
	if n <= 0 || size > uint64(len(frame)-n) {
		return nil, errFrame
	}
	end := n + int(size)
	if err := cmd.UnmarshalVT(frame[n:end]); err != nil {
		return nil, errFrame
	}
	return frame[end:], nil
}

// method is the name of what a command asks for, and how many things it asks for
// at once: anything but 1 is not the protocol's.
func method(cmd *protocol.Command) (name string, asked int) {
	for _, m := range [...]struct {
		name string
		is   bool
	}{
		{"connect", cmd.Connect != nil},
		{"subscribe", cmd.Subscribe != nil},
		{"unsubscribe", cmd.Unsubscribe != nil},
		{"publish", cmd.Publish != nil},
		{"presence", cmd.Presence != nil},
		{"presence_stats", cmd.PresenceStats != nil},
		{"history", cmd.History != nil},
		{"ping", cmd.Ping != nil},
		{"send", cmd.Send != nil},
		{"rpc", cmd.Rpc != nil},
		{"refresh", cmd.Refresh != nil},
		{"sub_refresh", cmd.SubRefresh != nil},
	} {
		if m.is {
			name = m.name
			asked++
		}
	}
	return name, asked
}
