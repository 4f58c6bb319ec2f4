package gateway

import (
	"bytes"
	"encoding/binary"
)

// plainLine reads a line of NDJSON in the form that nearly all have: an object
// of key, value and id, each at most once, that are strings of printable ASCII
// without escapes, with white space nowhere or where people put it. It is false
// for any other line, good or bad, which the strict reader must look at then;
// what it returns is what the strict reader would.
//
// A second reader of the same thing has to pay: this one takes a quarter of the
// time, and FuzzPlainLine holds it against the strict one.
func plainLine(src []byte) (l line, ok bool) {
	rest, ok := after(src, '{')
	for ok {
		var name, value []byte
		if name, rest, ok = plainString(rest); !ok {
			break
		}
		if rest, ok = after(rest, ':'); !ok {
			break
		}
		if value, rest, ok = plainString(rest); !ok || !l.take(name, value) {
			return line{}, false
		}
		if end, last := after(rest, '}'); last {
			return l, l.value != nil && len(bytes.TrimLeft(end, " \t\r\n")) == 0
		}
		rest, ok = after(rest, ',')
	}
	return line{}, false
}

// take sets a member to a quoted string; false where the strict reader has to
// judge.
func (l *line) take(name, quoted []byte) bool {
	text := quoted[1 : len(quoted)-1 : len(quoted)-1]
	switch string(name) {
	case `"value"`:
		if l.value != nil {
			return false
		}
		l.value = quoted
		return true
	case `"key"`:
		if l.key != nil || checkMessageKey("key", text) != nil {
			return false
		}
		l.key = text
		return true
	case `"id"`:
		if l.id != nil || len(text) == 0 || len(text) > maxOwnIDLen {
			return false
		}
		l.id = text
		return true
	}
	return false
}

// after passes over white space and then c.
func after(b []byte, c byte) (rest []byte, ok bool) {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	if len(b) == 0 || b[0] != c {
		return nil, false
	}
	return b[1:], true
}

// plainString passes over white space and then a string, which it returns with
// its quotes, if it is printable ASCII without escapes.
func plainString(b []byte) (quoted, rest []byte, ok bool) {
	inside, ok := after(b, '"')
	if !ok {
		return nil, nil, false
	}
	i := 0
	for i+8 <= len(inside) && plainWord(binary.LittleEndian.Uint64(inside[i:])) {
		i += 8
	}
	for ; i < len(inside); i++ {
		switch c := inside[i]; {
		case c == '"':
			at := len(b) - len(inside) - 1
			end := at + i + 2
			return b[at:end:end], b[end:], true
		case !plainByte(c):
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// plainByte tells printable ASCII that needs no escape.
func plainByte(c byte) bool { return c >= ' ' && c <= '~' && c != '"' && c != '\\' }

// plainWord tells eight bytes that are all plain, by the usual tricks: with
// bytes below 0x80, x-n borrows into the top bit of each byte below n, and a
// byte that equals c is zero in x^c. A borrow may make the byte above look bad,
// never a bad one good.
func plainWord(x uint64) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote, slash, del := x^ones*'"', x^ones*'\\', x^ones*0x7f
	return (x|(x-ones*' ')|((quote-ones)&^quote)|((slash-ones)&^slash)|((del-ones)&^del))&tops == 0
}
