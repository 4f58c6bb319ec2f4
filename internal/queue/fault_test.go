package queue_test

import (
	"context"
	"fmt"
	"os"
	"path"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// faultOptions are small segments, so that a short script fills several.
func faultOptions() queue.Options {
	o := options("queue")
	o.TakeoverMargin = time.Second
	o.Retain = 0
	return o
}

// life is one process's use of a queue: it appends, drains, saves, releases,
// claims again, and ends by being closed. It goes on after errors as a gateway
// and a forwarder would.
type life struct {
	name string
	// beyond is added to what is saved: only a sabotaged life does that.
	beyond  uint64
	drained []message.Stored
	disk    durable.FS
}

func (s *life) run(fsys durable.FS, l *ledger) {
	q, err := open(fsys)
	if err != nil {
		return
	}
	s.disk = fsys
	defer run(q)()
	ctx := context.Background()
	s.appendSome(ctx, q, l, "a")
	for round := range 2 {
		s.forward(q, l, 4)
		s.appendSome(ctx, q, l, fmt.Sprint("b", round))
	}
}

// open opens a queue, again where that fails.
func open(fsys durable.FS) (q *queue.Queue, err error) {
	for range 3 {
		if q, err = queue.Open(faultOptions(), onDisk(fsys, silent)); err == nil {
			return q, nil
		}
	}
	return nil, err
}

// appendSome stores small groups, then ones that fill the segment, then one
// that is larger than a segment.
func (s *life) appendSome(ctx context.Context, q *queue.Queue, l *ledger, batch string) {
	name := func(i int) string { return s.name + "/" + batch + "/" + fmt.Sprint(i) }
	_ = l.append(ctx, q, name(0))
	_ = l.append(ctx, q, name(1), name(2), name(3))
	for i := range 3 {
		_ = l.append(ctx, q, fill(name(4+2*i), 25<<10), name(5+2*i))
	}
	_ = l.append(ctx, q, fill(name(10), 40<<10), fill(name(11), 40<<10))
	if disk, ok := s.disk.(*faultfs.FS); ok { // several groups for one sync, in several segments
		l.burst(ctx, q, disk, [][]string{{name(20)}, {name(21), name(22)}, {fill(name(23), 45<<10)}, {fill(name(24), 15<<10)}, {name(25)}}, func() {})
	}
	_ = l.append(ctx, q, name(12))
}

// forward claims a chain, takes at least n messages out of it if there are as
// many, saves that, takes some more and releases.
func (s *life) forward(q *queue.Queue, l *ledger, n int) {
	c := s.claim(q)
	if c == nil {
		return
	}
	s.drained = nil
	s.next(c, n)
	p := upTo(s.drained)
	if s.beyond == 0 {
		_ = l.save(context.Background(), c, p)
	} else { // what it says is true, what it saves is not
		far := upTo(s.drained)
		for i := range far.Lanes {
			far.Lanes[i].Next += s.beyond
		}
		_ = c.Save(context.Background(), far)
		for _, lane := range p.Lanes {
			l.settled[lane.Lane], l.maybe[lane.Lane] = lane.Next, lane.Next
		}
	}
	s.next(c, 3)
	for _, m := range s.drained {
		l.places[string(m.Value)] = m.Place
	}
	_ = c.Release(context.Background())
}

// claim takes any chain, trying again after errors.
func (s *life) claim(q *queue.Queue) *queue.Claim {
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		c, err := q.Claim(ctx)
		cancel()
		if err == nil {
			return c
		}
	}
	return nil
}

// next takes out up to n messages, a few at a time.
func (s *life) next(c *queue.Claim, n int) {
	for failures := 0; n > 0 && failures < 3; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		msgs, err := c.Next(ctx, min(n, 3))
		cancel()
		if err != nil {
			failures++
			continue
		}
		s.drained = append(s.drained, msgs...)
		n -= len(msgs)
	}
}

// lie wraps a machine's file system in one that does not do what it says.
type lie func(fsys durable.FS) durable.FS

func honest(fsys durable.FS) durable.FS { return fsys }

// script is what is run under every fault.
type script struct {
	name string
	// before is run on a sound disk; what it leaves is taken over.
	before func(disk *faultfs.FS, l *ledger) *faultfs.FS
	lie    lie
	life   life
}

// killedBefore leaves the lanes of a process that was killed.
func killedBefore(disk *faultfs.FS, l *ledger) *faultfs.FS {
	(&life{name: "before"}).run(killer{disk}, l)
	return disk.Restart()
}

// killer ends a machine where a lane would be ended with its fence.
type killer struct{ *faultfs.FS }

// OpenWrite opens the fence for writing at that place only.
func (k killer) OpenWrite(name string) (durable.File, error) {
	if path.Base(name) == "fence" {
		k.Crash()
	}
	return k.FS.OpenWrite(name)
}

// outcomes are what may be left of a machine's disk.
func outcomes(disk *faultfs.FS, cuts int) map[string]*faultfs.FS {
	all := map[string]*faultfs.FS{
		"process killed":                  disk.Restart(),
		"process killed, then power cut":  disk.Restart().RebootBare(),
		"power cut that loses all it may": disk.RebootBare(),
	}
	for i := range cuts {
		all[fmt.Sprintf("power cut %d", i+1)] = disk.Reboot()
	}
	return all
}

// clone is a ledger of its own, for one outcome.
func (l *ledger) clone() *ledger {
	c := newLedger()
	c.steps = l.steps
	c.groups = append(c.groups, l.groups...)
	for v, i := range l.order {
		c.order[v], c.group[v] = i, l.group[v]
	}
	for v, p := range l.places {
		c.places[v] = p
	}
	for lane, n := range l.settled {
		c.settled[lane] = n
	}
	for lane, n := range l.maybe {
		c.maybe[lane] = n
	}
	return c
}

