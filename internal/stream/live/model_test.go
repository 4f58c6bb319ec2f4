package live_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/message"
	"postroad/internal/stream/live"
	"postroad/internal/stream/live/livetest"
)

// model does random things to a hub, to nodes that read it and to clients that
// move between them; an oracle that reads the whole log says what each must see.
type model struct {
	*world
	rng        *rand.Rand
	partitions int32
	sent       []live.Record // to be sent again
	appended   int
	// archive holds, by epoch, what partitions were that are not any more.
	archive map[string]*oracle
	raised  atomic.Bool // keys have come to stand in several partitions
	nodes   []*modelNode
	clients []*modelClient
	mu      sync.Mutex
	log     []string // guarded by mu
}

// modelNode is a node, and where the log began for it.
type modelNode struct {
	*node
	mu     sync.Mutex
	starts []int64 // by partition: where its log began, or went on after a gap
	dead   bool
}

// watched notes where what a node reads has a gap.
type watched struct {
	*livetest.View
	n *modelNode
}

func (v *watched) Follow(ctx context.Context, topic string, from []int64, fn func(*live.Batch) error) error {
	next := slices.Clone(from)
	v.n.mu.Lock()
	v.n.starts = slices.Clone(from)
	v.n.mu.Unlock()
	return v.View.Follow(ctx, topic, from, func(b *live.Batch) error {
		if b.From > next[b.Partition] {
			v.n.mu.Lock()
			v.n.starts[b.Partition] = b.From
			v.n.mu.Unlock()
		}
		next[b.Partition] = b.Next
		return fn(b)
	})
}

func (n *modelNode) start(p int32) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if int(p) >= len(n.starts) {
		return 0
	}
	return n.starts[p]
}

// modelClient is a subscriber that comes and goes. What it was shown since it last
// began afresh is judged.
type modelClient struct {
	m       *model
	subject live.Subject

	mu      sync.Mutex
	node    *modelNode
	sub     *live.Subscription
	now     *attempt
	started bool
	from    map[int32]int64 // where it began
	next    map[int32]int64
	epochs  map[int32]string
	began   map[int32]string // the epochs that from is of
	seen    map[int32][]seen
	failed  error
	fresh   int // times it began afresh though it had positions
	whole   int // times it was recovered
}

