package faultfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
)

// site is a share with two hosts and a clock in the test's hand.
type site struct {
	*faultfs.Share
	now  time.Duration
	a, b *faultfs.Host
}

func newSite(seed uint64, opts faultfs.ShareOptions) *site {
	s := &site{}
	opts.Now = func() time.Duration { return s.now }
	s.Share = faultfs.NewShare(seed, opts)
	s.a, s.b = s.Host("a"), s.Host("b")
	return s
}

// calm shares do nothing of themselves, so each test sees what it is about.
func calm(opts faultfs.ShareOptions) *site {
	opts.Calm = true
	return newSite(1, opts)
}

// put creates a file with synced content and closes it.
func put(t *testing.T, fsys durable.FS, name, content string) {
	t.Helper()
	must(t, durable.WriteNew(fsys, name, []byte(content)))
}

// over writes at the beginning of a file, synced and closed.
func over(t *testing.T, fsys durable.FS, name, content string) {
	t.Helper()
	must(t, durable.Overwrite(fsys, name, []byte(content)))
}

func open(t *testing.T, fsys durable.FS, name string) durable.File {
	t.Helper()
	f, err := fsys.Open(name)
	must(t, err)
	return f
}

// shows reads up to 64 bytes from the beginning of an open file.
func shows(t *testing.T, f durable.File) string {
	t.Helper()
	b := make([]byte, 64)
	n, err := f.ReadAt(b, 0)
	if err != nil && n == len(b) {
		t.Fatal(err)
	}
	return string(b[:n])
}

// reads opens a file anew and reads it.
func reads(t *testing.T, fsys durable.FS, name string) string {
	t.Helper()
	b, err := durable.ReadFile(fsys, name, 1<<30)
	must(t, err)
	return string(b)
}

func names(t *testing.T, fsys durable.FS, dir string) string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	must(t, err)
	all := make([]string, len(entries))
	for i, e := range entries {
		all[i] = e.Name()
	}
	return strings.Join(all, " ")
}

func expect(t *testing.T, act string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: %v, want %v", act, err, target)
	}
}

// Close-to-open: what was closed is seen by who opens after, and by a handle
// that was open before only once its attributes expire.
func TestOldHandleIsStaleUntilItsAttributesExpire(t *testing.T) {
	s := calm(faultfs.ShareOptions{})
	put(t, s.a, "f", "old")
	old := open(t, s.b, "f")
	if got := shows(t, old); got != "old" {
		t.Fatalf("b reads %q", got)
	}
	over(t, s.a, "f", "new and longer")
	if got := shows(t, old); got != "old" {
		t.Errorf("the open handle shows %q at once: no cache", got)
	}
	if n, err := old.Size(); n != 3 || err != nil {
		t.Errorf("the open handle's size is %d, %v at once: no cache", n, err)
	}
	if got := reads(t, s.b, "f"); got != "new and longer" {
		t.Errorf("opened anew the file shows %q", got)
	}

	over(t, s.a, "f", "NEW")
	if got := shows(t, old); got != "new and longer" {
		t.Errorf("refreshed by the other open, the handle shows %q; want that until it expires again", got)
	}
	s.now += time.Minute
	if got := shows(t, old); got != "NEW and longer" {
		t.Errorf("after the longest lifetime the open handle shows %q", got)
	}
}

// Lifetimes are drawn between the bounds: none is shorter or longer, and not
// all are the same.
func TestCacheLifetimesAreWithinTheirBounds(t *testing.T) {
	const low, high = 3 * time.Second, 60 * time.Second
	lives := map[time.Duration]bool{}
	for seed := range uint64(20) {
		s := newSite(seed, faultfs.ShareOptions{Calm: true})
		put(t, s.a, "f", "old")
		old := open(t, s.b, "f")
		shows(t, old)
		over(t, s.a, "f", "new")
		for shows(t, old) == "old" {
			s.now += time.Second / 2
		}
		if s.now < low || s.now > high {
			t.Errorf("seed %d: stale for %v", seed, s.now)
		}
		lives[s.now] = true
	}
	if len(lives) < 5 {
		t.Errorf("only the lifetimes %v", lives)
	}
}

