package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// masked is a client's frame.
func masked(f ws.Frame) []byte { return ws.MustCompileFrame(ws.MaskFrame(f)) }

// decode feeds pieces, each copied, as read buffers are used again, and returns
// what came of them as text.
func decode(d *decoder, pieces ...[]byte) (got []string, err error) {
	for _, p := range pieces {
		p = bytes.Clone(p)
		for len(p) > 0 {
			n, r, err := d.next(p)
			if err != nil {
				return got, err
			}
			if r.op != 0 {
				got = append(got, fmt.Sprintf("%d:%x", r.op, r.payload))
			} else if n < len(p) {
				return got, fmt.Errorf("%d of %d bytes taken for nothing", n, len(p))
			}
			p = p[n:]
		}
	}
	return got, nil
}

func TestDecoder(t *testing.T) {
	const limit = 70_000
	long := bytes.Repeat([]byte("0123456789"), 6600)
	for _, row := range []struct {
		name   string
		frames []ws.Frame
		want   []string // op and payload
		code   uint16
	}{
		{"text", []ws.Frame{ws.NewTextFrame([]byte("hé"))}, []string{"1:68c3a9"}, 0},
		{"empty", []ws.Frame{ws.NewBinaryFrame(nil)}, []string{"2:"}, 0},
		{"long", []ws.Frame{ws.NewBinaryFrame(long)}, []string{fmt.Sprintf("2:%x", long)}, 0},
		{"many", []ws.Frame{ws.NewTextFrame([]byte("a")), ws.NewPingFrame([]byte("p")), ws.NewBinaryFrame([]byte("b"))}, []string{"1:61", "9:70", "2:62"}, 0},
		{"parts with a ping between", []ws.Frame{
			ws.NewFrame(ws.OpText, false, []byte{0xc3}), ws.NewPingFrame(nil),
			ws.NewFrame(ws.OpContinuation, false, nil), ws.NewFrame(ws.OpContinuation, true, []byte{0xa9}),
		}, []string{"9:", "1:c3a9"}, 0},
		{"close", []ws.Frame{ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "bye"))}, []string{"8:03e8627965"}, 0},
		{"bad text", []ws.Frame{ws.NewTextFrame([]byte{0xc3})}, nil, codeNotUTF8},
		{"bad bytes", []ws.Frame{ws.NewBinaryFrame([]byte{0xc3})}, []string{"2:c3"}, 0},
		{"largest", []ws.Frame{ws.NewBinaryFrame(make([]byte, limit))}, []string{fmt.Sprintf("2:%x", make([]byte, limit))}, 0},
		{"too large", []ws.Frame{ws.NewBinaryFrame(make([]byte, limit+1))}, nil, codeTooBig},
		{"reserved bits", []ws.Frame{{Header: ws.Header{Fin: true, Rsv: 4, OpCode: ws.OpText}}}, nil, codeProtocol},
		{"reserved opcode", []ws.Frame{{Header: ws.Header{Fin: true, OpCode: 3}}}, nil, codeProtocol},
		{"ping in parts", []ws.Frame{{Header: ws.Header{OpCode: ws.OpPing}}}, nil, codeProtocol},
		{"long ping", []ws.Frame{ws.NewPingFrame(make([]byte, 126))}, nil, codeProtocol},
		{"text within text", []ws.Frame{ws.NewFrame(ws.OpText, false, nil), ws.NewTextFrame(nil)}, nil, codeProtocol},
	} {
		var all []byte
		for _, f := range row.frames {
			all = append(all, masked(f)...)
		}
		var single [][]byte
		for i := range all {
			single = append(single, all[i:i+1])
		}
		for cut, pieces := range map[string][][]byte{"whole": {all}, "by byte": single} {
			d := decoder{limit: limit}
			got, err := decode(&d, pieces...)
			var breach *protocolError
			if errors.As(err, &breach) != (row.code != 0) || breach != nil && breach.code != row.code || breach == nil && err != nil {
				t.Errorf("%s, %s: error %v, want code %d", row.name, cut, err, row.code)
			}
			if fmt.Sprint(got) != fmt.Sprint(row.want) {
				t.Errorf("%s, %s: got %.80s", row.name, cut, fmt.Sprint(got))
			}
			if row.code == 0 && (d.midway() || d.data != nil || d.control != nil) {
				t.Errorf("%s, %s: holds on to something: %+v", row.name, cut, d)
			}
		}
	}
	if _, err := decode(&decoder{limit: limit}, []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}); err == nil {
		t.Error("a length with its highest bit set is accepted")
	}
}

