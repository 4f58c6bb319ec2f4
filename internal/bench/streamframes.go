package bench

import (
	"errors"
	"fmt"

	"github.com/gobwas/ws"
)

// frames takes apart what a stream node sends over a WebSocket, however reads cut
// it, and counts messages, of which a frame holds many. It copies nothing but
// what a read cut off, and that only where it is asked to keep it.
type frames struct {
	// bare: a frame is a message. Otherwise a frame holds replies, each behind
	// its length.
	bare bool
	// keep has messages put together that were cut; without it those are counted
	// and not shown.
	keep bool

	head  [10]byte
	have  int // bytes of head, while a header is incomplete
	op    ws.OpCode
	frame int // bytes of the frame's payload to come

	length uint64 // of the reply, as far as its digits came
	shift  uint
	reply  int // bytes of the reply to come
	cut    []byte
	whole  bool // what came of the reply is all in cut
}

var errClosed = errors.New("the node closed the connection")

// feed takes the next bytes. on is called for each message: with its bytes where
// they were in one piece or kept, else with nil; a ping of the protocol has no
// bytes and is not nil.
func (f *frames) feed(p []byte, on func(message []byte)) error {
	for len(p) > 0 {
		if f.frame == 0 {
			p = p[f.header(p):]
			if f.op == ws.OpClose {
				return errClosed
			}
			continue
		}
		part := p[:min(f.frame, len(p))]
		p = p[len(part):]
		f.frame -= len(part)
		switch {
		case f.op.IsControl():
		case f.bare:
			f.piece(part, f.frame, on)
		default:
			if err := f.replies(part, on); err != nil {
				return err
			}
		}
	}
	return nil
}

// header takes bytes of a frame's header and returns how many.
func (f *frames) header(p []byte) (n int) {
	for n < len(p) {
		f.head[f.have] = p[n]
		f.have++
		n++
		size := 2
		switch f.head[1] {
		case 126:
			size = 4
		case 127:
			size = 10
		}
		if f.have < 2 || f.have < size {
			continue
		}
		f.op, f.frame = ws.OpCode(f.head[0]&15), int(f.head[1])
		if size > 2 {
			f.frame = 0
			for _, b := range f.head[2:size] {
				f.frame = f.frame<<8 | int(b)
			}
		}
		f.have = 0
		return n
	}
	return n
}

// replies takes bytes of a frame that holds replies.
func (f *frames) replies(p []byte, on func([]byte)) error {
	for len(p) > 0 {
		if f.reply > 0 {
			n := min(f.reply, len(p))
			f.reply -= n
			f.piece(p[:n], f.reply, on)
			p = p[n:]
			continue
		}
		b := p[0]
		p = p[1:]
		f.length |= uint64(b&0x7f) << f.shift
		if f.shift += 7; f.shift > 63 {
			return fmt.Errorf("a reply's length of more than %d digits", f.shift/7)
		}
		if b < 0x80 {
			f.reply = int(f.length)
			f.length, f.shift = 0, 0
			if f.reply == 0 {
				on([]byte{})
			}
		}
	}
	return nil
}

// piece takes a part of a message of which left bytes are to come.
func (f *frames) piece(part []byte, left int, on func([]byte)) {
	if !f.whole { // the first part
		f.whole = true
		if left == 0 {
			f.whole = false
			on(part)
			return
		}
		f.cut = f.cut[:0]
	}
	if f.keep {
		f.cut = append(f.cut, part...)
	}
	if left > 0 {
		return
	}
	f.whole = false
	if f.keep {
		on(f.cut)
	} else {
		on(nil)
	}
	f.cut = nil
}
