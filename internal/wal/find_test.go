package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"postroad/internal/message"
)

// sized returns a message whose group takes exactly size bytes.
func sized(t *testing.T, size int) message.Message {
	t.Helper()
	m := goldenGroups()[0].msgs[0]
	for n := max(0, size-200); n < size; n++ {
		m.Value = make([]byte, n)
		var f Frames
		f.Add(&m)
		f.Close()
		if f.Size() == int64(size) {
			return m
		}
	}
	t.Fatalf("no message makes a group of %d bytes", size)
	return m
}

// TestFindNextAtChunkBorders puts the next header at each place around the end
// of what FindNext reads at once: a header may lie across two chunks.
func TestFindNextAtChunkBorders(t *testing.T) {
	small := goldenGroups()[0].msgs
	for _, border := range []int{readAhead, 2*readAhead - GroupHeaderSize + groupAlign} {
		for shift := -GroupHeaderSize - groupAlign; shift <= groupAlign; shift += groupAlign {
			size := border + shift
			b, offsets := segment(t, goldenHeader, []group{
				{first: 1, msgs: []message.Message{sized(t, size)}}, {first: 2, msgs: small}, {first: 3, msgs: small},
			})
			b[offsets[0]+9] ^= 1 // the first group's header
			r, err := OpenReader(oneFile{b: &b}, "")
			if err != nil {
				t.Fatal(err)
			}
			var invalid *InvalidError
			if _, err := r.Next(); !errors.As(err, &invalid) || invalid.Known {
				t.Fatalf("damaged header: %v", err)
			}
			if blank, err := r.FindNext(2); err != nil || blank || r.Offset() != offsets[1] {
				t.Fatalf("group of %d bytes damaged: found at %d (%v, %v), the next is at %d", size, r.Offset(), blank, err, offsets[1])
			}
			if g, err := r.Next(); err != nil || g.First != 2 {
				t.Fatalf("after the search: %v, %v", g, err)
			}
		}
	}
}

// TestFindNextReachesIntoAGroup looks for a seq that a claim begins at in the
// middle of a group.
func TestFindNextReachesIntoAGroup(t *testing.T) {
	m := goldenGroups()[0].msgs[0]
	three := []message.Message{m, m, m}
	b, offsets := segment(t, goldenHeader, []group{{first: 1, msgs: three}, {first: 4, msgs: three}, {first: 7, msgs: three}})
	b[offsets[0]] ^= 1
	for seq, want := range map[uint64]int64{2: offsets[1], 4: offsets[1], 5: offsets[1], 6: offsets[1], 7: offsets[2], 9: offsets[2]} {
		r, err := OpenReader(oneFile{b: &b}, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.FindNext(seq); err != nil || r.Offset() != want {
			t.Errorf("seq %d: found at %d (%v), want %d", seq, r.Offset(), err, want)
		}
	}
}

func TestFindNextSaysWhetherTheRestIsBlank(t *testing.T) {
	whole, offsets := segment(t, goldenHeader, goldenGroups())
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		blank  bool
	}{
		"nothing follows":                {func(b []byte) []byte { return b[:offsets[2]+GroupHeaderSize] }, true},
		"zeros follow":                   {func(b []byte) []byte { return append(b[:offsets[2]+GroupHeaderSize], make([]byte, 3*readAhead)...) }, true},
		"a byte far behind":              {func(b []byte) []byte { return append(append(b, make([]byte, 3*readAhead)...), 1) }, false},
		"the first byte behind":          {func(b []byte) []byte { return append(b[:offsets[2]+GroupHeaderSize], 1) }, false},
		"ends inside the header":         {func(b []byte) []byte { return b[:offsets[2]+7] }, true},
		"frames of the damaged group":    {func(b []byte) []byte { return b }, false},
		"zeros, and the file ends early": {func(b []byte) []byte { return append(b[:offsets[2]+GroupHeaderSize], 0, 0, 0) }, true},
	} {
		b := append([]byte(nil), whole...)
		b[offsets[2]+8] ^= 0x10 // the last group
		b = c.change(b)
		r, err := OpenReader(oneFile{b: &b}, "")
		if err != nil {
			t.Fatal(err)
		}
		r.SeekTo(offsets[2])
		if blank, err := r.FindNext(1005); !errors.Is(err, io.EOF) || blank != c.blank || r.Offset() != offsets[2] {
			t.Errorf("%s: blank %v, %v, at %d", name, blank, err, r.Offset())
		}
	}
}