func (m *model) note(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

var modelKeys = []string{"a", "b", "c", "d", ""}

func newModel(w *world, rng *rand.Rand) *model {
	m := &model{world: w, rng: rng, partitions: 1 + rng.Int32N(3), archive: map[string]*oracle{}}
	w.hub.Make(topicName, m.partitions)
	w.opts.Window = []int{0, 3, 10, 40}[rng.IntN(4)]
	w.opts.DedupeHorizon = time.Minute
	w.opts.Ring.MaxRecords = []int{0, 1, 5, 30, 1000}[rng.IntN(5)]
	for range 1 + rng.IntN(8) {
		c := &modelClient{m: m, subject: key(modelKeys[rng.IntN(len(modelKeys))]), next: map[int32]int64{}, epochs: map[int32]string{}}
		switch rng.IntN(4) {
		case 0:
			c.subject = everything
		case 1:
			c.subject.All, c.subject.Key, c.subject.Partition = true, "", rng.Int32N(m.partitions)
		}
		m.clients = append(m.clients, c)
	}
	return m
}

// bounds are what the hub says now.
func (m *model) bounds() []live.Bounds {
	b, err := m.hub.Bounds(m.t.Context(), topicName)
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

func (m *model) start() {
	n := &modelNode{}
	view := m.hub.NewView()
	n.node = m.reading(&watched{View: view, n: n}, view)
	n.view.SetChunk(1 + m.rng.IntN(30))
	if m.rng.IntN(3) == 0 {
		n.view.SetDelay(time.Duration(m.rng.IntN(20)) * time.Millisecond)
	}
	m.nodes = append(m.nodes, n)
	m.note("node %d starts, %v", len(m.nodes)-1, m.bounds())
}

func (m *model) kill() {
	if len(m.nodes) == 0 {
		return
	}
	i := m.rng.IntN(len(m.nodes))
	n := m.nodes[i]
	for _, c := range m.clients {
		if c.at() == n {
			c.leave()
		}
	}
	n.stop()
	n.dead = true
	m.nodes = slices.Delete(m.nodes, i, i+1)
	m.note("node %d of them is killed", i)
}

func (m *model) append() {
	for range 1 + m.rng.IntN(10) {
		r := live.Record{Partition: m.rng.Int32N(m.partitions), Value: []byte(strconv.Itoa(m.appended)), Timestamp: time.Now()}
		r.Accepted = r.Timestamp.Add(-time.Duration(m.rng.IntN(20)) * time.Second)
		if k := modelKeys[m.rng.IntN(len(modelKeys))]; k != "" {
			r.Key, r.Partition = []byte(k), message.PartitionOf([]byte(k), m.partitions)
		}
		switch m.rng.IntN(12) {
		case 0: // no id
		case 1, 2, 3:
			r = m.again(r)
		default:
			r.ID, r.HasID = m.hub.Mint(), true
			m.sent = append(m.sent, r)
		}
		at := m.hub.Append(topicName, r)
		m.appended++
		m.note("append %d@%d key %q id %x replay %v", at, r.Partition, r.Key, r.ID[:2], r.Replay)
	}
}

// again is a copy of what was sent before: of one accepted within the horizon, or a
// replay.
func (m *model) again(r live.Record) live.Record {
	for range 10 {
		if len(m.sent) == 0 {
			break
		}
		was := m.sent[len(m.sent)-1-m.rng.IntN(min(len(m.sent), 60))]
		replay := m.rng.IntN(4) == 0
		if !replay && r.Accepted.Sub(was.Accepted).Abs() >= m.opts.DedupeHorizon-time.Second {
			continue
		}
		if replay {
			was.Replay = true
		} else {
			was.Accepted = r.Accepted
		}
		was.Timestamp = r.Timestamp
		if was.Key != nil {
			was.Partition = message.PartitionOf(was.Key, m.partitions)
		}
		return was
	}
	r.ID, r.HasID = m.hub.Mint(), true
	return r
}

func (m *model) truncate() {
	p := m.rng.Int32N(m.partitions)
	b := m.bounds()[p]
	if b.End > b.Start {
		to := b.Start + m.rng.Int64N(b.End-b.Start+1)
		m.hub.Truncate(topicName, p, to)
		m.note("partition %d is cut at %d", p, to)
	}
}

// epoch is that of a partition as it is.
func (m *model) epoch(p int32) string {
	is, err := m.hub.Describe(m.t.Context(), topicName)
	if err != nil {
		m.t.Fatal(err)
	}
	return live.Epoch(live.Identity{Name: "hub", Generation: 1}, topicName, is, p)
}

// change makes the topic anew, or gives it a partition.
func (m *model) change() {
	m.mu.Lock()
	for p := range m.partitions {
		m.archive[m.epoch(p)] = ask(m.hub, p, m.opts.Window)
	}
	m.mu.Unlock()
	if m.partitions < 5 && m.rng.IntN(2) == 0 {
		m.partitions++
		m.raised.Store(true)
		m.hub.Raise(topicName, m.partitions)
	} else {
		m.hub.Make(topicName, m.partitions)
		defer m.raised.Store(false) // what begins meanwhile may be of the topic that was
	}
	m.note("changed, %d partitions, raised %v", m.partitions, m.raised.Load())
	<-time.After(time.Duration(m.rng.IntN(5000)) * time.Millisecond)
	synctest.Wait()
}

// oracle is that of a partition of that epoch, as it is or was last.
func (m *model) oracle(epoch string, p int32) (o *oracle, was bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.archive[epoch]; o != nil {
		return o, true
	}
	return ask(m.hub, p, m.opts.Window), false
}

// step does one random thing.
func (m *model) step() {
	p := m.rng.Int32N(m.partitions)
	what := m.rng.IntN(30)
	if m.rng.IntN(150) == 0 {
		m.change()
		return
	}
	switch what {
	case 0:
		m.start()
	case 1:
		m.kill()
	case 2:
		m.truncate()
	case 3:
		m.hub.Abort(topicName, p, m.rng.IntN(5))
	case 4:
		m.hub.Open(topicName, p)
	case 5, 6:
		m.hub.Commit(topicName, p)
	case 7, 8:
		if len(m.nodes) > 0 {
			n := m.nodes[m.rng.IntN(len(m.nodes))]
			at := m.bounds()[p].End
			n.view.Hold(topicName, p, at)
			m.note("a node is held at %d@%d", at, p)
		}
	case 9, 10, 11:
		if len(m.nodes) > 0 {
			m.nodes[m.rng.IntN(len(m.nodes))].view.Hold(topicName, p, -1)
		}
	case 12:
		<-time.After(time.Duration(m.rng.IntN(100)) * time.Second)
	case 13, 14, 15, 16:
		<-time.After(time.Duration(m.rng.IntN(30)) * time.Millisecond)
	case 17, 18, 19, 20, 21:
		m.append()
	case 22:
		if len(m.nodes) > 0 {
			m.history(m.nodes[m.rng.IntN(len(m.nodes))])
		}
	default:
		c := m.clients[m.rng.IntN(len(m.clients))]
		if c.at() != nil {
			c.leave()
		} else if len(m.nodes) > 0 {
			c.join(m.nodes[m.rng.IntN(len(m.nodes))])
		}
	}
}

func (m *model) run() error {
	m.start()
	for range 100 + m.rng.IntN(200) {
		m.step()
		if m.rng.IntN(3) > 0 {
			synctest.Wait()
		}
		if err := m.failed(); err != nil {
			return err
		}
	}
	return m.settle()
}

func (m *model) failed() error {
	for i, c := range m.clients {
		c.mu.Lock()
		err := c.failed
		c.mu.Unlock()
		if err != nil {
			return fmt.Errorf("client %d of %v: %w", i, c.subject, err)
		}
	}
	return nil
}

// settle lets everything get to its end, and judges.
func (m *model) settle() error {
	m.note("settle")
	m.start()
	for p := range m.partitions {
		m.hub.Commit(topicName, p)
		for _, n := range m.nodes {
			n.view.Hold(topicName, p, -1)
		}
	}
	for range 6 {
		<-time.After(30 * time.Second)
		for _, c := range m.clients {
			if c.at() == nil {
				c.join(m.nodes[m.rng.IntN(len(m.nodes))])
			}
		}
	}
	<-time.After(30 * time.Second)
	synctest.Wait()
	if err := m.failed(); err != nil {
		return err
	}
	for i, c := range m.clients {
		if err := c.judge(); err != nil {
			return fmt.Errorf("client %d of %v: %w", i, c.subject, err)
		}
	}
	return nil
}

// TestModel does random things; POSTROAD_SEED replays one seed.
func TestModel(t *testing.T) { manyModels(t, 150) }

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
	whole, fresh := 0, 0
	for seed := first; seed < first+uint64(runs); seed++ {
		m, err := oneModel(t, seed, os.Getenv("POSTROAD_FLAW"))
		if err != nil {
			for _, line := range m.log {
				t.Log(line)
			}
			t.Fatalf("POSTROAD_SEED=%d: W %d, ring %d: %v", seed, m.opts.Window, m.opts.Ring.MaxRecords, err)
		}
		for _, c := range m.clients {
			whole, fresh = whole+c.whole, fresh+c.fresh
		}
	}
	t.Logf("recovered %d times, not %d times", whole, fresh)
	if runs > 50 && (whole == 0 || fresh == 0) {
		t.Error("the models never come to what they are for")
	}
}

func oneModel(t *testing.T, seed uint64, flaw string) (m *model, err error) {
	err = in(t, flaw, 0, func(w *world) error {
		m = newModel(w, rand.New(rand.NewPCG(seed, 4)))
		return m.run()
	})
	return m, err
}

// Each of these flaws is found by some model.
func TestModelFindsFlaws(t *testing.T) {
	for _, flaw := range []string{
		"noWindow", "replayHolds", "noFloor", "ringHasAll", "stopAtScan", "noLookBack", "cutStartIsFine", "silentGap", "latestOffset",
		"silentChange", "noEpoch",
	} {
		found := false
		for seed := uint64(1); seed <= 200 && !found; seed++ {
			_, err := oneModel(t, seed, flaw)
			if found = err != nil; found {
				t.Logf("%s: seed %d: %v", flaw, seed, err)
			}
		}
		if !found {
			t.Errorf("no model finds %s", flaw)
		}
	}
}

var errAllowed = []error{live.ErrNotReady, live.ErrBusy, livetest.ErrAway}

func allowed(err error) bool {
	return slices.ContainsFunc(errAllowed, func(e error) bool { return errors.Is(err, e) })
}
