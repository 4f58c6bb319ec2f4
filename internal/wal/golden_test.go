package wal

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"postroad/internal/durable"
	"postroad/internal/message"
)

// update rewrites the golden files. They are kept for ever: a format that
// changes gets a new version and a new file beside the old one.
var update = flag.Bool("update", false, "rewrite the golden files")

// oneFile is a file system of one file in memory, whatever its name.
type oneFile struct {
	durable.FS
	b *[]byte
}

func newOneFile() oneFile { return oneFile{b: new([]byte)} }

func (f oneFile) Create(string) (durable.File, error) { return openFile{b: f.b}, nil }
func (f oneFile) Open(string) (durable.File, error)   { return openFile{b: f.b}, nil }
func (f oneFile) SyncDir(string) error                { return nil }

type openFile struct{ b *[]byte }

func (f openFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(*f.b)) {
		return 0, io.EOF
	}
	n := copy(p, (*f.b)[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f openFile) WriteAt(p []byte, off int64) (int, error) {
	if grow := off + int64(len(p)) - int64(len(*f.b)); grow > 0 {
		*f.b = append(*f.b, make([]byte, grow)...)
	}
	return copy((*f.b)[off:], p), nil
}

func (openFile) Close() error           { return nil }
func (openFile) Datasync() error        { return nil }
func (f openFile) Size() (int64, error) { return int64(len(*f.b)), nil }

// group is what a test writes as one group.
type group struct {
	first, durable uint64
	written        time.Time
	msgs           []message.Message
}

func (g group) last() uint64 { return g.first + uint64(len(g.msgs)) - 1 }

// segment writes a segment through Segment, with a header of the test's own,
// and returns its bytes and where each group begins.
func segment(t testing.TB, h Header, groups []group) (b []byte, offsets []int64) {
	t.Helper()
	fsys := newOneFile()
	f, err := fsys.Create("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(h.encode(), 0); err != nil {
		t.Fatal(err)
	}
	s := &Segment{Header: h, file: f, size: 1 << 20, end: HeaderSize}
	for _, g := range groups {
		var frames Frames
		for i := range g.msgs {
			frames.Add(&g.msgs[i])
		}
		frames.Close()
		offsets = append(offsets, s.Add(&frames, g.first, g.durable, g.written))
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	return *fsys.b, append(offsets, s.End())
}

// goldenHeader and goldenGroups are what testdata/golden/segment.v1.golden holds.
var goldenHeader = Header{
	Lane:    [16]byte{0x01, 0x95, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0x07, 0x18, 0x29, 0x3a, 0x4b, 0x5c, 0x6d, 0x7e},
	Number:  3,
	First:   1001,
	Created: time.Date(2026, 2, 3, 4, 5, 6, 789_012_000, time.UTC),
	Salt:    [8]byte{0xde, 0xad, 0xbe, 0xef, 0x00, 0x11, 0x22, 0x33},
}

func goldenGroups() []group {
	at := time.Date(2026, 2, 3, 4, 5, 7, 1000, time.UTC)
	least := message.Message{
		ID: message.ID{0: 1, 15: 2}, Topic: "m", Value: []byte{}, Time: at,
	}
	full := message.Message{
		ID:    message.DeriveID("press", "orders.v1", "key-1", message.Hash{9}, 0),
		Topic: "orders.v1",
		Key:   []byte("grüße/%"),
		Value: []byte("{\"n\":1}\x00\xff"),
		Headers: []message.Header{
			{Name: "content-type", Value: []byte("application/json")},
			{Name: "twice", Value: []byte("a")},
			{Name: "twice", Value: []byte{}},
			{Name: "", Value: []byte("nameless")},
		},
		Time:      at.Add(time.Second),
		Principal: "press",
		KeyHash:   message.Hash{1, 2, 3},
		Digest:    message.Hash{4, 5, 6},
		Repeat:    true,
		Origin: &message.Origin{
			Stamp: "cloud", Place: message.Place{Lane: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Seq: 1 << 40}, Time: at.Add(-time.Hour),
		},
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	emptyKey := least
	emptyKey.Key = []byte{}
	long := least
	long.Value = bytes.Repeat([]byte("postroad "), 40) // a length of two varint bytes
	return []group{
		{1001, 1000, at, []message.Message{least}},
		{1002, 1001, at.Add(time.Millisecond), []message.Message{full, emptyKey, long}},
		{1005, 1001, at.Add(time.Millisecond), []message.Message{long}},
	}
}

func TestGoldenSegment(t *testing.T) {
	golden := filepath.Join("testdata", "golden", "segment.v1.golden")
	written, _ := segment(t, goldenHeader, goldenGroups())
	if *update {
		if err := os.WriteFile(golden, written, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(written, b) {
		t.Errorf("what is written now differs from %s: %d and %d bytes, first at %d", golden, len(written), len(b), differ(written, b))
	}
	r, err := OpenReader(oneFile{b: &b}, golden)
	if err != nil {
		t.Fatal(err)
	}
	if r.Header != goldenHeader || r.HeaderDamaged {
		t.Errorf("header %+v (damaged: %v), want %+v", r.Header, r.HeaderDamaged, goldenHeader)
	}
	for _, want := range goldenGroups() {
		g, err := r.Next()
		if err != nil {
			t.Fatalf("group %d: %v", want.first, err)
		}
		sameGroup(t, g, want)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last group: %v", err)
	}
}

func sameGroup(t testing.TB, g Group, want group) {
	t.Helper()
	msgs, err := g.Messages()
	if err != nil {
		t.Fatalf("group %d: %v", g.First, err)
	}
	got := group{g.First, g.Durable, g.Written, msgs}
	if !reflect.DeepEqual(got, want) || g.Count != len(want.msgs) || g.Last() != want.last() {
		t.Errorf("group %+v, want %+v", got, want)
	}
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
