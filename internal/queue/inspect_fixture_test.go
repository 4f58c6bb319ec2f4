package queue

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"postroad/internal/durable"
)

var writeFixture = flag.Bool("inspect.update", false, "write testdata/mixed anew")

// testdata/mixed is a directory with one of everything, for the tests of what
// works on one from outside this package. It is kept for ever: later versions
// have to read it.
func TestFixture(t *testing.T) {
	const dir = "testdata/mixed"
	if *writeFixture {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		makeMixed(t, durable.OS{}, dir)
	}
	q := newFixture(t, dir)
	if got := found(q.check()); got != "" {
		t.Errorf("check: %q", got)
	}
	l, err := q.inspect().List(t.Context())
	q.must(err)
	if len(l.Lanes) != 4 || l.Unforwarded != 3 || l.OpenLetters != 2 {
		t.Errorf("%d lanes, %d waiting, %d open letters", len(l.Lanes), l.Unforwarded, l.OpenLetters)
	}
}

// newFixture copies a directory, so that nothing changes the one in testdata.
func newFixture(t *testing.T, from string) *rawQueue {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return &rawQueue{t: t, fsys: durable.OS{}, at: layout{filepath.ToSlash(dir)}}
}