func TestCloseCode(t *testing.T) {
	for _, row := range []struct {
		payload string
		code    uint16
		reason  string
		bad     bool
	}{
		{"", codeNoneGiven, "", false},
		{"\x03\xe8", 1000, "", false},
		{"\x0f\xa0why", 4000, "why", false},
		{"\x03", 0, "", true},
		{"\x03\xed", 0, "", true},     // 1005 is never sent
		{"\x03\xe8\xff", 0, "", true}, // no text
		{"\x00\x01", 0, "", true},
	} {
		code, reason, err := closeCode([]byte(row.payload))
		if code != row.code || reason != row.reason || (err != nil) != row.bad {
			t.Errorf("%q: %d %q %v", row.payload, code, reason, err)
		}
	}
}

// FuzzDecoder compares with the frame reader of gobwas/ws, whatever the pieces.
func FuzzDecoder(f *testing.F) {
	f.Add(append(masked(ws.NewTextFrame([]byte("hello"))), masked(ws.NewPingFrame([]byte("p")))...), uint64(1))
	f.Add(append(masked(ws.NewFrame(ws.OpBinary, false, []byte("a"))), masked(ws.NewFrame(ws.OpContinuation, true, []byte("b")))...), uint64(2))
	f.Add(masked(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, ""))), uint64(3))
	f.Add([]byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1}, uint64(4))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		const limit = 300
		rng := rand.New(rand.NewPCG(seed, 0))
		var pieces [][]byte
		for rest := in; len(rest) > 0; {
			n := 1 + rng.IntN(len(rest))
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		got, err := decode(&decoder{limit: limit}, pieces...)
		want, breach := oracle(in, limit)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		var e *protocolError
		switch {
		case errors.As(err, &e) && breach == 0, err == nil && breach != 0, err != nil && e == nil:
			t.Errorf("error %v, want code %d", err, breach)
		case e != nil && e.code != breach:
			t.Errorf("code %d (%s), want %d", e.code, e.reason, breach)
		}
	})
}

// oracle decodes with gobwas/ws; code is that of the breach, 0 for none.
func oracle(in []byte, limit int) (got []string, code uint16) {
	r := bytes.NewReader(in)
	var data []byte
	var message ws.OpCode
	for {
		at := len(in) - r.Len()
		h, err := ws.ReadHeader(r)
		state := ws.StateServerSide
		if message != 0 {
			state |= ws.StateFragmented
		}
		if early := len(in) - at; err != nil && early >= 2 {
			// An incomplete header is judged by its first two bytes already.
			b := in[at:]
			h = ws.Header{Fin: b[0]&0x80 != 0, Rsv: b[0] >> 4 & 7, OpCode: ws.OpCode(b[0] & 15), Masked: b[1]&0x80 != 0, Length: int64(b[1] & 0x7f)}
			if ws.CheckHeader(h, state) != nil || errors.Is(err, ws.ErrHeaderLengthMSB) && len(b) >= headerSize(b[1]) {
				return got, codeProtocol
			}
			return got, 0
		}
		if err != nil {
			return got, 0
		}
		if ws.CheckHeader(h, state) != nil {
			return got, codeProtocol
		}
		if !h.OpCode.IsControl() && h.Length > int64(limit-len(data)) {
			return got, codeTooBig
		}
		payload := make([]byte, h.Length)
		n, _ := r.Read(payload)
		if n < int(h.Length) {
			return got, 0
		}
		ws.Cipher(payload, h.Mask, 0)
		if h.OpCode.IsControl() {
			got = append(got, fmt.Sprintf("%d:%x", h.OpCode, payload))
			continue
		}
		if h.OpCode != ws.OpContinuation {
			message = h.OpCode
		}
		data = append(data, payload...)
		if !h.Fin {
			continue
		}
		if message == ws.OpText && !utf8.Valid(data) {
			return got, codeNotUTF8
		}
		got = append(got, fmt.Sprintf("%d:%x", message, data))
		data, message = nil, 0
	}
}
