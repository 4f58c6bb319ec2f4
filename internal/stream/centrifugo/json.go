package centrifugo

import (
	"encoding/binary"
	"unicode/utf8"
)

// maxDepth is how deep JSON may be nested to be handed to JSON clients as JSON:
// one message of more would end a client whose parser recurses to a limit, and
// anyone who may publish could do that to all who read.
const maxDepth = 256

// isJSON says whether b is one JSON value in UTF-8, nested no deeper than maxDepth,
// and whether line ends stand between its tokens. It looks at each byte once: every
// message is looked at for each subject that it is sent to in JSON, and where a
// subject has one subscriber that is most of what encoding costs.
func isJSON(b []byte) (ok, lines bool) {
	s := scan{b: b}
	for s.value() {
		if more := s.after(); !more {
			return s.done, s.lines
		}
	}
	return false, s.lines
}

// scan walks over JSON.
type scan struct {
	b     []byte
	at    int
	depth int
	// objects has a bit for each open bracket: set where it is a brace.
	objects [maxDepth / 64]uint64
	lines   bool
	done    bool // the value is complete, and nothing follows it
}

// next skips white space and returns the byte behind it, or 0 at the end.
func (s *scan) next() byte {
	for ; s.at < len(s.b); s.at++ {
		switch c := s.b[s.at]; c {
		case ' ', '\t', '\r':
		case '\n':
			s.lines = true
		default:
			return c
		}
	}
	return 0
}

// value walks over a value, into the first one within where it has any.
func (s *scan) value() bool {
	for {
		switch c := s.next(); c {
		case '"':
			return s.text()
		case '{', '[':
			if !s.open(c == '{') {
				return false
			}
			if end := s.next(); end == c+2 { // '}' and ']' stand two behind what they close
				s.at++
				s.depth--
				return true
			}
			if c == '{' && !s.name() {
				return false
			}
		case 't':
			return s.word("true")
		case 'f':
			return s.word("false")
		case 'n':
			return s.word("null")
		default:
			return s.number()
		}
	}
}

func (s *scan) open(object bool) bool {
	if s.depth == maxDepth {
		return false
	}
	bit := uint64(1) << (s.depth % 64)
	if object {
		s.objects[s.depth/64] |= bit
	} else {
		s.objects[s.depth/64] &^= bit
	}
	s.depth++
	s.at++
	return true
}

// name walks over a name and its colon.
func (s *scan) name() bool {
	if s.next() != '"' || !s.text() || s.next() != ':' {
		return false
	}
	s.at++
	return true
}

// after walks over what ends a value; it returns true where another one follows.
func (s *scan) after() (more bool) {
	for s.depth > 0 {
		top := s.depth - 1
		object := s.objects[top/64]>>(top%64)&1 == 1
		switch c := s.next(); {
		case c == ',':
			s.at++
			return !object || s.name()
		case c == '}' && object, c == ']' && !object:
			s.at++
			s.depth--
		default:
			return false
		}
	}
	s.done = s.next() == 0 && s.at == len(s.b)
	return false
}

func (s *scan) word(w string) bool {
	if len(s.b)-s.at < len(w) || string(s.b[s.at:s.at+len(w)]) != w {
		return false
	}
	s.at += len(w)
	return true
}

// text walks over a string. It takes eight bytes at once where none of them is a
// quote, a backslash, a control character or not ASCII.
func (s *scan) text() bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	b, i := s.b, s.at+1
	for i < len(b) {
		for i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			quote, slash := x^ones*'"', x^ones*'\\'
			if (x|(x-ones*' ')|(quote-ones)&^quote|(slash-ones)&^slash)&highs != 0 {
				break
			}
			i += 8
		}
		if i == len(b) {
			break
		}
		switch c := b[i]; {
		case c == '"':
			s.at = i + 1
			return true
		case c == '\\':
			n := escape(b[i+1:])
			if n == 0 {
				return false
			}
			i += 1 + n
		case c < ' ':
			return false
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				return false
			}
			i += n
		}
	}
	return false
}

// escape is how many bytes stand behind a backslash; 0 where they are not valid.
func escape(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch b[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 1
	case 'u':
		if len(b) < 5 {
			return 0
		}
		for _, c := range b[1:5] {
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return 0
			}
		}
		return 5
	}
	return 0
}

func (s *scan) number() bool {
	b := s.b[s.at:]
	i := 0
	if len(b) > 0 && b[0] == '-' {
		i = 1
	}
	n := digits(b[i:])
	if n > 1 && b[i] == '0' {
		n = 1 // what follows is no part of it
	}
	if n == 0 {
		return false
	}
	i += n
	if i < len(b) && b[i] == '.' {
		n = digits(b[i+1:])
		if n == 0 {
			return false
		}
		i += 1 + n
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if n = digits(b[i:]); n == 0 {
			return false
		}
		i += n
	}
	s.at += i
	return true
}

// digits is how many digits b begins with.
func digits(b []byte) int {
	for i, c := range b {
		if c-'0' > 9 {
			return i
		}
	}
	return len(b)
}
