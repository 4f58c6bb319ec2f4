package wire

import (
	"encoding/binary"

	"github.com/gobwas/ws"
)

// The first byte of a frame that is a whole message.
const (
	finText   = 0x80 | byte(ws.OpText)
	finBinary = 0x80 | byte(ws.OpBinary)
)

// AppendFrame appends the frame that carries payload as one message, as a server
// sends it: text, or binary. What Deliver is given is made of such frames.
func AppendFrame(dst []byte, isBinary bool, payload []byte) []byte {
	return append(AppendHeader(dst, isBinary, len(payload)), payload...)
}

// AppendHeader appends the header of a frame whose payload of n bytes the caller
// appends.
func AppendHeader(dst []byte, isBinary bool, n int) []byte {
	first := finText
	if isBinary {
		first = finBinary
	}
	return appendHeader(dst, first, n)
}

func appendHeader(dst []byte, first byte, n int) []byte {
	switch {
	case n < 126:
		return append(dst, first, byte(n))
	case n < 1<<16:
		return append(dst, first, 126, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(n))
}

// appendControl appends a control frame; its payload is at most 125 bytes.
func appendControl(dst []byte, op ws.OpCode, payload []byte) []byte {
	return append(append(dst, 0x80|byte(op), byte(len(payload))), payload...)
}

// closeFrame is the frame that ends a connection. A code of 0 is said by an empty
// one; a reason that is too long is cut.
func closeFrame(code uint16, reason string) []byte {
	if code == 0 {
		return appendControl(nil, ws.OpClose, nil)
	}
	const most = ws.MaxControlFramePayloadSize - 2
	return appendControl(nil, ws.OpClose, ws.NewCloseFrameBody(ws.StatusCode(code), cutText(reason, most)))
}

// cutText cuts UTF-8 text to at most n bytes between two characters: a client
// must drop a connection whose reason is not UTF-8.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