func TestPagesOfDifferentAgeStandSideBySide(t *testing.T) {
	s := calm(faultfs.ShareOptions{})
	f, err := s.a.Create("f")
	must(t, err)
	both := append(bytes.Repeat([]byte{1}, page), bytes.Repeat([]byte{1}, page)...)
	_, err = f.WriteAt(both, 0)
	must(t, err)
	must(t, f.Datasync())
	old := open(t, s.b, "f")
	b := make([]byte, 1)
	_, err = old.ReadAt(b, 0)
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{2}, 2*page), 0)
	must(t, err)
	must(t, f.Datasync())
	seen := make([]byte, 2*page)
	_, err = old.ReadAt(seen, 0)
	must(t, err)
	if seen[0] != 1 || seen[page] != 2 {
		t.Errorf("pages show %d and %d, want the cached 1 and the fetched 2", seen[0], seen[page])
	}
}

func TestMissingNameIsRemembered(t *testing.T) {
	for _, row := range []struct {
		mode   faultfs.LookupCache
		hidden bool
	}{{faultfs.LookupAll, true}, {faultfs.LookupPos, false}, {faultfs.LookupNone, false}} {
		s := calm(faultfs.ShareOptions{LookupCache: row.mode})
		must(t, s.a.Mkdir("d"))
		_, err := s.b.Open("d/f")
		expect(t, "open what is not there", err, fs.ErrNotExist)
		put(t, s.a, "d/f", "here")
		_, err = s.b.Open("d/f")
		if hidden := errors.Is(err, fs.ErrNotExist); hidden != row.hidden {
			t.Errorf("lookupcache %d: after the create the name is hidden: %v, want %v", row.mode, hidden, row.hidden)
		}
		expect(t, "overwrite", durable.Overwrite(s.b, "d/f", nil), map[bool]error{true: fs.ErrNotExist}[row.hidden])
		if row.hidden {
			expect(t, "remove", s.b.Remove("d/f"), fs.ErrNotExist)
		}
		s.now += time.Minute
		if got := reads(t, s.b, "d/f"); got != "here" {
			t.Errorf("lookupcache %d: later it reads %q", row.mode, got)
		}
	}
}

// An exclusive create asks the server, whatever is cached, and of two only one
// is first.
func TestExclusiveCreateIsNeverAnsweredFromTheCache(t *testing.T) {
	s := calm(faultfs.ShareOptions{})
	_, err := s.b.Open("f")
	expect(t, "open", err, fs.ErrNotExist)
	put(t, s.a, "f", "a's")
	_, err = s.b.Create("f")
	expect(t, "create under a name cached as missing", err, fs.ErrExist)
	if got := reads(t, s.b, "f"); got != "a's" {
		t.Errorf("after EEXIST the name reads %q", got)
	}
	must(t, s.a.Remove("f"))
	f, err := s.b.Create("f") // cached as taken
	must(t, err)
	must(t, f.Close())
}

func TestTakenDirectoryIsRememberedByMkdir(t *testing.T) {
	s := calm(faultfs.ShareOptions{})
	must(t, s.a.Mkdir("d"))
	expect(t, "mkdir", s.b.Mkdir("d"), fs.ErrExist)
	must(t, s.a.Remove("d"))
	expect(t, "mkdir of a name cached as taken", s.b.Mkdir("d"), fs.ErrExist)
	s.now += time.Minute
	must(t, s.b.Mkdir("d"))
}

func TestListingIsRemembered(t *testing.T) {
	s := calm(faultfs.ShareOptions{})
	put(t, s.a, "f", "")
	if got := names(t, s.b, "/"); got != "f" {
		t.Fatalf("b lists %q", got)
	}
	put(t, s.a, "g", "")
	must(t, s.a.Remove("f"))
	if got := names(t, s.b, "/"); got != "f" {
		t.Errorf("b lists %q at once: no cache", got)
	}
	if got := names(t, s.a, "/"); got != "g" {
		t.Errorf("a lists %q, without its own changes", got)
	}
	s.now += time.Minute
	if got := names(t, s.b, "/"); got != "g" {
		t.Errorf("later b lists %q", got)
	}
}

