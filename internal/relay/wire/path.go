package wire

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"postroad/internal/message"
)

// pathHeader is a header of messages that have passed more than one stamp, as
// they are kept in a queue: "<stamp>,<stamp>;<lane>.<seq>", the path and where
// the last stamp of it keeps the message. Its prefix keeps clients from setting
// it, and it from getting into a hub.
const pathHeader = "postroad-relay"

// Kept is r as a gateway keeps it, accepted at the time that the caller sets. The
// identity on the way can be read from it by Came.
func Kept(r *Relayed) message.Message {
	m := r.Message
	m.Headers = without(m.Headers)
	if len(r.Path) > 1 {
		v := strings.Join(r.Path, ",") + ";" + r.Place.Lane + "." + strconv.FormatUint(r.Place.Seq, 10)
		m.Headers = append(m.Headers, message.Header{Name: pathHeader, Value: []byte(v)})
	}
	return m
}

// Came returns the path that a kept message has come and where the last stamp of
// it keeps it; ok is false for one that was not relayed.
func Came(m *message.Message) (path []string, at message.Place, ok bool) {
	if m.Origin == nil {
		return nil, message.Place{}, false
	}
	for _, h := range m.Headers {
		if h.Name != pathHeader {
			continue
		}
		names, place, _ := bytes.Cut(h.Value, []byte{';'})
		lane, digits, _ := strings.Cut(string(place), ".")
		seq, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || !message.ValidLane(lane) {
			break
		}
		return strings.Split(string(names), ","), message.Place{Lane: lane, Seq: seq}, true
	}
	return []string{m.Origin.Stamp}, m.Origin.Place, true
}

// Leaving is a message that a stamp keeps, as it sends it to another.
func Leaving(stamp string, s *message.Stored) Relayed {
	r := Relayed{Place: s.Place, Message: s.Message}
	path, _, relayed := Came(&s.Message)
	r.Path = slices.Concat(path, []string{stamp})
	r.Headers = without(s.Headers)
	r.Moved = nil
	r.KeyHash = message.Hash{} // of a key that this stamp indexes
	if !relayed {
		r.Origin = &message.Origin{Stamp: stamp, Place: s.Place, Time: s.Time}
	}
	return r
}

// without returns the headers without the path's.
func without(hs []message.Header) []message.Header {
	for i, h := range hs {
		if h.Name == pathHeader {
			return append(hs[:i:i], hs[i+1:]...)
		}
	}
	return hs[:len(hs):len(hs)]
}
