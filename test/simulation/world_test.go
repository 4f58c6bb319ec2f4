package simulation

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/forward"
	"postroad/internal/gateway"
	"postroad/internal/queue"
)

// plan is what a seed makes of a run.
type plan struct {
	window   int
	topics   []string
	clients  int
	messages int // of each client
	size     int // of a body, at most, in bytes
	deaf     int // how many in a hundred answers do not reach the client
	pace     time.Duration
	slow     time.Duration // how long a request takes to the hub, at most
	upset    time.Duration // between two disturbances, on average
	second   [4]bool       // a second gateway and a second forwarder of each stamp
	queue    queue.Options
	forward  forward.Options
	share    faultfs.ShareOptions
	upsets   []disturbance
	settle   time.Duration // how long all may take to be in the hub in the end
	// stopForwarders has the clocks of paused forwarders stand still.
	stopForwarders bool
	// leastParts is how many partitions a topic has at least.
	leastParts int32
}

// window is W of the simulation's readers: so small that "beyond W" happens.
const window = 64

func newPlan(rng *rand.Rand) plan {
	p := plan{
		window: window, topics: []string{"orders", "events"}[:1+rng.IntN(2)],
		clients: 3 + rng.IntN(5), messages: 30 + rng.IntN(60), size: 1 + rng.IntN(1500), deaf: 6,
		pace:   time.Duration(50+rng.IntN(400)) * time.Millisecond,
		upsets: disturbances(), settle: settleLimit, slow: time.Duration(1+rng.IntN(60)) * time.Millisecond, upset: time.Duration(3+rng.IntN(12)) * time.Second,
		queue: queue.DefaultOptions(), forward: forward.DefaultOptions(),
	}
	for i := range p.second {
		p.second[i] = rng.IntN(3) == 0
	}
	q := &p.queue
	q.Dir, q.SegmentBytes, q.BallastBytes, q.ReserveBytes = "/queue", 64<<10, 0, 64<<10
	if rng.IntN(4) == 0 {
		q.BallastBytes = 1 << 20
	}
	if rng.IntN(3) == 0 {
		q.Retain = time.Duration(rng.IntN(60)) * time.Second
	}
	f := &p.forward
	f.SaveInterval = time.Duration(500+rng.IntN(4500)) * time.Millisecond
	f.MaxInFlight, f.Batch = 1+rng.IntN(500), 1+rng.IntN(100)
	f.HoldInterval, f.ProbeInterval = 5*time.Second, time.Second
	f.HoldAfter = time.Duration(rng.IntN(30)) * time.Second
	f.RefreshAfter = time.Duration(5+rng.IntN(60)) * time.Second
	f.TakeoverWait = 2 * landLimit
	f.LateAfter = time.Duration(5+rng.IntN(30)) * time.Second
	if rng.IntN(4) == 0 {
		p.share.SMB, p.share.DeletePending = true, rng.IntN(2) == 0
	}
	if rng.IntN(4) == 0 {
		p.share.Granularity = 4 * time.Millisecond
	}
	p.share.LookupCache = faultfs.LookupCache(rng.IntN(3) * rng.IntN(2))
	return p
}

// stamp is a share and the processes on its two hosts.
type stamp struct {
	name     string
	share    *faultfs.Share
	gateways []*slot
	forwards []*slot
	hosts    [2]string
	// trouble is when the share was last not itself.
	trouble atomic.Int64
}

func (s *stamp) upset(at time.Duration) { s.trouble.Store(max(s.trouble.Load(), int64(at))) }

func (s *stamp) slots() []*slot { return append(append([]*slot(nil), s.gateways...), s.forwards...) }

// sabotage is what a twin has broken; the zero value nothing.
type sabotage struct {
	spoil   spoil
	store   func(gateway.Store) gateway.Store
	sink    func(*link) forward.Sink
	twins   func(*link) forward.Log
	options func(*plan)
}

// world is one run.
type world struct {
	seed     uint64
	rng      *rand.Rand // of the plan and the disturbances
	plan     plan
	sabotage sabotage
	began    time.Time
	hub      *hub
	stamps   [2]*stamp
	wg       sync.WaitGroup
	ledger   ledger
	leftOut  atomic.Int64 // late twins that forwarders did not send

	mu    sync.Mutex
	log   bytes.Buffer // guarded by mu
	wrong error        // guarded by mu: the first thing that must not happen
}

func (w *world) random(of string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(of))
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

func (w *world) elapsed() time.Duration { return time.Since(w.began) }