// A host sees what it does itself, also where its listing is old otherwise.
func TestOwnChangesShowInAnOldListing(t *testing.T) {
	old := 0
	for seed := range uint64(40) {
		s := newSite(seed, faultfs.ShareOptions{})
		names(t, s.b, "/")
		put(t, s.a, "theirs", "")
		put(t, s.b, "own", "")
		got := names(t, s.b, "/")
		if !strings.Contains(got, "own") {
			t.Fatalf("seed %d: b lists %q, without its own file", seed, got)
		}
		if got == "own" {
			old++
		}
	}
	if old == 0 || old == 40 {
		t.Errorf("in %d of 40 the listing stayed old otherwise; both are possible", old)
	}
}

func TestRemovedFileIsStale(t *testing.T) {
	s := calm(faultfs.ShareOptions{})
	put(t, s.a, "f", "old")
	old := open(t, s.b, "f")
	must(t, s.a.Remove("f"))
	_, err := old.ReadAt(make([]byte, 3), 0)
	expect(t, "read of an old handle", err, syscall.ESTALE)
	_, err = s.b.Open("f")
	expect(t, "open", err, fs.ErrNotExist)
	must(t, old.Close())

	put(t, s.a, "g", "old") // read before, the cache still has it
	old = open(t, s.b, "g")
	shows(t, old)
	must(t, s.a.Remove("g"))
	if got := shows(t, old); got != "old" {
		t.Errorf("cached pages of a removed file show %q", got)
	}
	s.now += time.Minute
	_, err = old.Size()
	expect(t, "size of an old handle", err, syscall.ESTALE)
}

func TestWriterOfARemovedFileLearnsItAtSync(t *testing.T) {
	s := calm(faultfs.ShareOptions{})
	put(t, s.a, "f", "")
	f, err := s.b.OpenWrite("f")
	must(t, err)
	must(t, s.a.Remove("f"))
	_, err = f.WriteAt([]byte("late"), 0)
	must(t, err)
	expect(t, "sync", f.Datasync(), syscall.ESTALE)
	must(t, f.Datasync()) // said once
}

func TestPathThroughAReplacedDirectory(t *testing.T) {
	s := calm(faultfs.ShareOptions{})
	must(t, s.a.Mkdir("d"))
	put(t, s.a, "d/f", "first")
	reads(t, s.b, "d/f")
	must(t, s.a.Remove("d/f"))
	must(t, s.a.Remove("d"))
	must(t, s.a.Mkdir("d"))
	put(t, s.a, "d/f", "second")
	if got := reads(t, s.b, "d/f"); got != "second" {
		t.Errorf("through the stale directory it reads %q", got)
	}
}

// A file that its own host has open is renamed when it is removed there.
func TestSillyRename(t *testing.T) {
	s := calm(faultfs.ShareOptions{})
	must(t, s.a.Mkdir("d"))
	put(t, s.a, "d/f", "still here")
	old := open(t, s.a, "d/f")
	must(t, s.a.Remove("d/f"))
	if got := names(t, s.b, "d"); !strings.HasPrefix(got, ".nfs") {
		t.Errorf("others list %q", got)
	}
	expect(t, "remove the directory", s.a.Remove("d"), syscall.ENOTEMPTY)
	if got := shows(t, old); got != "still here" {
		t.Errorf("the open handle shows %q", got)
	}
	must(t, old.Close())
	must(t, s.a.Remove("d"))
}

func TestUnsyncedPagesReachTheServerInAnyOrder(t *testing.T) {
	const pages = 6
	orders := map[string]bool{}
	for seed := range uint64(60) {
		s := newSite(seed, faultfs.ShareOptions{})
		f, err := s.a.Create("f")
		must(t, err)
		for i := range pages {
			_, err = f.WriteAt(bytes.Repeat([]byte{'x'}, page), int64(i*page))
			must(t, err)
		}
		got, err := durable.ReadFile(s.View(), "f", 1<<20)
		must(t, err)
		var there strings.Builder
		for at := 0; at < len(got); at += page {
			there.WriteByte(map[bool]byte{true: '1', false: '0'}[got[at] == 'x'])
		}
		orders[there.String()] = true
	}
	if !orders[""] {
		t.Errorf("in none of %v nothing was sent", orders)
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(orders)), func(o string) bool { return strings.HasPrefix(o, "01") }) {
		t.Errorf("in none of %v a later page came first", orders)
	}
}

