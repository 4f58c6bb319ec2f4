package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 12345678: "12,345,678", -1234: "-1,234"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.00 kB", 12_345: "12.3 kB", 999_499: "999 kB", 999_500: "1.00 MB",
		52_100_000_000: "52.1 GB", 1 << 62: "4.61 EB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 0: "0.0 s", 1500 * time.Millisecond: "1.5 s", 59 * time.Second: "59 s",
		252 * time.Second: "4 min 12 s", 26 * time.Hour: "1 d 2 h", 90 * time.Minute: "1 h 30 min",
	} {
		if got := age(d); got != want {
			t.Errorf("age(%s) = %s, want %s", d, got, want)
		}
	}
	for f, want := range map[float64]string{0: "0/s", 0.34: "0.3/s", 9.96: "10.0/s", 1204.5: "1,205/s"} {
		if got := rate(f); got != want {
			t.Errorf("rate(%v) = %s, want %s", f, got, want)
		}
	}
	if messages(1) != "1 message" || messages(0) != "0 messages" {
		t.Error("one and many are not told apart")
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                "plain",
		"zwölf 東京 🙂":           "zwölf 東京 🙂",
		"a\nb\tc\r":            `a\nb\tc\r`,
		"\x1b[2J\x07\x00":      `\x1b[2J\x07\x00`,
		"\xff\xfe":             `\xff\xfe`,
		"\u009b31m":            `\u009b31m`, // the one-character CSI
		"a\u202eb":             `a\u202eb`,  // right-to-left override
		"a\u200bb\u00a0\ufeff": `a\u200bb\u00a0\ufeff`,
	} {
		if got := printable([]byte(in)); got != want {
			t.Errorf("printable(%q) = %s, want %s", in, got, want)
		}
	}
}

// Whatever a message holds, what is shown of it is one line of visible
// characters that cannot steer the terminal.
func FuzzPrintable(f *testing.F) {
	f.Add([]byte("\x1b]0;title\x07 \u009b \xe2\x80"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := printable(b)
		if !utf8.ValidString(s) {
			t.Fatalf("not UTF-8: %q", s)
		}
		for _, r := range s {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
				t.Fatalf("%q holds %U", s, r)
			}
		}
		if w := runewidth.StringWidth(shorten(s, 10)); w > 10 {
			t.Fatalf("shortened to %d columns", w)
		}
	})
}

func TestNoColourAwayFromATerminal(t *testing.T) {
	if got := terminalOf(&bytes.Buffer{}); got != (terminal{}) {
		t.Errorf("a buffer is a terminal: %+v", got)
	}
	if got := (terminal{is: true}).paint(red, "x"); got != "x" {
		t.Errorf("painted %q", got)
	}
	if got := (terminal{colour: true}).paint(red, "x"); !strings.HasPrefix(got, "\x1b[1;31mx") {
		t.Errorf("not painted: %q", got)
	}
}