// TestPayloadCannotForgeAGroup damages a group whose payload is a whole segment
// as an attacker would make it: everything right but the salt, which no client
// sees.
func TestPayloadCannotForgeAGroup(t *testing.T) {
	forged := goldenHeader
	forged.Salt = [8]byte{}
	var payload []byte
	for _, seq := range []uint64{1, 2, 3, 100, 1 << 40} {
		b, offsets := segment(t, forged, []group{{first: seq, msgs: goldenGroups()[1].msgs}})
		for shift := range groupAlign { // whatever the alignment of the payload
			payload = append(payload, make([]byte, shift)...)
			payload = append(payload, b[offsets[0]:]...)
		}
	}
	attack := goldenGroups()[0].msgs[0]
	attack.Value = payload
	b, offsets := segment(t, goldenHeader, []group{
		{first: 1, msgs: []message.Message{attack}}, {first: 2, msgs: goldenGroups()[0].msgs},
	})
	if !bytes.Contains(b, groupMagic[:]) {
		t.Fatal("the payload holds no header")
	}
	b[offsets[0]+28] ^= 1 // the length, so that the search goes through the payload
	r, err := OpenReader(oneFile{b: &b}, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.FindNext(1); err != nil || r.Offset() != offsets[1] {
		t.Errorf("found a group at %d (%v), the only sound one is at %d", r.Offset(), err, offsets[1])
	}
}

// TestPayloadWithTheSaltWouldForgeAGroup is the sabotaged twin of the test
// above: it shows that the salt is what keeps payloads out.
func TestPayloadWithTheSaltWouldForgeAGroup(t *testing.T) {
	inner, at := segment(t, goldenHeader, []group{{first: 2, msgs: goldenGroups()[1].msgs}})
	for pad := range groupAlign {
		attack := goldenGroups()[0].msgs[0]
		attack.Value = append(make([]byte, pad), inner[at[0]:]...)
		b, offsets := segment(t, goldenHeader, []group{{first: 1, msgs: []message.Message{attack}}})
		b[offsets[0]+28] ^= 1
		r, err := OpenReader(oneFile{b: &b}, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.FindNext(1); err == nil {
			return
		}
	}
	t.Error("a payload with the right salt was not found at any alignment: the other test shows nothing")
}

func TestHeaderCopies(t *testing.T) {
	whole, _ := segment(t, goldenHeader, goldenGroups())
	first, second := func(b []byte) { b[20] ^= 1 }, func(b []byte) { b[headerCopy+20] ^= 1 }
	other := func(b []byte) { // a sound copy that says something else
		h := goldenHeader
		h.Number = 9
		copy(b[headerCopy:], h.encode()[:headerBytes])
	}
	future := func(b []byte) {
		for _, at := range []int{0, headerCopy} {
			c := b[at : at+headerBytes]
			binary.LittleEndian.PutUint16(c[12:], version+1)
			resum(c)
		}
	}
	for name, c := range map[string]struct {
		change  []func(b []byte)
		damaged bool
		err     error // nil: readable; errFuture: refused and not damaged
	}{
		"sound":                              {nil, false, nil},
		"first damaged":                      {[]func([]byte){first}, true, nil},
		"second damaged":                     {[]func([]byte){second}, true, nil},
		"both damaged":                       {[]func([]byte){first, second}, true, message.ErrDamaged},
		"second differs":                     {[]func([]byte){other}, true, nil},
		"between them":                       {[]func([]byte){func(b []byte) { b[headerBytes] = 1 }}, true, nil},
		"behind them":                        {[]func([]byte){func(b []byte) { b[HeaderSize-1] = 1 }}, true, nil},
		"page zeroed":                        {[]func([]byte){func(b []byte) { clear(b[:HeaderSize]) }}, false, ErrBlank},
		"future version":                     {[]func([]byte){future}, false, errFuture},
		"future version, first copy damaged": {[]func([]byte){future, first}, false, errFuture},
	} {
		t.Run(name, func(t *testing.T) {
			b := append([]byte(nil), whole...)
			for _, change := range c.change {
				change(b)
			}
			r, err := OpenReader(oneFile{b: &b}, "")
			switch {
			case c.err == nil && (err != nil || r.Header != goldenHeader || r.HeaderDamaged != c.damaged):
				t.Errorf("reader %+v, %v", r, err)
			case errors.Is(c.err, errFuture) && (err == nil || errors.Is(err, message.ErrDamaged) || errors.Is(err, ErrBlank)):
				t.Errorf("a version of the future gave %v: it must be refused, not set aside", err)
			case c.err != nil && !errors.Is(c.err, errFuture) && !errors.Is(err, c.err):
				t.Errorf("got %v, want %v", err, c.err)
			}
		})
	}
}

var errFuture = errors.New("refused")

func resum(header []byte) { binary.LittleEndian.PutUint32(header[8:], crc(header[12:headerBytes])) }

func TestTruncatedSegmentIsReadAsFarAsItGoes(t *testing.T) {
	whole, offsets := segment(t, goldenHeader, goldenGroups())
	for n := 0; n <= len(whole); n += 1 + n/HeaderSize*6 {
		b := whole[:n:n]
		r, err := OpenReader(oneFile{b: &b}, "")
		if n < headerBytes {
			if err == nil || n == 0 && !errors.Is(err, ErrBlank) {
				t.Fatalf("%d bytes: %v", n, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if err := readWhole(r, offsets, n); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

// readWhole reads the groups that lie within the first n bytes and wants no more.
func readWhole(r *Reader, offsets []int64, n int) error {
	for i := range offsets[1:] {
		g, err := r.Next()
		whole := offsets[i+1] <= int64(n)
		if whole != (err == nil) {
			return fmt.Errorf("group %d, whole %v: %w", i, whole, errors.Join(errors.New("read"), err))
		}
		if err != nil {
			return nil
		}
		if g.Offset != offsets[i] {
			return fmt.Errorf("group %d at %d", i, g.Offset)
		}
	}
	return nil
}
