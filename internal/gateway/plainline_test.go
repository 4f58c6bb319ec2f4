package gateway

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// lines that the plain reader takes, and lines that it must leave alone.
var (
	plainLines = []string{
		`{"value":"x"}`,
		`{"key":"k","value":"some text"}`,
		` { "id" : "i-1" ,	"value" : "" , "key":"a/b~" } ` + "\r",
		`{"value":"` + strings.Repeat("x", 1000) + `","key":"k"}`,
	}
	otherLines = []string{
		"", "{", "{}", `{"value":"x"`, `{"value":"x"}}`, `{"value":"x"} x`, `{"value":"x",}`, `{"value":"x" "key":"k"}`,
		`{"value" "x"}`, `{"value":}`, `{value:"x"}`, `{,"value":"x"}`, `["value","x"]`, `"value"`,
		`{"value":"x","value":"y"}`, `{"key":"a","value":"x","key":"b"}`, `{"id":"a","id":"b","value":"x"}`,
		`{"key":"k"}`, `{"key":"","value":"x"}`, `{"id":"","value":"x"}`, `{"id":"` + strings.Repeat("i", maxOwnIDLen+1) + `","value":"x"}`,
		`{"key":"` + strings.Repeat("k", maxMessageKeyLen+1) + `","value":"x"}`,
		`{"value":1}`, `{"value":null}`, `{"value":{"a":1}}`, `{"key":null,"value":"x"}`, `{"other":"x","value":"y"}`, `{"Value":"x"}`,
		`{"value":"a\nb"}`, `{"value":"a\u0041"}`, "{\"value\":\"a\tb\"}", "{\"value\":\"\x7f\"}", "{\"value\":\"\xff\"}", `{"value":"ä"}`,
		`{"value":"x","headers":{"a":"b"}}`, "{\"value\":\"x\"}\v",
	}
)

func TestPlainLineTakesWhatIsPlain(t *testing.T) {
	for _, src := range plainLines {
		if _, ok := plainLine([]byte(src)); !ok {
			t.Errorf("%q is left to the strict reader", src)
		}
	}
	for _, src := range otherLines {
		if l, ok := plainLine([]byte(src)); ok {
			t.Errorf("%q is taken: %+v", src, l)
		}
	}
}

// FuzzPlainLine: what the plain reader takes, the strict one reads the same.
func FuzzPlainLine(f *testing.F) {
	for _, src := range append(plainLines, otherLines...) {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		plain, ok := plainLine(src)
		if !ok {
			return
		}
		strict, err := new(jsonReader).line(src)
		if err != nil {
			t.Fatalf("taken, but the strict reader says %v", err)
		}
		same := func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
		if !same(plain.key, strict.key) || !same(plain.id, strict.id) || !same(plain.value, strict.value) || strict.headers != nil {
			t.Fatalf("read as\n%+v, want\n%+v", plain, strict)
		}
	})
}

// TestPlainWord: a word is plain iff each of its bytes is, wherever the bad one
// stands and whatever is beside it.
func TestPlainWord(t *testing.T) {
	for c := range 256 {
		for at := range 8 {
			for _, beside := range []byte{' ', '!', '#', '[', ']', 'x', '~'} {
				word := bytes.Repeat([]byte{beside}, 8)
				word[at] = byte(c)
				if got, want := plainWord(binary.LittleEndian.Uint64(word)), plainByte(byte(c)); got != want && (got || beside != ' ') {
					t.Fatalf("%q: %v, want %v", word, got, want)
				}
			}
		}
	}
}
