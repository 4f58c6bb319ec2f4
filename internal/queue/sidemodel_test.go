package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/queue"
)

// sideModel does random things with two processes in one directory.
type sideModel struct {
	rng    *rand.Rand
	disk   *faultfs.FS
	book   *sideBook
	procs  []*sideProcess
	born   int
	topics []string
	early  bool
	lie    *atomic.Bool // the disk's; nil for an honest one
	log    []string
}

type sideProcess struct {
	n       int
	q       *queue.Queue
	stop    func()
	holders []*sideHolder
}

func newSideModel(seed uint64) *sideModel {
	m := &sideModel{rng: rand.New(rand.NewPCG(seed, 11)), disk: faultfs.New(seed), book: newSideBook()}
	m.topics = []string{"a", "b", "c"}[:2+m.rng.IntN(2)]
	return m
}

func (m *sideModel) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

func (m *sideModel) options() queue.Options {
	o := faultOptions()
	o.Retain = 20 * time.Second
	return o
}

// start opens a process.
func (m *sideModel) start() {
	var fsys durable.FS = m.disk
	if m.lie != nil {
		fsys = lyingSides{m.disk, m.lie}
	}
	q, err := queue.Open(m.options(), onDisk(fsys, silent))
	m.born++
	m.note("process %d: %v", m.born, err)
	if err == nil {
		m.procs = append(m.procs, &sideProcess{n: m.born, q: q, stop: run(q)})
	}
}

// live has processes work until the machine stops or they all end.
func (m *sideModel) live() (err error) {
	m.start()
	for range 20 + m.rng.IntN(60) {
		if err = m.step(); err != nil {
			break
		}
	}
	cut := m.rng.IntN(4)
	m.note("end %d", cut)
	if cut > 0 {
		m.disk.Crash()
	}
	for len(m.procs) > 0 {
		m.end(0)
	}
	if cut < 2 {
		m.disk = m.disk.Restart()
	} else {
		m.disk = m.disk.Reboot()
	}
	return err
}

// end stops a process, which releases its claims or leaves them to be taken over.
func (m *sideModel) end(i int) {
	p := m.procs[i]
	if m.rng.IntN(2) == 0 {
		for _, h := range p.holders {
			_ = h.c.Release(context.Background())
		}
	}
	p.stop()
	m.procs = slices.Delete(m.procs, i, i+1)
}

func (m *sideModel) step() error {
	if len(m.procs) == 0 {
		m.start()
		return nil
	}
	i := m.rng.IntN(len(m.procs))
	p := m.procs[i]
	switch n := m.rng.IntN(40); {
	case n < 8:
		topic := m.topics[m.rng.IntN(len(m.topics))]
		size := 10
		if m.rng.IntN(4) == 0 {
			size = m.rng.IntN(40 << 10)
		}
		err := m.book.append(p.q, p.n, topic, size)
		m.note("%d: append m%d of %s: %v", p.n, len(m.book.facts), topic, err)
	case n < 12:
		m.claim(p)
	case n < 34:
		if len(p.holders) > 0 {
			return m.forward(p)
		}
		m.claim(p)
	case n < 35:
		return m.letters(p)
	case n < 37:
		d := time.Duration(1+m.rng.IntN(60)) * time.Second
		m.note("wait %v", d)
		wait(d)
		return m.locate(p)
	case n < 38:
		m.fault()
	case len(m.procs) == 1:
		m.start()
	default:
		m.note("%d: end", p.n)
		m.end(i)
	}
	return nil
}

func (m *sideModel) claim(p *sideProcess) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := p.q.Claim(ctx)
	if err == nil {
		h := newSideHolder(c, m.book)
		h.early = m.early
		p.holders = append(p.holders, h)
		m.note("%d: claim %s, held %v", p.n, c.ID(), c.Held())
	}
}

// forward does one thing that a forwarder does.
func (m *sideModel) forward(p *sideProcess) (err error) {
	i := m.rng.IntN(len(p.holders))
	h := p.holders[i]
	topic := m.topics[m.rng.IntN(len(m.topics))]
	n := 1 + m.rng.IntN(5)
	what := m.rng.IntN(22)
	switch {
	case h.gone, what < 1:
		m.note("%d: release %s: %v", p.n, h.c.ID(), h.c.Release(context.Background()))
		p.holders = slices.Delete(p.holders, i, i+1)
	case what < 6:
		n, err = h.next(n)
		m.note("%d: next of %s: %d", p.n, h.c.ID(), n)
	case what < 9:
		if h.aside[topic] {
			over, err := h.nextHeld(topic, n)
			m.note("%d: next held of %s %s: %v", p.n, h.c.ID(), topic, over)
			return err
		}
	case what < 13:
		m.note("%d: send of %s %s up to %d", p.n, h.c.ID(), topic, n)
		return h.send(topic, n)
	case what < 17:
		k := min(n, len(h.waiting[topic]))
		if m.lie != nil {
			m.lie.Store(true)
		}
		moved := h.divert(topic, n)
		if m.lie != nil {
			m.lie.Store(false)
		}
		m.note("%d: divert of %s %s %d: %v", p.n, h.c.ID(), topic, k, moved)
	case what < 18:
		m.note("%d: bury of %s %s: %v", p.n, h.c.ID(), topic, h.bury(topic))
	default:
		m.note("%d: save %s: %v", p.n, h.c.ID(), h.save())
	}
	return err
}

