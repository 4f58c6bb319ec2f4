package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/wal"
)

// keyLife is a process that keeps keys for an hour.
type keyLife struct {
	*Queue
	stop func()
}

func openKeyLife(t testing.TB, fsys durable.FS) keyLife {
	t.Helper()
	o := DefaultOptions()
	o.Dir, o.SegmentBytes, o.ReserveBytes = "queue", 64<<10, 0
	began := time.Now()
	q, err := Open(o, Deps{
		FS: fsys, Now: time.Now, Elapsed: func() time.Duration { return time.Since(began) }, KeysRetain: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = q.Run(ctx) })
	l := keyLife{q, sync.OnceFunc(func() {
		cancel()
		running.Wait()
		_ = q.Close()
	})}
	t.Cleanup(l.stop)
	return l
}

// keyModel does random things to keys over several processes' lives, and holds
// what Keys says against what was answered.
type keyModel struct {
	*testing.T
	rng  *rand.Rand
	disk *faultfs.FS
	made int
	// acked are the keys of acknowledged requests, with when they were.
	acked map[Key]time.Time
	// doubtful are those that were acknowledged too shortly before a crash for
	// anything on disk to tell.
	doubtful map[Key]bool
	// bare are the lanes without segments: their key files are all there is.
	bare map[string]bool
	log  []string
}

func (m *keyModel) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

// request makes messages, most of them under a key; one key in five is used for
// the second time.
func (m *keyModel) request() []message.Message {
	m.made++
	var msgs []message.Message
	n := 1
	if m.rng.IntN(3) == 0 {
		n += m.rng.IntN(6)
	}
	h := message.NewHasher("test")
	h.Uint(uint64(m.made - m.made%5/4))
	hash := h.Sum()
	if m.rng.IntN(5) == 0 {
		hash = message.Hash{}
	}
	for i := range n {
		msgs = append(msgs, message.Message{
			ID: message.DeriveID("p", "t", fmt.Sprint(m.made), message.Hash{}, i), Topic: "t", KeyHash: hash,
			Value: []byte(strings.Repeat("x", m.rng.IntN(3000))), Time: time.Now().UTC().Truncate(time.Microsecond),
		})
	}
	return msgs
}

// append stores requests, several at a time.
func (m *keyModel) append(l keyLife) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range 1 + m.rng.IntN(5) {
		msgs := m.request()
		wg.Go(func() {
			p, err := l.Append(context.Background(), msgs)
			if err != nil || msgs[0].KeyHash.IsZero() {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			m.acked[Key{msgs[0].KeyHash, message.GroupDigest(msgs), msgs[0].ID, p, msgs[0].Time}] = time.Now()
		})
	}
	wg.Wait()
}

// live is one process.
func (m *keyModel) live() {
	l := openKeyLife(m.T, m.disk)
	m.check(l, "at the start")
	steps := 5 + m.rng.IntN(40)
	for range steps {
		switch m.rng.IntN(10) {
		case 0, 1, 2, 3, 4, 5:
			m.append(l)
		case 6:
			<-time.After(time.Duration(m.rng.IntN(3000)) * time.Millisecond)
		case 7:
			if m.rng.IntN(4) == 0 {
				<-time.After(time.Duration(m.rng.IntN(50)) * time.Minute)
			}
		case 8:
			m.fail()
		case 9:
			m.removeSegments(l)
		}
	}
	m.end(l)
}

// fail has one operation fail: of a lane, which ends it, or of a key file. A sync
// of key files is spared: after a failed one, one that works promises nothing.
func (m *keyModel) fail() {
	name := []string{"*.seg", "*.keys", "*.keys", "keys"}[m.rng.IntN(4)]
	m.note("the next operation on %s fails", name)
	m.disk.When(faultfs.Match{Name: name, If: func(op faultfs.Op) bool {
		return op.Kind.Changes() && (name == "*.seg" || op.Kind != faultfs.OpSync && op.Kind != faultfs.OpSyncDir)
	}}, faultfs.Faults()[m.rng.IntN(3)])
}

// end stops or kills the process, or cuts the power.
func (m *keyModel) end(l keyLife) {
	now := time.Now()
	switch m.rng.IntN(3) {
	case 0:
		m.note("stop")
		l.stop()
		m.disk = m.disk.Restart()
		return
	case 1:
		m.note("kill")
		next := m.disk.Restart()
		l.stop()
		m.disk = next
	case 2:
		m.note("power cut")
		next := m.disk.Reboot()
		l.stop()
		m.disk = next
	}
	for k, at := range m.acked {
		if now.Sub(at) <= l.opts.HeartbeatInterval {
			m.doubtful[k] = true
		}
	}
	m.damage()
}

