package wire

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// maxHeader is the longest header of a frame: two bytes, eight of length, four of
// the mask.
const maxHeader = 14

// received is something whole that a client sent. Its payload is valid until more
// is decoded.
type received struct {
	op      ws.OpCode // OpText, OpBinary, OpPing, OpPong or OpClose
	payload []byte
}

// protocolError is a client's breach of the protocol, and the code to close with.
type protocolError struct {
	code   uint16
	reason string
}

func (e *protocolError) Error() string { return e.reason }

// decoder takes a client's frames apart, however they are cut: it holds what came
// of an unfinished header, of a message in several frames or reads, and nothing
// in between.
type decoder struct {
	limit   int // of a message, in bytes
	header  [maxHeader]byte
	have    uint8 // bytes of header, while it is incomplete
	inFrame bool  // the header is complete, the payload is not
	fin     bool
	op      ws.OpCode // of the frame
	message ws.OpCode // of the message whose frames come; 0 for none
	mask    [4]byte
	left    int // bytes of the frame's payload that are still to come
	at      int // where in its payload the mask stands, modulo 4
	data    []byte
	control []byte // payload of an unfinished control frame
}

// midway says that a frame or message is unfinished.
func (d *decoder) midway() bool { return d.have > 0 || d.inFrame || d.message != 0 }

// next takes bytes from p, which it changes, and says how many. What it returns
// as received is whole where its op is not 0; otherwise all of p was taken.
func (d *decoder) next(p []byte) (n int, got received, err error) {
	for {
		if !d.inFrame {
			k, err := d.readHeader(p[n:])
			n += k
			if err != nil {
				return n, received{}, err
			}
			if !d.inFrame {
				return n, received{}, nil
			}
		}
		part := p[n:]
		if len(part) > d.left {
			part = part[:d.left]
		}
		n += len(part)
		ws.Cipher(part, d.mask, d.at)
		d.at = (d.at + len(part)) & 3
		d.left -= len(part)
		got, err := d.payload(part)
		if err != nil || got.op != 0 || d.left > 0 || (!d.inFrame && n == len(p)) {
			return n, got, err
		}
	}
}

// readHeader takes bytes of a header; inFrame is set once it is complete.
func (d *decoder) readHeader(p []byte) (n int, err error) {
	for n < len(p) {
		d.header[d.have] = p[n]
		d.have++
		n++
		if d.have == 2 {
			if err := d.check(); err != nil {
				return n, err
			}
		}
		if d.have >= 2 && int(d.have) == headerSize(d.header[1]) {
			return n, d.begin()
		}
	}
	return n, nil
}

// headerSize is the size of a client's header by its second byte.
func headerSize(second byte) int {
	switch second & 0x7f {
	case 126:
		return 2 + 2 + 4
	case 127:
		return 2 + 8 + 4
	}
	return 2 + 4
}

// check looks at the first two bytes of a header.
func (d *decoder) check() error {
	b0, b1 := d.header[0], d.header[1]
	h := ws.Header{
		Fin: b0&0x80 != 0, Rsv: b0 >> 4 & 7, OpCode: ws.OpCode(b0 & 0x0f),
		Masked: b1&0x80 != 0, Length: int64(b1 & 0x7f), // 126 and 127 are too long for control frames, too
	}
	state := ws.StateServerSide
	if d.message != 0 {
		state = state.Set(ws.StateFragmented)
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return &protocolError{codeProtocol, err.Error()}
	}
	return nil
}

// begin starts the frame whose header is complete.
func (d *decoder) begin() error {
	size, length := int(d.have), uint64(d.header[1]&0x7f)
	switch size {
	case 8:
		length = uint64(binary.BigEndian.Uint16(d.header[2:]))
	case maxHeader:
		length = binary.BigEndian.Uint64(d.header[2:])
	}
	copy(d.mask[:], d.header[size-4:size])
	d.have, d.at = 0, 0
	d.fin, d.op = d.header[0]&0x80 != 0, ws.OpCode(d.header[0]&0x0f)
	if length>>63 != 0 {
		return &protocolError{codeProtocol, "a length with its highest bit set"}
	}
	if !d.op.IsControl() {
		if length > uint64(d.limit-len(d.data)) {
			return &protocolError{codeTooBig, "message too big"}
		}
		if d.op != ws.OpContinuation {
			d.message = d.op
		}
	}
	d.left, d.inFrame = int(length), true
	return nil
}

// payload takes an unmasked part of a frame's payload; the frame is complete where
// nothing is left of it. Where that part is a whole message it is not copied.
func (d *decoder) payload(part []byte) (received, error) {
	if d.left > 0 {
		if d.op.IsControl() {
			d.control = append(d.control, part...)
		} else {
			d.data = append(d.data, part...)
		}
		return received{}, nil
	}
	d.inFrame = false
	if d.op.IsControl() {
		whole := joined(d.control, part)
		d.control = nil
		return received{d.op, whole}, nil
	}
	if !d.fin {
		d.data = append(d.data, part...)
		return received{}, nil
	}
	whole, op := joined(d.data, part), d.message
	d.data, d.message = nil, 0
	if op == ws.OpText && !utf8.Valid(whole) {
		return received{}, &protocolError{codeNotUTF8, "text that is not UTF-8"}
	}
	return received{op, whole}, nil
}

func joined(before, part []byte) []byte {
	if len(before) == 0 {
		return part
	}
	return append(before, part...)
}

// closeCode reads the payload of a close frame.
func closeCode(payload []byte) (uint16, string, error) {
	if len(payload) == 0 {
		return codeNoneGiven, "", nil
	}
	if len(payload) == 1 {
		return 0, "", &protocolError{codeProtocol, "a close frame of one byte"}
	}
	code, reason := ws.ParseCloseFrameData(payload)
	if err := ws.CheckCloseFrameData(code, reason); err != nil {
		return 0, "", &protocolError{codeProtocol, err.Error()}
	}
	return uint16(code), reason, nil
}
