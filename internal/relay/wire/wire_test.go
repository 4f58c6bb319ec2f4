package wire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"postroad/internal/message"
)

const laneA, laneB = "01JD6Z0000000000000000AAAA", "01JD6Z0000000000000000BBBB"

func stored(lane string, seq uint64) *message.Stored {
	return &message.Stored{
		Place: message.Place{Lane: lane, Seq: seq},
		Message: message.Message{
			ID: message.DeriveID("p", "t", "k", message.Hash{1}, int(seq)), Topic: "orders", Key: []byte("k"), Value: []byte("value"),
			Headers: []message.Header{{Name: "content-type", Value: []byte("text/plain")}},
			Time:    time.UnixMicro(1_700_000_000_000_000).UTC(), Principal: "p", KeyHash: message.Hash{9}, Digest: message.Hash{8},
			TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		},
	}
}

func readAll(t *testing.T, in io.Reader) []Relayed {
	t.Helper()
	r := NewReader(in, 1<<20, 1<<22)
	var all []Relayed
	for {
		m, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
}

// What one stamp sends another one reads, in whatever pieces it comes, and can
// send on: the path grows, and the origin stays.
func TestOverTwoStamps(t *testing.T) {
	first := Leaving("site", stored(laneA, 7))
	got := readAll(t, iotest.OneByteReader(bytes.NewReader(Append(Append(Begin(nil), &first), &first))))
	if len(got) != 2 || !reflect.DeepEqual(got[0], first) || !reflect.DeepEqual(got[1], first) {
		t.Fatalf("read %+v, sent %+v", got, first)
	}
	if !got[0].KeyHash.IsZero() || got[0].Origin.Stamp != "site" || got[0].Origin.Place != (message.Place{Lane: laneA, Seq: 7}) {
		t.Fatalf("%+v", got[0])
	}
	kept := Kept(&got[0])
	path, at, ok := Came(&kept)
	if !ok || !slices.Equal(path, []string{"site"}) || at != got[0].Place || len(kept.Headers) != 1 {
		t.Fatalf("came %v from %v, %v; headers %v", at, path, ok, kept.Headers)
	}
	second := Leaving("mid", &message.Stored{Place: message.Place{Lane: laneB, Seq: 3}, Message: kept})
	got = readAll(t, bytes.NewReader(Append(Begin(nil), &second)))
	kept = Kept(&got[0])
	path, at, ok = Came(&kept)
	if !ok || !slices.Equal(path, []string{"site", "mid"}) || at != (message.Place{Lane: laneB, Seq: 3}) {
		t.Fatalf("came %v from %v, %v", at, path, ok)
	}
	if kept.Origin.Stamp != "site" || kept.Origin.Place.Lane != laneA || len(kept.Headers) != 2 || kept.Headers[1].Name != pathHeader {
		t.Fatalf("kept %+v", kept)
	}
	third := Leaving("far", &message.Stored{Place: message.Place{Lane: laneA, Seq: 1}, Message: kept})
	if !slices.Equal(third.Path, []string{"site", "mid", "far"}) || len(third.Headers) != 1 {
		t.Fatalf("third %+v", third)
	}
}

func TestNotRelayed(t *testing.T) {
	if _, _, ok := Came(&stored(laneA, 1).Message); ok {
		t.Error("a message of this stamp's own was relayed")
	}
}

// No change of one byte, and no cut, leads to anything but an error or to a
// message that passes the checks.
func TestBroken(t *testing.T) {
	m := Leaving("site", stored(laneA, 7))
	whole := Append(Begin(nil), &m)
	for n := range whole {
		if _, err := NewReader(bytes.NewReader(whole[:n]), 1<<20, 1<<20).Next(); n != len(magic) && !errors.Is(err, ErrBroken) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	for name, change := range map[string]func(*Relayed){
		"no lane":          func(r *Relayed) { r.Place.Lane = "x" },
		"no seq":           func(r *Relayed) { r.Place.Seq = 0; r.Origin.Place.Seq = 0 },
		"no path":          func(r *Relayed) { r.Path = nil },
		"a path of signs":  func(r *Relayed) { r.Path = []string{"Site!"} },
		"a long path":      func(r *Relayed) { r.Path = slices.Repeat([]string{"site"}, MaxHops+1) },
		"no origin":        func(r *Relayed) { r.Origin = nil },
		"another origin":   func(r *Relayed) { r.Origin.Stamp = "other" },
		"no place there":   func(r *Relayed) { r.Origin.Place.Lane = "x" },
		"two places there": func(r *Relayed) { r.Origin.Place.Seq++ },
		"no time there":    func(r *Relayed) { r.Origin.Time = time.Time{} },
		"moved":            func(r *Relayed) { r.Moved = &message.Place{Lane: laneB, Seq: 1} },
		"no id":            func(r *Relayed) { r.ID = message.ID{} },
	} {
		bad := Leaving("site", stored(laneA, 7))
		change(&bad)
		if _, err := NewReader(bytes.NewReader(Append(Begin(nil), &bad)), 1<<20, 1<<20).Next(); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewReader(strings.NewReader("PRR9"), 1<<20, 1<<20).Next(); !errors.Is(err, ErrBroken) {
		t.Errorf("another version: %v", err)
	}
	if _, err := NewReader(bytes.NewReader(whole), 1, 1<<20).Next(); err != nil && !errors.Is(err, ErrTooLarge) {
		t.Errorf("frame over the limit: %v", err)
	}
	if _, err := NewReader(bytes.NewReader(whole), 1<<20, 10).Next(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("batch over the limit: %v", err)
	}
	if _, err := NewReader(io.MultiReader(bytes.NewReader(whole[:20]), iotest.ErrReader(io.ErrClosedPipe)), 1<<20, 1<<20).Next(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("an error of the source: %v", err)
	}
}

// The bytes of version 1 are kept for ever.
func TestGolden(t *testing.T) {
	m := Leaving("site", stored(laneA, 7))
	got := Append(Begin(nil), &m)
	file := filepath.Join("testdata", "batch-1.bin")
	if os.Getenv("POSTROAD_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("written are %x, version 1 is %x", got, want)
	}
	if all := readAll(t, bytes.NewReader(want)); !reflect.DeepEqual(all, []Relayed{m}) {
		t.Errorf("read %+v", all)
	}
}

func FuzzReader(f *testing.F) {
	one, two := Leaving("site", stored(laneA, 7)), Leaving("mid", stored(laneB, 1<<40))
	f.Add(Append(Append(Begin(nil), &one), &two))
	f.Add(Begin(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b), 1<<16, 1<<18)
		for range 1 << 16 {
			m, err := r.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, ErrBroken) && !errors.Is(err, ErrTooLarge) {
					t.Fatalf("an error of no class: %v", err)
				}
				return
			}
			kept := Kept(&m)
			if path, at, ok := Came(&kept); !ok || at != m.Place || !slices.Equal(path, m.Path) {
				t.Fatalf("%v of %v, sent was %v of %v", at, path, m.Place, m.Path)
			}
			again := readAll(t, bytes.NewReader(Append(Begin(nil), &m)))
			if len(again) != 1 || again[0].Place != m.Place || !slices.Equal(again[0].Path, m.Path) {
				t.Fatalf("%+v is read as %+v", m, again)
			}
		}
	})
}