// Between its write and its sync a host's pages are its own; after the crash of
// the host some have arrived, in some outcomes all and in some none.
func TestCrashOfAHostLosesWhatItHadNotSynced(t *testing.T) {
	const synced, unsynced = "kept", "lost"
	left := map[string]int{}
	for seed := range uint64(60) {
		s := newSite(seed, faultfs.ShareOptions{})
		f, err := s.a.Create("f")
		must(t, err)
		_, err = f.WriteAt([]byte(synced), 0)
		must(t, err)
		must(t, f.Datasync())
		_, err = f.WriteAt([]byte(unsynced), page)
		must(t, err)
		again := s.a.Restart()
		expect(t, "use of a crashed host", f.Datasync(), faultfs.ErrCrashed)
		got := reads(t, s.b, "f")
		if !strings.HasPrefix(got, synced) {
			t.Fatalf("seed %d: what was synced is %q", seed, got)
		}
		if reads(t, again, "f") != got {
			t.Errorf("seed %d: the host itself sees something else", seed)
		}
		left[strings.TrimRight(got[len(synced):], "\x00")]++
	}
	if len(left) != 2 {
		t.Errorf("outcomes %v, want with and without the unsynced page", left)
	}
}

func TestPowerCutOfTheServer(t *testing.T) {
	for _, async := range []bool{false, true} {
		lost := 0
		for seed := range uint64(60) {
			s := newSite(seed, faultfs.ShareOptions{AsyncExport: async})
			must(t, s.a.Mkdir("d"))
			put(t, s.a, "d/f", "promised")
			s.PowerCut()
			s.now += time.Minute
			if got, err := durable.ReadFile(s.b, "d/f", 100); err != nil || string(got) != "promised" {
				lost++
			}
		}
		if (lost > 0) != async {
			t.Errorf("async export %v: %d of 60 power cuts lost what was synced", async, lost)
		}
	}
}

// Pages that were sent and not committed are sent again by a host that lives.
func TestHostSendsAgainWhatThePowerCutLost(t *testing.T) {
	seenThenLost := 0
	for seed := range uint64(200) {
		s := newSite(seed, faultfs.ShareOptions{})
		f, err := s.a.Create("f")
		must(t, err)
		_, err = f.WriteAt([]byte("content"), 0)
		must(t, err)
		for range 4 { // time for the kernel to send some
			names(t, s.b, "/")
		}
		before := reads(t, s.View(), "f")
		s.PowerCut()
		if reads(t, s.View(), "f") != before {
			seenThenLost++
		}
		must(t, f.Datasync())
		s.PowerCut()
		if got := reads(t, s.b, "f"); got != "content" {
			t.Fatalf("seed %d: %q after the sync", seed, got)
		}
	}
	if seenThenLost == 0 {
		t.Error("no power cut took away what another host could have read")
	}
}

func TestFullShareShowsAtSync(t *testing.T) {
	s := calm(faultfs.ShareOptions{})
	put(t, s.a, "ready", strings.Repeat("\x00", page))
	f, err := s.a.Create("f")
	must(t, err)
	s.SetCapacity(s.Used())
	_, err = f.WriteAt([]byte("no room"), 0)
	must(t, err)
	expect(t, "sync", f.Datasync(), syscall.ENOSPC)
	must(t, f.Datasync()) // and the pages are gone
	if got := reads(t, s.View(), "f"); got != "" {
		t.Errorf("the server has %q", got)
	}
	over(t, s.a, "ready", "what has its room can be changed")
	_, err = s.a.Create("g")
	expect(t, "create", err, syscall.ENOSPC)

	w, err := s.a.OpenWrite("f")
	must(t, err)
	_, err = w.WriteAt([]byte("no room"), 0)
	must(t, err)
	expect(t, "close without a sync", w.Close(), syscall.ENOSPC)
}

