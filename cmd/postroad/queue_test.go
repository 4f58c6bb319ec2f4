package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"postroad/internal/message"
)

// copyQueue is the script command "queuedir DIR": DIR becomes a queue directory
// with one of everything, written by processes of other machines:
//
//	LANE1  sealed, five messages, all settled; the third is dead, the fourth held
//	LANE2  live, three messages, of which one is forwarded
//	SIDE   the side lane of topic alarms, one message
//	DEAD   four dead letters, of which two are marked
func copyQueue(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: queuedir DIR")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.CopyFS(dir, os.DirFS("../../internal/queue/testdata/mixed")))
	entries, err := os.ReadDir(filepath.Join(dir, "lanes"))
	ts.Check(err)
	for i, name := range []string{"LANE1", "LANE2", "SIDE", "DEAD"} {
		ts.Setenv(name, entries[i].Name())
	}
}

// flipByte is the script command "flip FILE OFFSET": it changes a byte.
func flipByte(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	b := []byte(ts.ReadFile(args[0]))
	b[at] ^= 0x40
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
}

// failingStore fails its nth Append, which has stored or not.
type failingStore struct {
	fail   int
	stores bool
	calls  int
	got    []message.Message
}

var errStore = errors.New("the disk is gone")

func (s *failingStore) Append(_ context.Context, msgs []message.Message) (message.Place, error) {
	s.calls++
	if s.calls != s.fail || s.stores {
		s.got = append(s.got, msgs...)
	}
	if s.calls == s.fail {
		return message.Place{}, errStore
	}
	return message.Place{Lane: "00000000000000000000000000", Seq: 1}, nil
}

// A file goes only once its message is stored; whatever happens in between, it is
// imported again under the same dedupe id, and nothing is left out.
func TestImportInterrupted(t *testing.T) {
	for _, stores := range []bool{false, true} {
		src := t.TempDir()
		const files = importMessages + 20 // two appends
		for i := range files {
			name := filepath.Join(src, strconv.Itoa(i)+".json")
			if err := os.WriteFile(name, []byte("sender\nvalue "+strconv.Itoa(i)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		c := queueImport{Src: src, Topic: "messages", Value: "json", Principal: "anonymous"}
		first, second := &failingStore{fail: 2, stores: stores}, &failingStore{}
		for i, store := range []*failingStore{first, second} {
			im, err := c.importer(store)
			if err != nil {
				t.Fatal(err)
			}
			if err := im.run(t.Context()); i == 0 && !errors.Is(err, errStore) || i == 1 && err != nil {
				t.Fatalf("import %d: %v", i+1, err)
			}
		}
		ids := map[message.ID]int{}
		for _, m := range slices.Concat(first.got, second.got) {
			ids[m.ID]++
			if !m.Repeat || m.Digest.IsZero() || !m.KeyHash.IsZero() {
				t.Fatalf("imported as %+v", m)
			}
		}
		if len(ids) != files {
			t.Errorf("%d ids of %d files", len(ids), files)
		}
		if twice := len(first.got) + len(second.got) - files; stores != (twice > 0) {
			t.Errorf("stored %v: %d messages twice", stores, twice)
		}
		left, err := filepath.Glob(filepath.Join(src, "*.json"))
		if err != nil || len(left) > 0 {
			t.Errorf("%d files left, %v", len(left), err)
		}
	}
}

// What is changed while it is imported stays where it is.
func TestImportLeavesWhatIsWritten(t *testing.T) {
	src := t.TempDir()
	name := filepath.Join(src, "a.json")
	if err := os.WriteFile(name, []byte("sender\nvalue"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := queueImport{Src: src, Topic: "messages", Value: "lines", Principal: "anonymous", Remove: true}
	store := &writingStore{write: func() error { return os.WriteFile(name, []byte("sender\nanother value"), 0o644) }}
	im, err := c.importer(store)
	if err != nil {
		t.Fatal(err)
	}
	if err := im.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := string(store.got[0].Value); got != "sender\nvalue" {
		t.Errorf("stored %q", got)
	}
	if b, err := os.ReadFile(name); err != nil || string(b) != "sender\nanother value" {
		t.Errorf("left %q, %v", b, err)
	}
	if len(im.done.Bad) != 1 || !strings.Contains(im.done.Bad[0].Reason, "changed meanwhile") {
		t.Errorf("said %+v", im.done.Bad)
	}
}

// writingStore changes something while it stores.
type writingStore struct {
	failingStore
	write func() error
}

func (s *writingStore) Append(ctx context.Context, msgs []message.Message) (message.Place, error) {
	if err := s.write(); err != nil {
		return message.Place{}, err
	}
	return s.failingStore.Append(ctx, msgs)
}

func TestClassicBody(t *testing.T) {
	for content, want := range map[string]string{
		"s\nv":                    `{"senderId":"s","value":"v"}`,
		"s\r\nv\r\nw\n":           `{"senderId":"s","value":"v\r\nw\n"}`,
		"\xef\xbb\xbfs\nv":        `{"senderId":"s","value":"v"}`,
		"  {\"any\": 1}":          "  {\"any\": 1}",
		"\xef\xbb\xbf{\"any\": 1": `{"any": 1`,
		"one line":                "one line; the sender is in the first and the value in the rest",
		"":                        "one line; the sender is in the first and the value in the rest",
		"s\n\xff":                 "not UTF-8",
	} {
		b, err := classicBody([]byte(content))
		got := string(b)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q becomes %q, want %q", content, got, want)
		}
	}
}
