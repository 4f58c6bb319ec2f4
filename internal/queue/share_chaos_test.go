package queue_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/queue"
)

// layouts are who does what on which host.
var layouts = map[string][]spec{
	"gateway and forwarder apart": {{name: "a", part: queue.Writes}, {name: "b", part: queue.Drains}},
	"both on both":                {{name: "a", part: queue.WritesAndDrains}, {name: "b", part: queue.WritesAndDrains}},
	"two processes on a host": {
		{name: "a", part: queue.Writes},
		{name: "a", part: queue.Drains},
		{name: "b", part: queue.Writes},
		{name: "b", part: queue.Drains},
	},
	"two forwarders": {{name: "a", part: queue.Writes}, {name: "a", part: queue.Drains}, {name: "b", part: queue.Drains}},
}

// mounts are kinds of shares.
var mounts = map[string]faultfs.ShareOptions{
	"nfs":                 {},
	"nfs, long caches":    {AttrMin: 60 * time.Second, AttrMax: 60 * time.Second},
	"nfs, lookupcache":    {LookupCache: faultfs.LookupPos},
	"nfs3, coarse times":  {Granularity: 10 * time.Millisecond},
	"smb":                 {SMB: true, AttrMin: time.Second, AttrMax: time.Second},
	"smb, delete pending": {SMB: true, DeletePending: true},
}

// trouble is something that happens to a shared queue. It returns when it is over.
type trouble func(s *shared)

var troubles = map[string]trouble{
	"nothing":     func(s *shared) { <-time.After(s.some(0, 10*time.Second)) },
	"long pause":  func(s *shared) { pauseOne(s, s.some(s.opts.TTL+s.opts.TakeoverMargin, 60*time.Second)) },
	"short pause": func(s *shared) { pauseOne(s, s.some(0, s.opts.TTL+s.opts.TakeoverMargin)) },
	"pause of a clock": func(s *shared) {
		if p := s.one(); p != nil {
			p.mu.Lock()
			p.frozen = true
			p.mu.Unlock()
			pauseThis(p, s.some(0, 60*time.Second))
		}
	},
	"kill": func(s *shared) {
		if p := s.one(); p != nil {
			p.kill()
			<-time.After(s.some(0, 20*time.Second))
			s.start(p.spec())
		}
	},
	"restart": func(s *shared) {
		if p := s.one(); p != nil {
			p.end()
			s.start(p.spec())
		}
	},
	"crash": func(s *shared) {
		specs := s.crash([]string{"a", "b"}[s.pick(2)])
		<-time.After(s.some(0, 20*time.Second))
		for _, x := range specs {
			s.start(x)
		}
	},
	"power cut":   func(s *shared) { s.share.PowerCut() },
	"lost reply":  func(s *shared) { s.inject("", faultfs.LostReply()) },
	"stale":       func(s *shared) { s.inject("", faultfs.FailBefore(syscall.ESTALE)) },
	"failed sync": func(s *shared) { s.inject(faultfs.OpSync, faultfs.FailBefore(syscall.EIO)) },
	"lost answer": func(s *shared) { s.inject("", faultfs.FailAfter(syscall.EIO)) },
	"full": func(s *shared) {
		s.share.SetCapacity(s.share.Used() + int64(s.pick(200<<10)))
		<-time.After(s.some(0, 30*time.Second))
		s.share.SetCapacity(faultfs.DefaultCapacity)
	},
}

// one returns a process by chance.
func (s *shared) one() *proc {
	all := s.living()
	if len(all) == 0 {
		return nil
	}
	return all[s.pick(len(all))]
}

func pauseOne(s *shared, d time.Duration) {
	if p := s.one(); p != nil {
		pauseThis(p, d)
	}
}

func pauseThis(p *proc, d time.Duration) {
	p.pause()
	<-time.After(d)
	p.resume()
}

// inject has a process's operations meet a fault, each by a chance, for a while.
func (s *shared) inject(kind faultfs.Kind, fault faultfs.Fault) {
	p := s.one()
	if p == nil {
		return
	}
	one := 2 + s.pick(100)
	rng := rand.New(rand.NewPCG(uint64(s.pick(1<<30)), 0)) // used with the share's lock held, where s.mu may not be taken
	heal := p.host.When(faultfs.Match{
		Kind: kind, Always: true,
		If: func(op faultfs.Op) bool { return op.Kind != faultfs.OpClose && rng.IntN(one) == 0 },
	}, fault)
	<-time.After(s.some(0, 10*time.Second))
	heal()
}

// chaos runs a shared queue through some troubles.
func chaos(s *shared, layout []spec, kinds []string, events int) []string {
	for _, x := range layout {
		s.start(x)
	}
	for range events {
		<-time.After(s.some(0, 8*time.Second))
		troubles[kinds[s.pick(len(kinds))]](s)
	}
	<-time.After(s.some(0, 20*time.Second))
	return s.settle(15 * time.Minute)
}

// shareSeeds is how many seeds are tried of each kind: more for a night.
var shareSeeds = flag.Uint64("share.seeds", 1, "seeds of each test of a shared queue")

// Each trouble alone, then all of them together: layouts and mounts take turns.
// Where few seeds are asked for, a third of it, another one each time.
func TestShareTroubles(t *testing.T) {
	all, who, where := sortedNames(troubles), sortedNames(layouts), sortedNames(mounts)
	third := int(time.Now().UnixNano() % 3)
	left := func(i int) bool { return *shareSeeds == 1 && i%3 != third }
	for seed := range *shareSeeds {
		for i, name := range all {
			for j := range 2 {
				if left(2*i + j) {
					continue
				}
				layout, mount := who[(i+2*j+int(seed))%len(who)], where[(i+3*j+int(seed))%len(where)]
				t.Run(fmt.Sprintf("%s/%s/%s/%d", name, layout, mount, seed), func(t *testing.T) {
					runChaos(t, seed, mounts[mount], layouts[layout], []string{name}, 4)
				})
			}
		}
		for i := range 8 {
			if left(i) {
				continue
			}
			layout, mount := who[i%len(who)], where[(i+int(seed))%len(where)]
			t.Run(fmt.Sprintf("all/%s/%s/%d", layout, mount, seed), func(t *testing.T) {
				runChaos(t, seed, mounts[mount], layouts[layout], all, 10)
			})
		}
	}
}

func runChaos(t *testing.T, seed uint64, mount faultfs.ShareOptions, layout []spec, kinds []string, events int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newShared(seedOf(t.Name()), mount)
		s.must(t, chaos(s, layout, kinds, events))
		if s.acked() == 0 {
			t.Errorf("seed %d: nothing was acknowledged", seed)
		}
	})
}