// letters releases or discards what is dead of a topic.
func (m *sideModel) letters(p *sideProcess) error {
	d, _, err := openLetters(m.disk)
	if err != nil {
		m.note("letters: %v", err)
		return nil
	}
	f := queue.LetterFilter{Topic: m.topics[m.rng.IntN(len(m.topics))]}
	release := m.rng.IntN(2) == 0
	err = d.Each(context.Background(), f, func(l queue.Letter) error { // before, since it may be done in part
		fact := m.book.facts[string(l.Value)]
		if fact == nil {
			return fmt.Errorf("letter %s was never appended", short(string(l.Value)))
		}
		fact.released = fact.released || release
		fact.discarded = fact.discarded || !release
		return nil
	})
	if err != nil {
		m.note("letters: %v", err)
		return nil
	}
	if release {
		err = d.Release(context.Background(), p.q, f, "test", func(l queue.Letter) {
			fact := m.book.facts[string(l.Value)]
			fact.saved, fact.maybe = false, false // the copy must come
		})
	} else {
		err = d.Discard(context.Background(), f, "test", func(queue.Letter) {})
	}
	m.note("%d: letters of %s, released: %v: %v", p.n, f.Topic, release, err)
	return nil
}

func (m *sideModel) locate(p *sideProcess) error {
	_, open, err := openLetters(m.disk)
	if err != nil {
		return nil
	}
	if err := m.book.located(p.q, open); err != nil && !errors.Is(err, syscall.EIO) && !errors.Is(err, faultfs.ErrCrashed) {
		return err
	}
	return nil
}

// fault has one of the next operations fail, or the machine end there.
func (m *sideModel) fault() {
	kinds := []faultfs.Kind{faultfs.OpSync, faultfs.OpSync, faultfs.OpWrite, faultfs.OpWrite, faultfs.OpCreate, faultfs.OpSyncDir, faultfs.OpRead, faultfs.OpOpen, faultfs.OpRemove, faultfs.OpMkdir}
	faults := []faultfs.Fault{
		faultfs.FailBefore(syscall.EIO), faultfs.FailTorn(syscall.EIO), faultfs.FailAfter(syscall.EIO), faultfs.FailBefore(syscall.ENOSPC),
		faultfs.CrashBefore(), faultfs.CrashTorn(), faultfs.CrashAfter(),
	}
	match := faultfs.Match{Kind: kinds[m.rng.IntN(len(kinds))], Nth: 1 + m.rng.IntN(4)}
	fault := faults[m.rng.IntN(len(faults))]
	m.disk.When(match, fault)
	m.note("from now on the %d. %s will %v", match.Nth, match.Kind, fault)
}

// world is some lives on one disk, and what they leave after each.
func (m *sideModel) world(lives int) error {
	for range lives {
		if err := m.live(); err != nil {
			return err
		}
		base := m.disk
		probe := base.Restart()
		m.disk = base.Restart()
		if err := m.book.clone().audit(probe, m.options(), m.topics); err != nil {
			return fmt.Errorf("after a life: %w", err)
		}
	}
	return nil
}

// TestSideModel does random things with chains, side lanes and dead letters.
// POSTROAD_SEED replays one seed.
func TestSideModel(t *testing.T) { manySideModels(t, 20) }

func manySideModels(t *testing.T, runs int) {
	first := uint64(time.Now().UnixNano() % 1e9)
	if s := os.Getenv("POSTROAD_SEED"); s != "" {
		var err error
		if first, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
		runs = min(runs, 1)
	}
	t.Logf("seeds from %d on", first)
	for seed := first; seed < first+uint64(runs) && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) {
			m := newSideModel(seed)
			if err := m.world(1 + m.rng.IntN(4)); err != nil {
				for _, line := range m.log {
					t.Log(line)
				}
				t.Errorf("POSTROAD_SEED=%d: %v", seed, err)
			}
		})
	}
}

// lyingSides is a file system that does not sync segments made while on: those of
// side lanes.
type lyingSides struct {
	durable.FS
	on *atomic.Bool
}

// Create makes a segment that is never synced, while the lie is on.
func (f lyingSides) Create(name string) (durable.File, error) {
	file, err := f.FS.Create(name)
	if err != nil || !f.on.Load() || !strings.HasSuffix(name, ".seg") {
		return file, err
	}
	return unsynced{file}, nil
}

// TestSideModelIsNotBlind: forwarders or disks that lose side lanes do not pass.
func TestSideModelIsNotBlind(t *testing.T) {
	for name, sabotage := range map[string]func(m *sideModel){
		"progress saved before Divert returns": func(m *sideModel) { m.early = true },
		"side lanes not synced":                func(m *sideModel) { m.lie = new(atomic.Bool) },
	} {
		t.Run(name, func(t *testing.T) {
			var caught error
			for seed := uint64(1); seed < 200 && caught == nil; seed++ {
				synctest.Test(t, func(t *testing.T) {
					m := newSideModel(seed)
					sabotage(m)
					caught = m.world(3)
				})
			}
			if caught == nil {
				t.Error("not caught")
			}
			t.Log(caught)
		})
	}
}
