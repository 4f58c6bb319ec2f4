package main

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"

	"postroad/internal/kafka"
)

func TestRecordLines(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	v := recordView{terminal: terminal{is: true, width: 60}}
	for _, tc := range []struct {
		record kafka.Record
		want   string
	}{
		{
			kafka.Record{Accepted: now.Add(-time.Hour), Stamp: "onprem", Key: []byte("k"), Value: []byte("short")},
			"11:00:00.000  onprem  k  short",
		},
		{ // columns grow and stay; the value is cut to the terminal
			kafka.Record{Accepted: now, Stamp: "cloud", Key: []byte("longer"), Value: []byte(strings.Repeat("東京", 100))},
			"12:00:00.000  cloud   longer  東京東京東京東京東京東京東京…",
		},
		{ // not by way of a stamp, from another day, without key and value
			kafka.Record{Timestamp: now.Add(-24 * time.Hour)},
			"2026-01-01 12:00:00.000  -       -       (no value: a delet…",
		},
		{ // an empty key is not the same as none
			kafka.Record{Accepted: now, Stamp: "s", Key: []byte{}, Value: []byte("\x1b]0;x\x07")},
			`12:00:00.000  s               \x1b]0;x\x07`,
		},
	} {
		if got := v.line(&tc.record, now); got != tc.want {
			t.Errorf("got  %q\nwant %q", got, tc.want)
		}
	}
	long := kafka.Record{Accepted: now, Stamp: strings.Repeat("s", 50), Key: []byte(strings.Repeat("k", 50)), Value: []byte(strings.Repeat("v", 500))}
	wide := recordView{terminal: terminal{is: true, width: 120}}
	if got := runewidth.StringWidth(wide.line(&long, now)); got != 120 {
		t.Errorf("%d columns, want 120", got)
	}
	plain := recordView{}
	if got := plain.line(&long, now); !strings.HasSuffix(got, strings.Repeat("v", 500)) {
		t.Error("a value is cut away from a terminal")
	}
}

func TestCutUTF8(t *testing.T) {
	s := []byte("a東京")
	for most := range len(s) + 2 {
		if n := cutUTF8(s, most); n > most || !utf8.Valid(s[:n]) {
			t.Errorf("cut at %d of at most %d", n, most)
		}
	}
}

func TestTailFrom(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for where, want := range map[string]kafka.From{
		"": kafka.FromEnd(), "end": kafka.FromEnd(), "beginning": kafka.FromBeginning(),
		"15m": kafka.FromTime(now.Add(-15 * time.Minute)), "0s": kafka.FromTime(now),
		"2026-01-01T00:00:00Z":      kafka.FromTime(now.Add(-36 * time.Hour)),
		"2026-01-01T02:00:00+02:00": kafka.FromTime(now.Add(-36 * time.Hour)),
		"2026-01-02":                kafka.FromTime(now.Add(-12 * time.Hour)),
		"2026-01-02T11:00":          kafka.FromTime(now.Add(-time.Hour)),
	} {
		c := tailCommand{From: where}
		got, err := c.from(now)
		if err != nil || !sameFrom(got, want) {
			t.Errorf("--from %s: %+v, %v; want %+v", where, got, err, want)
		}
	}
	for _, where := range []string{"-15m", "yesterday", "2026-13-01", "15"} {
		c := tailCommand{From: where}
		if _, err := c.from(now); exitCode(err) != exitUsage {
			t.Errorf("--from %s: %v", where, err)
		}
	}
	c := tailCommand{UntilEnd: true}
	if got, err := c.from(now); err != nil || !sameFrom(got, kafka.FromBeginning()) {
		t.Errorf("--until-end begins at %+v, %v", got, err)
	}
}

func sameFrom(a, b kafka.From) bool { return reflect.DeepEqual(a, b) }

// Lines are written in order, the last at once at the end, and an output that
// is gone ends the work.
func TestLineWriter(t *testing.T) {
	var out bytes.Buffer
	l := newLineWriter(&out)
	for _, line := range []string{"a", "b"} {
		if err := l.writeLine([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.close(); err != nil || out.String() != "a\nb\n" {
		t.Errorf("wrote %q, %v", out.String(), err)
	}
	gone := newLineWriter(failingWriter{})
	if err := gone.writeLine([]byte("a")); err != nil {
		t.Fatal(err)
	}
	if err := gone.close(); err == nil {
		t.Error("an output that is gone goes unnoticed at the end")
	}
	if err := gone.writeLine(bytes.Repeat([]byte("x"), 1<<20)); err == nil {
		t.Error("an output that is gone goes unnoticed")
	}
}

// What is in the buffer shows by itself, without a further line.
func TestLineWriterShowsAQuietTopic(t *testing.T) {
	shown := make(chanWriter, 1)
	l := newLineWriter(shown)
	if err := l.writeLine([]byte("only one")); err != nil {
		t.Fatal(err)
	}
	if got := <-shown; got != "only one\n" {
		t.Errorf("shown %q", got)
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
}

type chanWriter chan string

func (c chanWriter) Write(b []byte) (int, error) {
	c <- string(b)
	return len(b), nil
}

func TestContentTypes(t *testing.T) {
	for value, want := range map[string]string{
		`{"a":1}`: "application/json", "[1]": "application/json", `{broken`: "text/plain; charset=utf-8",
		"12": "text/plain; charset=utf-8", "": "text/plain; charset=utf-8", "\xff": "application/octet-stream",
	} {
		if got := contentTypeOf([]byte(value)); got != want {
			t.Errorf("%q is %s, want %s", value, got, want)
		}
	}
}

func TestMayBeStored(t *testing.T) {
	c := newClient()
	p := &poster{client: c, base: "http://127.0.0.1:1"}
	if _, err := p.attempt(t.Context(), time.Second, request{path: "/", key: "k"}, 1); err == nil || mayBeStored(err) {
		t.Errorf("nobody took the connection: %v", err)
	}
	for status, want := range map[int]bool{503: false, 429: false, 507: false, 400: false, 504: true, 502: true, 409: true} {
		if mayBeStored(&refusedError{status: status}) != want {
			t.Errorf("%d: may be stored is not %v", status, want)
		}
	}
	if !mayBeStored(errors.New("unexpected EOF")) {
		t.Error("a connection that broke: may be stored")
	}
}
