package queue_test

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/queue"
)

// The reply to each create of the queue's, once, is lost: the file or directory
// is there, and its maker is told that somebody else was quicker.
func TestShareLostReplies(t *testing.T) {
	for _, row := range []struct{ kind faultfs.Kind }{{faultfs.OpCreate}, {faultfs.OpMkdir}, {faultfs.OpRemove}} {
		for _, name := range []string{
			"fence", "heartbeat", "lane", "owner", "*.seg", "claim.*", "revoked.*", "progress.*",
			"queue/lanes/*", "queue/claims/*", "queue/processes/*",
		} {
			t.Run(string(row.kind)+" "+strings.ReplaceAll(name, "/", " "), func(t *testing.T) {
				shareFault(t, faultfs.Match{Kind: row.kind, Name: name}, faultfs.LostReply())
			})
		}
	}
}

// A handle or a path becomes stale, an operation fails, a sync finds no room: at
// each kind of operation, the first time and later.
func TestShareFailures(t *testing.T) {
	kinds := []faultfs.Kind{
		faultfs.OpCreate, faultfs.OpOpen, faultfs.OpOpenWrite, faultfs.OpMkdir, faultfs.OpReadDir,
		faultfs.OpRemove, faultfs.OpSyncDir, faultfs.OpRead, faultfs.OpWrite, faultfs.OpSync, faultfs.OpSize,
	}
	faults := map[string]faultfs.Fault{
		"stale": faultfs.FailBefore(syscall.ESTALE), "failed": faultfs.FailBefore(syscall.EIO),
		"answer lost": faultfs.FailAfter(syscall.EIO), "no room": faultfs.FailBefore(syscall.ENOSPC),
	}
	for i, kind := range kinds {
		for j, name := range sortedNames(faults) {
			nth := []int{1, 7, 40, 200}[(i+j)%4]
			t.Run(fmt.Sprint(kind, " ", name, " ", nth), func(t *testing.T) {
				shareFault(t, faultfs.Match{Kind: kind, Nth: nth}, faults[name])
			})
		}
	}
}

// shareFault has one operation of each process meet a fault.
func shareFault(t *testing.T, m faultfs.Match, fault faultfs.Fault) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newShared(seedOf(t.Name()), faultfs.ShareOptions{})
		s.opts.Retain = 0
		prime := func(h *faultfs.Host) { h.When(m, fault) }
		s.start(spec{name: "a", part: queue.Writes, prime: prime})
		s.start(spec{name: "b", part: queue.Drains, prime: prime})
		<-time.After(20 * time.Second)
		s.start(spec{name: "c", part: queue.WritesAndDrains, prime: prime})
		<-time.After(10 * time.Second)
		s.must(t, s.settle(10*time.Minute))
		if s.acked() < 10 {
			t.Errorf("only %d messages were acknowledged", s.acked())
		}
	})
}

// Retention clears everything away in the end, although files are open on other
// hosts and refuse to be removed, or leave names behind, or are removed by two.
func TestShareRetention(t *testing.T) {
	for _, mount := range sortedNames(mounts) {
		if mounts[mount].Granularity > 0 {
			continue // all of it happens at one moment of this clock: lists would stay old for good
		}
		for seed := range 2 * *shareSeeds {
			t.Run(fmt.Sprintf("%s/%d", mount, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newShared(seed, mounts[mount])
					s.opts.Retain = 0
					for range 2 {
						for _, x := range layouts["both on both"] {
							s.start(x)
						}
						<-time.After(s.some(10*time.Second, 40*time.Second))
						for _, p := range s.living() {
							p.end()
						}
					}
					problems := s.settle(10 * time.Minute)
					last := s.start(spec{name: "b", part: queue.Drains})
					<-time.After(5 * time.Minute)
					last.end()
					s.must(t, problems)
					left := func(dir string) []fs.DirEntry {
						entries, err := s.share.View().ReadDir(path.Join("queue", dir))
						if err != nil {
							t.Errorf("seed %d: %s: %v", seed, dir, err)
						}
						return entries
					}
					if l := left("lanes"); len(l) > 0 {
						t.Errorf("seed %d: left in lanes: %v\n%s", seed, l, s.share.History(30))
					}
					// A known hole, see the package: the claims of one chain may have been
					// made anew, by a first claim that was given up.
					remade := []string{"claim.000001", "progress.000001", "revoked.000001"}
					for i, c := range left("claims") {
						var names []string
						for _, f := range left(path.Join("claims", c.Name())) {
							names = append(names, f.Name())
						}
						if i > 0 || !slices.Equal(names, remade) {
							t.Errorf("seed %d: left in claims: %v with %v\n%s", seed, c, names, s.share.History(30))
						}
					}
				})
			})
		}
	}
}