// damage flips a byte of a key file, or removes it, of a lane that has its
// segments.
func (m *keyModel) damage() {
	files, err := (&Queue{deps: Deps{FS: m.disk}, at: layout{"queue"}}).keyFiles()
	if err != nil {
		m.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f keyFile) bool { return m.bare[f.lane] })
	if len(files) == 0 || m.rng.IntN(2) == 0 {
		return
	}
	f := files[m.rng.IntN(len(files))]
	name := f.path(layout{"queue"})
	b, err := durable.ReadFile(m.disk, name, 1<<24)
	if err == nil && len(b) > 0 && m.rng.IntN(3) > 0 {
		at := m.rng.IntN(len(b))
		m.note("byte %d of %s is damaged", at, f.name())
		b[at] ^= 1 << m.rng.IntN(8)
		err = durable.Overwrite(m.disk, name, b)
	} else if err == nil {
		m.note("%s is removed", f.name())
		err = m.disk.Remove(name)
	}
	if err != nil {
		m.Fatal(err)
	}
}

// removeSegments makes key files cover a lane of another process and removes its
// segments.
func (m *keyModel) removeSegments(l keyLife) {
	names, err := l.laneNames()
	if err != nil {
		return
	}
	var others []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !l.keys.isOwn(name) && !m.bare[name] {
			others = append(others, name)
		}
	}
	if len(others) == 0 {
		return
	}
	id := others[m.rng.IntN(len(others))]
	if info, err := l.loadLane(id); err != nil || info.info.Owner.Process == l.self.Process {
		return
	}
	last := uint64(0)
	for k := range m.acked {
		if k.First.Lane == id {
			last = max(last, k.First.Seq)
		}
	}
	heal := m.disk.When(faultfs.Match{Name: "*.keys", Always: true}, faultfs.FailBefore(syscall.EIO))
	fails := m.rng.IntN(3) == 0
	if !fails {
		heal()
	}
	l.coverKeys(&lane{id: id}, last+1, time.Time{})
	if heal(); fails {
		l.coverKeys(&lane{id: id}, last+1, time.Time{})
	}
	if l.keys.covered[id] != last { // an older fault has hit it
		return
	}
	m.note("segments of %s are removed", id)
	m.bare[id] = true
	numbers, err := l.segments(id)
	for _, n := range numbers {
		err = errors.Join(err, m.disk.Remove(path.Join(l.at.lane(id), wal.Name(n))))
	}
	if err = errors.Join(err, m.disk.SyncDir(l.at.lane(id))); err != nil {
		m.note("not all of them: %v", err)
	}
}

// check compares what Keys says with what was answered.
func (m *keyModel) check(l keyLife, when string) {
	m.Helper()
	since := time.Now().Add(-time.Hour)
	got := map[Key]bool{}
	err := l.Keys(context.Background(), since, func(k Key) error {
		got[k] = true
		if _, ok := m.acked[k]; !ok {
			m.Errorf("%s: key %+v was never acknowledged so", when, k)
		}
		return nil
	})
	if err != nil {
		m.Errorf("%s: %v", when, err)
	}
	for k := range m.acked {
		switch {
		case got[k] && k.Time.Before(since):
			m.Errorf("%s: the key at %v is too old", when, k.First)
		case got[k], m.doubtful[k]: // what tells of one may be lost, or come
		case !k.Time.Before(since):
			m.Errorf("%s: the key at %v, acknowledged %v ago, is missing", when, k.First, time.Since(m.acked[k]))
		}
	}
}

func runKeyModel(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		m := &keyModel{
			T: t, rng: rand.New(rand.NewPCG(seed, 1)), disk: faultfs.New(seed),
			acked: map[Key]time.Time{}, doubtful: map[Key]bool{}, bare: map[string]bool{},
		}
		for life := 0; life < 5 && !t.Failed(); life++ {
			m.note("life %d", life)
			m.live()
		}
		m.check(openKeyLife(t, m.disk), "at the end")
		if t.Failed() {
			t.Logf("seed %d: %s", seed, strings.Join(m.log, "; "))
			if os.Getenv("POSTROAD_TRACE") != "" {
				t.Log(m.disk.Trace())
			}
		}
	})
}

// TestKeysAgainstModel: many small worlds; POSTROAD_SEED
// replays one.
func TestKeysAgainstModel(t *testing.T) { manyKeyModels(t, 25) }

func manyKeyModels(t *testing.T, worlds uint64) {
	seed := uint64(time.Now().UnixNano() % 1e9)
	if text := os.Getenv("POSTROAD_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
		worlds = 1
	}
	t.Logf("seeds from %d", seed)
	for i := range worlds {
		if runKeyModel(t, seed+i); t.Failed() {
			return
		}
	}
}
