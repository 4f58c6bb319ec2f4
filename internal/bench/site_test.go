package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	l := load{messages: 1, bytes: 3}
	if got, want := string(l.body(2, 999)), `{"key":"key-999","value":"xxx"}`+"\n"+`{"key":"key-000","value":"xxx"}`+"\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestPassage(t *testing.T) {
	at := time.Unix(1000, 0)
	p := passage{first: at, last: at.Add(2 * time.Second), early: 100, total: 500}
	if got := p.rate(); got != 200 {
		t.Errorf("%v/s: those that were there at the first sight do not count, want 200", got)
	}
}

func TestParseMemory(t *testing.T) {
	m, err := parseMemory("Name:\tpostroad\nVmPeak:\t  900 kB\nVmHWM:\t   300 kB\nVmRSS:\t   200 kB\n")
	if want := (memory{200 << 10, 300 << 10}); err != nil || m != want {
		t.Errorf("%+v, %v, want %+v", m, err, want)
	}
	for _, bad := range []string{"", "VmRSS:\t1 kB\n", "VmHWM:\t1 kB\nVmRSS:\tmuch\n"} {
		if m, err := parseMemory(bad); err == nil {
			t.Errorf("%q: %+v", bad, m)
		}
	}
	if m, err := memoryOf(os.Getpid()); err != nil || m.resident < 1<<20 || m.peak < m.resident/2 {
		t.Errorf("of this process: %+v, %v", m, err)
	}
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	before, err := diskUsed(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "below", "file"), []byte(strings.Repeat("x", 1<<20)), 0o644); err != nil {
		t.Fatal(err)
	}
	after, err := diskUsed(dir)
	if err != nil || after-before < 1<<20 || after-before > 2<<20 {
		t.Errorf("a file of 1 MiB takes %d bytes, %v", after-before, err)
	}
	if n, err := diskUsed(filepath.Join(dir, "none")); err != nil || n != 0 {
		t.Errorf("what is gone takes %d, %v", n, err)
	}
	if n, err := diskFree(dir); err != nil || n <= 0 {
		t.Errorf("%d bytes free, %v", n, err)
	}
	if _, err := diskFree(filepath.Join(dir, "none")); err == nil {
		t.Error("room in a directory that is not there")
	}
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files")
	s, err := openFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, text := range []string{"a", "b"} {
		if err := s.put([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(s.name(2)); err != nil || string(text) != "b" || s.syncs.Load() != 4 {
		t.Errorf("%q, %v; %d syncs", text, err, s.syncs.Load())
	}
	if err := s.clear(); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
