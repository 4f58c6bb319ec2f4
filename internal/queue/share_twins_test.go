package queue_test

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/queue"
)

// bent is a process's file system with some answers bent, so that a check of the
// queue's decides as if it were not there.
type bent struct {
	durable.FS
	open   func(name string) (durable.File, error)
	create func(name string) (durable.File, error)
}

func (b bent) Open(name string) (durable.File, error) {
	if b.open != nil {
		return b.open(name)
	}
	return b.FS.Open(name)
}

func (b bent) Create(name string) (durable.File, error) {
	if b.create != nil {
		return b.create(name)
	}
	return b.FS.Create(name)
}

// snapshot is a file as it was.
type snapshot struct {
	durable.File
	content []byte
}

func (s snapshot) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(s.content)) {
		return 0, io.EOF
	}
	n := copy(p, s.content[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (s snapshot) Size() (int64, error) { return int64(len(s.content)), nil }

// blind reads zero bytes from the files that match, as if nobody had written a
// note there: the check that reads them is gone.
func blind(pattern string) func(durable.FS) durable.FS {
	return func(fsys durable.FS) durable.FS {
		return bent{FS: fsys, open: func(name string) (durable.File, error) {
			f, err := fsys.Open(name)
			if ok, _ := path.Match(pattern, path.Base(name)); ok && err == nil {
				f = snapshot{f, make([]byte, 512)}
			}
			return f, err
		}}
	}
}

// behind shows segments as they were up to two seconds before they were opened:
// the reader has, in effect, opened them before it looked for evidence of what
// has to be there.
func behind(fsys durable.FS) durable.FS {
	type seen struct {
		at      time.Time
		content []byte
	}
	var mu sync.Mutex
	old := map[string]seen{}
	return bent{FS: fsys, open: func(name string) (durable.File, error) {
		f, err := fsys.Open(name)
		if err != nil || !strings.HasSuffix(name, ".seg") {
			return f, err
		}
		mu.Lock()
		defer mu.Unlock()
		s := old[name]
		if time.Since(s.at) > 2*time.Second {
			content, err := durable.ReadFile(fsys, name, 1<<30)
			if err != nil {
				return nil, errors.Join(err, f.Close())
			}
			s = seen{time.Now(), content}
			old[name] = s
		}
		return snapshot{f, s.content}, nil
	}}
}

// trusting takes a claim to be had because its name is not found, where an
// exclusive create says that it is taken.
func trusting(s *shared) func(durable.FS) durable.FS {
	return func(fsys durable.FS) durable.FS {
		other := s.share.Host("elsewhere") // shows what is there
		var mu sync.Mutex
		taken := map[string]bool{}
		isTaken := func(name string) bool {
			mu.Lock()
			defer mu.Unlock()
			return taken[name]
		}
		return bent{
			FS: fsys,
			open: func(name string) (durable.File, error) {
				if isTaken(name) {
					return other.Open(name)
				}
				return fsys.Open(name)
			},
			create: func(name string) (durable.File, error) {
				f, err := fsys.Create(name)
				if errors.Is(err, fs.ErrExist) && strings.HasPrefix(path.Base(name), "claim.") {
					mu.Lock()
					taken[name] = true
					mu.Unlock()
					return other.OpenWrite(name)
				}
				return f, err
			},
		}
	}
}

// Each check is needed: with it every promise is kept, without it some seed
// shows one broken.
func TestShareTwins(t *testing.T) {
	const honest, seeds = 2, 90 // the rarest shows in one seed of six
	type wrap = func(durable.FS) durable.FS
	tests := map[string]struct {
		mount faultfs.ShareOptions
		twin  func(*shared) wrap
		run   func(s *shared, w wrap) []string
	}{
		"fence not read": {
			twin: func(*shared) wrap { return blind("fence") },
			run: func(s *shared, w wrap) []string {
				s.opts.Retain = 24 * time.Hour // what grew behind its end is looked at before it is removed
				gateway := s.start(spec{name: "a", part: queue.Writes, frozen: true, wrap: w})
				s.start(spec{name: "b", part: queue.Drains})
				<-time.After(s.some(5*time.Second, 10*time.Second))
				pauseThis(gateway, 90*time.Second)
				<-time.After(10 * time.Second)
				return s.settle(5 * time.Minute)
			},
		},
		"revocation not read": {
			twin: func(*shared) wrap { return blind("revoked.*") },
			run: func(s *shared, w wrap) []string {
				s.start(spec{name: "c", part: queue.Writes})
				holder := s.start(spec{name: "a", part: queue.Drains, frozen: true, wrap: w})
				s.start(spec{name: "b", part: queue.Drains})
				<-time.After(s.some(3*time.Second, 10*time.Second))
				<-time.After(s.some(0, 3*time.Second))
				pauseThis(holder, s.some(10*time.Second, 20*time.Second))
				<-time.After(10 * time.Second)
				return s.settle(5 * time.Minute)
			},
		},
		"segment opened before the evidence": {
			twin: func(*shared) wrap { return behind },
			run: func(s *shared, w wrap) []string {
				s.start(spec{name: "a", part: queue.Writes})
				s.start(spec{name: "b", part: queue.Drains, wrap: w})
				<-time.After(90 * time.Second)
				return s.settle(5 * time.Minute)
			},
		},
		"a claim that is not found taken for free": {
			mount: faultfs.ShareOptions{AttrMin: 20 * time.Second, AttrMax: 60 * time.Second},
			twin:  trusting,
			run: func(s *shared, w wrap) []string {
				s.start(spec{name: "c", part: queue.Writes})
				s.start(spec{name: "a", part: queue.Drains})
				for _, name := range []string{"b", "d", "e"} { // each more that is wrong shows it sooner
					s.start(spec{name: name, part: queue.Drains, wrap: w})
				}
				<-time.After(2 * time.Minute)
				return s.settle(5 * time.Minute)
			},
		},
		"an export that answers before it has synced": {
			twin: func(s *shared) wrap {
				s.share = faultfs.NewShare(s.seed, faultfs.ShareOptions{AsyncExport: true})
				return nil
			},
			run: func(s *shared, _ wrap) []string {
				s.start(spec{name: "a", part: queue.Writes})
				<-time.After(s.some(time.Second, 5*time.Second))
				s.share.PowerCut()
				return s.settle(5 * time.Minute)
			},
		},
	}
	for _, name := range sortedNames(tests) {
		test := tests[name]
		t.Run(name, func(t *testing.T) {
			caught := 0
			for seed := range uint64(seeds) {
				if seed < honest {
					synctest.Test(t, func(t *testing.T) {
						s := newShared(seed, test.mount)
						s.must(t, test.run(s, nil))
					})
				}
				if caught > 0 {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					s := newShared(seed, test.mount)
					if broken := test.run(s, test.twin(s)); len(broken) > 0 {
						caught++
						t.Logf("seed %d: %s", seed, broken[0])
					}
				})
			}
			if caught == 0 {
				t.Errorf("not noticed in %d seeds", seeds)
			}
		})
	}
}
