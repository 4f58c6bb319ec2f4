package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// model does random things to a queue over several processes' lives and holds
// what comes out against the ledger, which is all that a caller can know.
type model struct {
	rng    *rand.Rand
	disk   *faultfs.FS
	ledger *ledger
	made   int // values so far
	q      *queue.Queue
	claims []*held
	log    []string
}

// held is a claim with what was read by it.
type held struct {
	claim *queue.Claim
	read  []message.Stored
	over  bool
}

func (m *model) note(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

// options are small, so that segments roll and are removed within the test.
func (m *model) options() queue.Options {
	o := faultOptions()
	o.Retain = 20 * time.Second
	return o
}

// live is one process: it opens the queue, does random things and ends.
func (m *model) live() error {
	var err error
	for range 4 {
		if m.q, err = queue.Open(m.options(), onDisk(m.disk, silent)); err == nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	stop := run(m.q)
	m.claims = nil
	for range 10 + m.rng.IntN(40) {
		if err = m.step(); err != nil {
			break
		}
	}
	switch end := m.rng.IntN(4); {
	case err != nil || end < 2:
		m.note("close")
		m.releaseAll()
		stop()
		m.disk = m.disk.Restart()
	case end == 2:
		m.note("kill")
		m.disk = killed(m.disk, stop)
	default:
		m.note("power cut")
		m.disk = powerCut(m.disk, stop)
	}
	return err
}

func (m *model) releaseAll() {
	for _, h := range m.claims {
		if m.rng.IntN(3) > 0 {
			_ = h.claim.Release(context.Background())
		}
	}
}

// step does one thing, the frequent ones more often.
func (m *model) step() error {
	switch n := m.rng.IntN(20); {
	case n < 8:
		m.append()
	case n < 9:
		m.burst()
	case n < 11:
		m.claim()
	case n < 14:
		return m.read()
	case n < 15:
		m.save()
	case n < 16:
		m.release()
	case n < 17:
		d := time.Duration(m.rng.IntN(90)) * time.Second
		m.note("wait %v", d)
		wait(d)
	case n < 18:
		m.fault()
	default:
		m.capacity()
	}
	return nil
}

func (m *model) append() {
	var values []string
	for range 1 + m.rng.IntN(3) {
		m.made++
		size := 10
		if m.rng.IntN(3) == 0 {
			size = m.rng.IntN(40 << 10)
		}
		values = append(values, fill(fmt.Sprint("v", m.made), size))
	}
	err := m.ledger.append(context.Background(), m.q, values...)
	m.note("append %s +%d: %v", short(values[0]), len(values)-1, err)
}

// burst appends several groups that one sync is for, and may have that fail.
func (m *model) burst() {
	var groups [][]string
	for range 2 + m.rng.IntN(5) {
		var values []string
		for range 1 + m.rng.IntN(2) {
			m.made++
			values = append(values, fill(fmt.Sprint("v", m.made), m.rng.IntN(20<<10)))
		}
		groups = append(groups, values)
	}
	m.ledger.burst(context.Background(), m.q, m.disk, groups, func() {
		if m.rng.IntN(2) == 0 {
			m.fault()
		}
	})
	m.note("burst of %d groups up to v%d", len(groups), m.made)
}

func (m *model) claim() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := m.q.Claim(ctx)
	if err == nil {
		m.claims = append(m.claims, &held{claim: c})
	}
	m.note("claim: %v", err)
}

func (m *model) pick() (*held, int) {
	if len(m.claims) == 0 {
		return nil, 0
	}
	i := m.rng.IntN(len(m.claims))
	return m.claims[i], i
}

// read takes out some messages and checks their order.
func (m *model) read() error {
	h, _ := m.pick()
	if h == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	msgs, err := h.claim.Next(ctx, 1+m.rng.IntN(12))
	m.note("next: %d, %v", len(msgs), err)
	h.over = errors.Is(err, io.EOF)
	for _, msg := range msgs {
		v := string(msg.Value)
		at, known := m.ledger.order[v]
		switch {
		case !known:
			return fmt.Errorf("%q was read and never appended", short(v))
		case len(h.read) > 0 && at < m.ledger.order[string(h.read[len(h.read)-1].Value)]:
			return fmt.Errorf("%q was read out of order", short(v))
		case msg.Seq < m.ledger.settled[msg.Lane]:
			return fmt.Errorf("%q was read again: seq %d, settled below %d", short(v), msg.Seq, m.ledger.settled[msg.Lane])
		case surelyNot(m.ledger.groups[m.ledger.group[v]].err):
			return fmt.Errorf("%q was read although %w was answered", short(v), m.ledger.groups[m.ledger.group[v]].err)
		}
		m.ledger.places[v] = msg.Place
		h.read = append(h.read, msg)
	}
	return nil
}

// save marks a part of what was read.
func (m *model) save() {
	h, _ := m.pick()
	if h == nil || len(h.read) == 0 {
		return
	}
	n := 1 + m.rng.IntN(len(h.read))
	err := m.ledger.save(context.Background(), h.claim, upTo(h.read[:n]))
	m.note("save up to %v: %v", h.read[n-1].Place, err)
}

func (m *model) release() {
	h, i := m.pick()
	if h == nil {
		return
	}
	if h.over && m.rng.IntN(2) == 0 && len(h.read) > 0 {
		m.note("save all: %v", m.ledger.save(context.Background(), h.claim, upTo(h.read)))
	}
	m.note("release: %v", h.claim.Release(context.Background()))
	m.claims = append(m.claims[:i], m.claims[i+1:]...)
}

// fault has one of the next operations of a kind fail.
func (m *model) fault() {
	kinds := []faultfs.Kind{faultfs.OpSync, faultfs.OpSync, faultfs.OpWrite, faultfs.OpCreate, faultfs.OpSyncDir, faultfs.OpRead, faultfs.OpOpen, faultfs.OpRemove, faultfs.OpClose, faultfs.OpMkdir}
	match := faultfs.Match{Kind: kinds[m.rng.IntN(len(kinds))], Nth: 1 + m.rng.IntN(4)}
	fault := []faultfs.Fault{faultfs.FailBefore(syscall.EIO), faultfs.FailTorn(syscall.EIO), faultfs.FailAfter(syscall.EIO), faultfs.FailBefore(syscall.ENOSPC)}[m.rng.IntN(4)]
	m.disk.When(match, fault)
	m.note("from now on the %d. %s will %v", match.Nth, match.Kind, fault)
}

func (m *model) capacity() {
	if m.rng.IntN(3) == 0 {
		m.disk.SetCapacity(m.disk.Used() + m.rng.Int64N(200<<10))
		m.note("disk all but full")
	} else {
		m.disk.SetCapacity(faultfs.DefaultCapacity)
		m.note("room on the disk")
	}
}

// audit drains a copy of the disk and checks the ledger.
func (m *model) audit(t *testing.T) error {
	m.disk.SetCapacity(faultfs.DefaultCapacity)
	base := m.disk
	probe := base.Restart()
	m.disk = base.Restart()
	chains, err := drainAll(probe, m.options(), false)
	if err != nil {
		return err
	}
	for _, r := range reports(t, probe, "queue") {
		if r.Kind == "damage" {
			return fmt.Errorf("false alarm: %+v", r)
		}
	}
	return m.ledger.check(chains)
}

// TestModel does random things to queues. POSTROAD_SEED replays one seed.
func TestModel(t *testing.T) { manyModels(t, 25) }

func manyModels(t *testing.T, runs int) {
	first := uint64(time.Now().UnixNano() % 1e9)
	if s := os.Getenv("POSTROAD_SEED"); s != "" {
		var err error
		if first, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
		runs = 1
	}
	t.Logf("seeds from %d on", first)
	for seed := first; seed < first+uint64(runs); seed++ {
		synctest.Test(t, func(t *testing.T) {
			m := &model{rng: rand.New(rand.NewPCG(seed, 5)), disk: faultfs.New(seed), ledger: newLedger()}
			for life := range 2 + m.rng.IntN(4) {
				err := m.live()
				if err == nil {
					err = m.audit(t)
				}
				if err != nil {
					for _, line := range m.log {
						t.Log(line)
					}
					t.Fatalf("POSTROAD_SEED=%d, life %d: %v", seed, life, err)
				}
				m.note("next life")
			}
		})
		if t.Failed() {
			return
		}
	}
}