// decide writes to the log of decisions.
func (w *world) decide(format string, args ...any) {
	at := w.elapsed()
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(&w.log, "%9.3fs ", at.Seconds())
	fmt.Fprintf(&w.log, format, args...)
	w.log.WriteByte('\n')
}

func (w *world) fail(err error) {
	w.decide("WRONG: %v", err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrong == nil {
		w.wrong = err
	}
}

type logWriter struct{ w *world }

func (l logWriter) Write(b []byte) (int, error) {
	l.w.decide("    %s", strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

func newWorld(seed uint64, s sabotage) *world {
	w := &world{seed: seed, sabotage: s, began: time.Now()}
	w.rng = w.random("plan")
	w.plan = newPlan(w.rng)
	if s.options != nil {
		s.options(&w.plan)
	}
	w.ledger.init()
	w.hub = newHub(w)
	for i, name := range []string{"A", "B"} {
		w.stamps[i] = w.newStamp(i, name)
	}
	w.decide("seed %d: %+v", seed, w.plan)
	return w
}

func (w *world) newStamp(i int, name string) *stamp {
	s := &stamp{name: name, share: faultfs.NewShare(w.rng.Uint64(), w.plan.share), hosts: [2]string{name + "1", name + "2"}}
	add := func(name, host string, gateway bool) {
		sl := &slot{w: w, name: s.name + "-" + name, stamp: s, host: host, gateway: gateway}
		if gateway {
			s.gateways = append(s.gateways, sl)
		} else {
			s.forwards = append(s.forwards, sl)
		}
	}
	add("gateway1", s.hosts[0], true)
	add("forward1", s.hosts[1], false)
	if w.plan.second[2*i] {
		add("gateway2", s.hosts[1], true)
	}
	if w.plan.second[2*i+1] {
		add("forward2", s.hosts[0], false)
	}
	return s
}

// anyGateway is a gateway of a stamp that runs, or nil.
func (w *world) anyGateway(stamp, which int) *process {
	all := w.stamps[stamp].gateways
	for i := range all {
		if p := all[(which+i)%len(all)].current(); p != nil {
			return p
		}
	}
	return nil
}

// verdict is what a run came to.
type verdict struct {
	err error
	log string
	// counts are by what they count, for the log of a test.
	counts counts
}

// simulate plays one seed.
func simulate(t *testing.T, seed uint64, s sabotage) (v verdict) {
	synctest.Test(t, func(*testing.T) {
		w := newWorld(seed, s)
		w.play()
		v.counts, v.err = w.judge()
		v.log = w.log.String() + w.lastOps()
	})
	return v
}

// lastOps is what the shares did last, as many operations of each as
// POSTROAD_SIMULATION_OPS says.
func (w *world) lastOps() string {
	n, err := strconv.Atoi(os.Getenv("POSTROAD_SIMULATION_OPS"))
	if err != nil {
		return ""
	}
	return w.stamps[0].share.History(n) + w.stamps[1].share.History(n)
}

// settleLimit is how long after everything has healed all must be at the reader:
// caches, timeouts and takeovers, several times.
const settleLimit = 15 * time.Minute

func (w *world) play() {
	up, down := context.WithCancel(context.Background())
	var slots sync.WaitGroup
	for _, st := range w.stamps {
		for _, sl := range st.slots() {
			slots.Go(func() { sl.keep(up) })
		}
	}
	<-time.After(2 * time.Second)
	upset, calm := context.WithCancel(context.Background())
	var trouble sync.WaitGroup
	trouble.Go(func() { w.disturb(upset) })
	var clients sync.WaitGroup
	for i := range w.plan.clients {
		c := &client{w: w, name: fmt.Sprintf("c%d", i), home: i % 2, rng: w.random(fmt.Sprintf("client %d", i))}
		clients.Go(func() { c.run(context.Background(), w.plan.messages) })
	}
	clients.Wait()
	calm()
	trouble.Wait()
	w.heal()
	w.wg.Wait() // pauses end, late attempts arrive
	w.decide("all is healed")
	limit := w.elapsed() + w.plan.settle
	for missing := w.missing(); missing > 0 && w.elapsed() < limit; missing = w.missing() {
		<-time.After(time.Second)
	}
	w.decide("%d missing", w.missing())
	<-time.After(time.Minute) // what comes twice comes by then
	down()
	slots.Wait()
	w.hub.late.Wait()
}

// ownLane is the lane that a path leads into, or "".
func laneOf(name string) string {
	if path.Base(path.Dir(path.Dir(name))) == "lanes" {
		return path.Base(path.Dir(name))
	}
	return ""
}
