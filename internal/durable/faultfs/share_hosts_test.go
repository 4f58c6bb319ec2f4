package faultfs_test

import (
	"bytes"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
)

// Processes of one host share its caches; the death of one loses nothing.
func TestKilledProcessLeavesItsPagesToTheHost(t *testing.T) {
	s := calm(faultfs.ShareOptions{})
	f, err := s.a.Create("f")
	must(t, err)
	_, err = f.WriteAt([]byte("written"), 0)
	must(t, err)
	again := s.a.Kill()
	expect(t, "use of a killed process", f.Close(), faultfs.ErrCrashed)
	if got := reads(t, again, "f"); got != "written" {
		t.Errorf("its successor reads %q", got)
	}
	if got := reads(t, s.b, "f"); got != "written" {
		t.Errorf("the other host reads %q", got)
	}
}

func TestCrashTakesAllProcessesOfTheHost(t *testing.T) {
	s := calm(faultfs.ShareOptions{})
	second := s.Host("a")
	s.a.When(faultfs.Match{Kind: faultfs.OpMkdir}, faultfs.CrashAfter())
	expect(t, "mkdir", s.a.Mkdir("d"), faultfs.ErrCrashed)
	_, err := second.Open("d")
	expect(t, "open by another process", err, faultfs.ErrCrashed)
	if got := names(t, s.b, "/"); got != "d" {
		t.Errorf("the other host lists %q", got)
	}
}

func TestFailedSyncOfAHost(t *testing.T) {
	for _, row := range []struct {
		left  faultfs.Pages
		later bool // a second sync keeps the page
	}{{faultfs.PagesDirty, true}, {faultfs.PagesClean, false}, {faultfs.PagesDropped, false}} {
		kept := 0
		for seed := range uint64(20) {
			s := newSite(seed, faultfs.ShareOptions{Calm: true})
			f, err := s.a.Create("f")
			must(t, err)
			_, err = f.WriteAt([]byte("page"), 0)
			must(t, err)
			fault := faultfs.FailBefore(syscall.EIO)
			fault.Pages = row.left
			s.a.When(faultfs.Match{Kind: faultfs.OpSync}, fault)
			expect(t, "sync", f.Datasync(), syscall.EIO)
			must(t, f.Datasync())
			if len(reads(t, s.View().RebootBare(), "f")) > 0 {
				kept++
			}
		}
		if (kept == 20) != row.later || (kept == 0) == row.later {
			t.Errorf("pages %d: in %d of 20 a second sync kept them", row.left, kept)
		}
	}
}

// A paused process does nothing; its clock, and the other host, go on.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := faultfs.NewShare(1, faultfs.ShareOptions{})
		a, b := s.Host("a"), s.Host("b")
		a.Pause()
		done := make(chan error, 1)
		go func() { done <- a.Mkdir("d") }()
		<-time.After(time.Hour)
		put(t, b, "f", "")
		if got := names(t, s.View(), "/"); got != "f" || len(done) > 0 {
			t.Errorf("the server has %q, the paused process has gone on: %v", got, len(done) > 0)
		}
		a.Resume()
		must(t, <-done)
		if got := names(t, s.View(), "/"); got != "d f" {
			t.Errorf("resumed, the server has %q", got)
		}
	})
}

// A process stopped while its request is under way gets the answer later.
func TestPauseBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := faultfs.NewShare(1, faultfs.ShareOptions{})
		a := s.Host("a")
		a.When(faultfs.Match{Kind: faultfs.OpMkdir}, faultfs.Delay(func(faultfs.Op) { a.Pause() }))
		done := make(chan error, 1)
		go func() { done <- a.Mkdir("d") }()
		synctest.Wait()
		if got := names(t, s.View(), "/"); got != "d" || len(done) > 0 {
			t.Errorf("the server has %q, answered while paused: %v", got, len(done) > 0)
		}
		a.Resume()
		must(t, <-done)
	})
}

func TestSameSeedSameShare(t *testing.T) {
	run := func(seed uint64) string {
		s := newSite(seed, faultfs.ShareOptions{})
		for i := range 20 {
			name := string(rune('a' + i%5))
			host := []*faultfs.Host{s.a, s.b}[i%2]
			f, err := host.Create(name)
			if err != nil {
				if f, err = host.OpenWrite(name); err != nil {
					continue
				}
			}
			_, _ = f.WriteAt(bytes.Repeat([]byte{byte(i)}, 2*page), int64(i%3*page))
			s.now += time.Second
		}
		s.a.Crash()
		s.PowerCut()
		var all strings.Builder
		for name := range strings.FieldsSeq(names(t, s.View(), "/")) {
			all.WriteString(reads(t, s.View(), name))
		}
		return s.History(0) + all.String()
	}
	first, again := run(7), run(7)
	if first != again {
		t.Error("two runs of one seed differ")
	}
	if first == run(8) {
		t.Error("runs of two seeds do not differ")
	}
}

func TestSMBDeletePending(t *testing.T) {
	s := calm(faultfs.ShareOptions{SMB: true, DeletePending: true})
	must(t, s.a.Mkdir("d"))
	put(t, s.a, "d/f", "open")
	f := open(t, s.b, "d/f")
	must(t, s.a.Remove("d/f"))
	s.now += time.Minute
	if got := names(t, s.b, "d"); got != "f" {
		t.Errorf("while it is open, d lists %q", got)
	}
	_, err := s.b.Open("d/f")
	expect(t, "open", err, fs.ErrNotExist)
	_, err = s.a.Create("d/f")
	expect(t, "create anew", err, fs.ErrNotExist)
	expect(t, "remove again", s.b.Remove("d/f"), fs.ErrNotExist)
	expect(t, "remove the directory", s.a.Remove("d"), syscall.ENOTEMPTY)
	if got := shows(t, f); got != "open" {
		t.Errorf("the open handle shows %q", got)
	}
	must(t, f.Close())
	must(t, s.a.Remove("d"))

	put(t, s.a, "g", "")
	open(t, s.b, "g")
	must(t, s.a.Remove("g"))
	s.b.Crash()
	s.now += 2 * time.Minute
	put(t, s.a, "g", "")
}