func TestLostReplies(t *testing.T) {
	s := calm(faultfs.ShareOptions{})
	put(t, s.a, "old", "")
	for _, row := range []struct {
		kind faultfs.Kind
		do   func() error
		want error
	}{
		{faultfs.OpCreate, func() error { _, err := s.a.Create("f"); return err }, fs.ErrExist},
		{faultfs.OpMkdir, func() error { return s.a.Mkdir("d") }, fs.ErrExist},
		{faultfs.OpRemove, func() error { return s.a.Remove("old") }, fs.ErrNotExist},
		{faultfs.OpOpen, func() error { return open(t, s.a, "f").Close() }, nil},
	} {
		s.a.When(faultfs.Match{Kind: row.kind}, faultfs.LostReply())
		expect(t, string(row.kind), row.do(), row.want)
	}
	if got := names(t, s.View(), "/"); got != "d f" {
		t.Errorf("the server has %q; all was applied", got)
	}
	if got := names(t, s.a, "/"); got != "d f" {
		t.Errorf("the host lists %q", got)
	}
}

func TestSMBRefusesToRemoveWhatIsOpen(t *testing.T) {
	s := calm(faultfs.ShareOptions{SMB: true})
	must(t, s.a.Mkdir("d"))
	put(t, s.a, "d/f", "open")
	f := open(t, s.b, "d/f")
	expect(t, "remove while another host has it open", s.a.Remove("d/f"), syscall.EBUSY)
	expect(t, "remove while it has it open itself", s.b.Remove("d/f"), syscall.EBUSY)
	must(t, f.Close())
	must(t, s.a.Remove("d/f"))
	d := open(t, s.b, "d")
	expect(t, "remove an open directory", s.a.Remove("d"), syscall.EBUSY)
	must(t, d.Close())
	must(t, s.a.Remove("d"))
}

func TestSMBKeepsTheOpensOfACrashedHost(t *testing.T) {
	s := calm(faultfs.ShareOptions{SMB: true, SessionTimeout: 30 * time.Second})
	put(t, s.a, "f", "")
	open(t, s.b, "f")
	s.b.Crash()
	s.now += 29 * time.Second
	expect(t, "remove soon after the crash", s.a.Remove("f"), syscall.EBUSY)
	s.now += time.Second
	must(t, s.a.Remove("f"))
}

func TestSMBOpensSurviveAPowerCut(t *testing.T) {
	s := calm(faultfs.ShareOptions{SMB: true})
	put(t, s.a, "f", "")
	f := open(t, s.b, "f")
	s.PowerCut()
	expect(t, "remove", s.a.Remove("f"), syscall.EBUSY)
	must(t, f.Close())
	must(t, s.a.Remove("f"))
}

// Two changes within the step of the server's clock look like one: what was
// read in between stays in the cache, even of a file opened anew.
func TestCoarseChangeTimesHideTheSecondChange(t *testing.T) {
	for _, row := range []struct {
		step time.Duration
		want string
	}{{0, "second"}, {10 * time.Millisecond, "first!"}} {
		s := calm(faultfs.ShareOptions{Granularity: row.step})
		put(t, s.a, "f", "first!")
		reads(t, s.b, "f")
		over(t, s.a, "f", "second")
		if got := reads(t, s.b, "f"); got != row.want {
			t.Errorf("step %v: opened anew it reads %q, want %q", row.step, got, row.want)
		}
		s.now += time.Second
		over(t, s.a, "f", "third!")
		if got := reads(t, s.b, "f"); got != "third!" {
			t.Errorf("step %v: a later change reads %q", row.step, got)
		}
	}
}

// A client may write whole pages, with what it had cached of the rest.
func TestTwoWritersOfOnePageLoseOneAnothersBytes(t *testing.T) {
	whole := 0
	for seed := range uint64(60) {
		s := newSite(seed, faultfs.ShareOptions{})
		put(t, s.a, "f", "....")
		f, err := s.b.OpenWrite("f")
		must(t, err)
		shows(t, f)
		over(t, s.a, "f", "AA")
		_, err = f.WriteAt([]byte("BB"), 2)
		must(t, err)
		must(t, f.Datasync())
		switch got := reads(t, s.View(), "f"); got {
		case "AABB":
		case "..BB":
			whole++
		default:
			t.Fatalf("seed %d: %q", seed, got)
		}
	}
	if whole == 0 || whole == 60 {
		t.Errorf("in %d of 60 the page was written whole; both are possible", whole)
	}
}