// try runs the script once with the fault, if there is one, and checks every
// outcome. It returns how many operations the script made.
func (s script) try(t *testing.T, seed uint64, k int, fault *faultfs.Fault) (ops int, failures []string) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(seed), newLedger()
		if s.before != nil {
			disk = s.before(disk, l)
		}
		base := disk.Ops()
		if fault != nil {
			disk.At(base+k, *fault)
		}
		life := s.life
		life.run(s.lie(disk), l)
		ops = disk.Ops() - base
		for outcome, left := range outcomes(disk, 2) {
			if err := s.verify(t, left, l.clone()); err != nil {
				trace := disk.Trace()
				what := "no fault"
				if fault != nil && base+k < len(trace) {
					what = trace[base+k].String()
				}
				failures = append(failures, fmt.Sprintf("seed %d, %s at %d: %s, then %s: %v", seed, s.name, k, what, outcome, err))
				if os.Getenv("POSTROAD_TRACE") != "" {
					failures = append(failures, trace.String(), left.Trace().String())
				}
			}
		}
	})
	return ops, failures
}

// verify drains what is left, lives another life on it, and cuts the power at
// the end of that: a disk on which one process was killed has to be as good a
// ground for the next one as a new one.
func (s script) verify(t testing.TB, disk *faultfs.FS, l *ledger) error {
	chains, err := drainAll(disk, faultOptions(), false)
	if err != nil {
		return err
	}
	if err := l.clone().check(chains); err != nil {
		return err
	}
	for _, r := range reports(t, disk, "queue") {
		if r.Kind == "damage" {
			return fmt.Errorf("false alarm: %+v", r)
		}
	}
	second := life{name: "second"}
	second.run(disk, l)
	cut := disk.RebootBare()
	if chains, err = drainAll(cut, faultOptions(), true); err != nil {
		return fmt.Errorf("second life: %w", err)
	}
	if err := l.check(chains); err != nil {
		return fmt.Errorf("second life: %w", err)
	}
	for _, chain := range chains {
		for _, p := range upTo(chain).Lanes {
			l.settled[p.Lane], l.maybe[p.Lane] = p.Next, p.Next
		}
	}
	if chains, err = drainAll(cut.RebootBare(), faultOptions(), true); err != nil {
		return fmt.Errorf("third life: %w", err)
	}
	if err := l.check(chains); err != nil {
		return fmt.Errorf("third life: %w", err)
	}
	return nil
}

var scripts = []script{
	{name: "fresh", lie: honest, life: life{name: "first"}},
	{name: "after a kill", before: killedBefore, lie: honest, life: life{name: "first"}},
}

// faults are tried at each operation.
func faults() []faultfs.Fault {
	return append(faultfs.Faults(), faultfs.FailBefore(syscall.ENOSPC))
}

// sweep tries faults at operations: all, or one in step beginning at a place
// that the seed chooses. It stops after the first few failures.
func (s script) sweep(t *testing.T, seed uint64, step int) (failures []string) {
	ops, failures := s.try(t, seed, 0, nil)
	if ops == 0 {
		t.Fatal("the script made no operation")
	}
	tried := 0
	for k := range ops {
		for i, fault := range faults() {
			if (uint64(k*len(faults())+i)+seed)%uint64(step) != 0 {
				continue
			}
			tried++
			_, failed := s.try(t, seed, k, &fault)
			if failures = append(failures, failed...); len(failures) > 5 {
				return failures
			}
		}
	}
	t.Logf("%s: %d operations, %d faults tried, seed %d", s.name, ops, tried, seed)
	return failures
}

// TestEveryFault runs the scripts with one fault each time: an error before,
// in or after an operation, or the end of the machine there; then a kill or a
// power cut; and holds what is drained against what was answered. In each run
// of the tests some of the operations are tried; by the proofs, each.
func TestEveryFault(t *testing.T) {
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) { everyFault(t, s, 400) })
	}
}

func everyFault(t *testing.T, s script, step int) {
	for _, f := range s.sweep(t, uint64(time.Now().UnixNano()%1e6), step) {
		t.Error(f)
	}
}

// skipping leaves out the operations that a lie is about.
type skipping struct {
	durable.FS
	noSync, noSyncDir bool
}

func (f skipping) SyncDir(name string) error {
	if f.noSyncDir {
		return nil
	}
	return f.FS.SyncDir(name)
}

func (f skipping) Create(name string) (durable.File, error) { return f.wrap(f.FS.Create(name)) }

func (f skipping) OpenWrite(name string) (durable.File, error) { return f.wrap(f.FS.OpenWrite(name)) }

func (f skipping) wrap(file durable.File, err error) (durable.File, error) {
	if err != nil || !f.noSync {
		return file, err
	}
	return unsynced{file}, nil
}

type unsynced struct{ durable.File }

func (unsynced) Datasync() error { return nil }

// TestSabotageIsCaught runs the same check on queues that cannot keep the
// promise. A check that lets one of them pass is worth nothing.
func TestSabotageIsCaught(t *testing.T) {
	for name, s := range map[string]script{
		"no sync of content":     {lie: func(fsys durable.FS) durable.FS { return skipping{FS: fsys, noSync: true} }},
		"no sync of directories": {lie: func(fsys durable.FS) durable.FS { return skipping{FS: fsys, noSyncDir: true} }},
		"progress too far":       {lie: honest, life: life{beyond: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			s.name, s.life.name = name, "first"
			_, failures := s.try(t, 1, 0, nil)
			if len(failures) == 0 {
				t.Error("not caught")
			}
			t.Log(failures)
		})
	}
}
