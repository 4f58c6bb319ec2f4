package forward_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/forward"
	"postroad/internal/kafka"
	"postroad/internal/message"
)

// transactor makes sessions of a sink, and remembers them.
type transactor struct {
	sink *kafka.Sink
	// twist, if not nil, changes what is asked for.
	twist func(*kafka.TransactOptions)
	// wrap, if not nil, stands between the forwarder and the session.
	wrap func(*kafka.Session) forward.Session

	mu  sync.Mutex
	all []*kafka.Session // guarded by mu
}

func (x *transactor) Transact(ctx context.Context, o forward.Transacting) (forward.Session, error) {
	ko := kafka.TransactOptions{
		Chain: o.Chain, Hub: o.Hub, Topic: o.Topic, Interval: o.Interval, Messages: o.Messages,
		Lanes: o.Lanes, From: o.Record, Confirm: o.Confirm, Ended: o.Ended, Stale: o.Stale,
	}
	if x.twist != nil {
		x.twist(&ko)
	}
	s, err := x.sink.Transact(ctx, ko)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all = append(x.all, s)
	if x.wrap != nil {
		return x.wrap(s), nil
	}
	return s, nil
}

func exactOptions() forward.Options {
	o := testOptions()
	o.Delivery = forward.DeliveryExactlyOnce
	o.CommitInterval = 20 * time.Millisecond
	return o
}

// runExactly is run in exactly-once mode.
func runExactly(t testing.TB, o forward.Options, addr string, st ...*store) (f *forward.Forwarder, stop func()) {
	t.Helper()
	sink := newSink(t, addr)
	return run(t, o, forward.Deps{Source: sourceOf(st...), Sink: sink, Transactor: &transactor{sink: sink}})
}

func TestExactlyOnceDrainsAChain(t *testing.T) {
	_, addr := startCluster(t)
	st := newStore("a")
	want := msgs(laneA, 1, 3000)
	st.append(want...)
	_, stop := runExactly(t, exactOptions(), addr, st)
	st.await(t, "all settled", (*store).settled)
	stop()
	if err := judge(want, shown(t, addr, "messages", 0)); err != nil {
		t.Error(err)
	}
}

// zombie stands between a forwarder and its session. After pause it keeps what it
// is given, and after the forwarder's Close the session lives on, as in a process
// that was stopped in the middle and wakes: wake gives it what was kept.
type zombie struct {
	*kafka.Session
	boast  bool // see exactTwin
	mu     sync.Mutex
	paused bool           // guarded by mu, and all below
	kept   []func() error // produces
	open   map[int]func(int64, error)
	n      int
}

func (z *zombie) Known() bool { return z.boast || z.Session.Known() }

func (z *zombie) Produce(m *message.Stored, partition int32, turn uint64, done func(int64, error)) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.n++
	n := z.n
	if z.open == nil {
		z.open = map[int]func(int64, error){}
	}
	z.open[n] = done
	c := *m // the forwarder will give its memory away
	produce := func() error {
		return z.Session.Produce(&c, partition, turn, func(o int64, err error) { z.tell(n, o, err) })
	}
	if z.paused {
		z.kept = append(z.kept, produce)
		return nil
	}
	err := produce()
	if err != nil {
		delete(z.open, n)
	}
	return err
}

// tell hands an answer on, once.
func (z *zombie) tell(n int, offset int64, err error) {
	z.mu.Lock()
	done := z.open[n]
	delete(z.open, n)
	paused := z.paused
	z.mu.Unlock()
	if done != nil && !paused {
		done(offset, err)
	} else if done != nil {
		done(-1, errDead)
	}
}

func (z *zombie) pause() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.paused = true
}

func (z *zombie) Close() {
	z.mu.Lock()
	open := z.open
	z.open = nil
	z.paused = true
	z.mu.Unlock()
	for _, done := range open {
		done(-1, errDead)
	}
}

func (z *zombie) Wait() {}

// wake lets go of what was kept.
func (z *zombie) wake() {
	z.mu.Lock()
	kept := z.kept
	z.kept = nil
	z.mu.Unlock()
	for _, produce := range kept {
		_ = produce()
	}
	z.Session.Hurry()
}

// bury ends a zombie for good.
func (z *zombie) bury() {
	z.Session.Close()
	z.Session.Wait()
}

// exactTwin is what a twin does otherwise.
type exactTwin struct {
	twist func(*kafka.TransactOptions)
	// boast has sessions say that there was a record.
	boast bool
	// apart counts what stands in the topic whatever became of its transaction, as
	// if messages were not sent in the one that holds progress.
	apart bool
	// hold, if not nil, has the hub refuse the topic "other" or not; every second
	// message is of it then. It is no sabotage.
	hold func(refused bool)
}

// exactLife runs a forwarder in exactly-once mode until it dies at a random point.
// The session dies with it, or lives on as a zombie, which is returned.
func exactLife(t *testing.T, rng *rand.Rand, st *store, addr string, twin exactTwin) *zombie {
	t.Helper()
	o := exactOptions()
	o.MaxInFlight, o.Batch, o.SaveMessages = 1+rng.IntN(400), 1+rng.IntN(60), 1+rng.IntN(300)
	o.CommitInterval, o.CommitMessages = time.Duration(1+rng.IntN(30))*time.Millisecond, 1+rng.IntN(200)
	o.DrainTimeout, o.HoldAfter = 0, time.Duration(rng.IntN(100))*time.Millisecond
	undead := rng.IntN(2) == 0
	sink, src := newSink(t, addr), sourceOf(st)
	var z *zombie
	var mu sync.Mutex
	x := &transactor{sink: sink, twist: twin.twist, wrap: func(s *kafka.Session) forward.Session {
		mu.Lock()
		defer mu.Unlock()
		z = &zombie{Session: s, boast: twin.boast}
		return z
	}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	left := rng.IntN(700)
	die := sync.OnceFunc(func() {
		src.all[0].kill()
		mu.Lock()
		defer mu.Unlock()
		if z != nil {
			z.pause()
			if !undead {
				z.Session.Close()
			}
		}
		cancel()
	})
	var count sync.Mutex
	f, err := forward.New(o, forward.Deps{Source: src, Sink: sink, Transactor: x, InFlight: func(delta int) {
		count.Lock()
		defer count.Unlock()
		if left += min(delta, 0); left <= 0 && delta < 0 {
			go die() // the caller holds what Close may wait for
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Duration(20+rng.IntN(600))*time.Millisecond, die)
	defer late.Stop()
	if err := f.Run(ctx); err != nil {
		t.Fatal(err)
	}
	die()
	mu.Lock()
	defer mu.Unlock()
	switch {
	case z == nil:
	case undead:
		return z
	default:
		z.bury()
	}
	return nil
}

// exactCrashes lets forwarders in exactly-once mode die over one store until the
// last one finishes, with zombies that wake while it runs, and counts the topic's
// own records.
func exactCrashes(t *testing.T, seed uint64, twin exactTwin) error {
	t.Helper()
	_, addr := startCluster(t)
	return exactTakeovers(t, seed, twin, addr, 5)
}

// exactTakeovers is exactCrashes on a hub that is there, with so many deaths.
func exactTakeovers(t *testing.T, seed uint64, twin exactTwin, addr string, deaths int) error {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	st := newStore("a")
	var want []message.Stored
	var undead []*zombie
	defer func() {
		for _, z := range undead {
			z.bury()
		}
	}()
	seq := uint64(1)
	for range deaths {
		more := twin.topics(msgs(laneA, seq, seq+uint64(rng.IntN(900))))
		seq += uint64(len(more))
		want = append(want, more...)
		st.append(more...)
		twin.refuse(rng.IntN(2) == 0)
		z := exactLife(t, rng, st, addr, twin)
		for _, old := range undead {
			old.wake()
		}
		if z != nil {
			undead = append(undead, z)
		}
	}
	more := twin.topics(msgs(laneA, seq, seq+300))
	twin.refuse(false)
	want = append(want, more...)
	sink := newSink(t, addr)
	_, stop := run(t, exactOptions(), forward.Deps{Source: sourceOf(st), Sink: sink, Transactor: &transactor{
		sink: sink, twist: twin.twist, wrap: func(s *kafka.Session) forward.Session { return boaster{s, twin.boast} },
	}})
	st.append(more[:100]...)
	st.await(t, fmt.Sprintf("seed %d: nearly the end", seed), (*store).settled)
	for _, z := range undead {
		z.wake()
	}
	st.append(more[100:]...)
	st.await(t, fmt.Sprintf("seed %d: the end", seed), (*store).settled)
	for _, z := range undead {
		z.wake()
	}
	st.await(t, fmt.Sprintf("seed %d: what stood aside", seed), (*store).settledSides)
	stop()
	t.Logf("seed %d: %d messages, %d deaths, %d zombies", seed, len(want), deaths, len(undead))
	if twin.apart {
		return judge(want, standing(t, addr, "messages"))
	}
	got := shown(t, addr, "messages", 0)
	if twin.hold != nil {
		t.Logf("seed %d: %d stood aside", seed, st.aside())
		got = append(got, shown(t, addr, "other", 0)...)
	}
	return judge(want, got)
}

// topics gives messages their topics.
func (e exactTwin) topics(all []message.Stored) []message.Stored {
	if e.hold == nil {
		return all
	}
	return ofTopics(all, "messages", "other")
}

func (e exactTwin) refuse(refused bool) {
	if e.hold != nil {
		e.hold(refused)
	}
}

// standing returns all records of a topic, of aborted transactions too.
func standing(t testing.TB, addr, topic string) (out []kafka.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) { left[o.Partition] = o.Offset - 1 }) // the last one ends a transaction
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for len(left) > 0 && ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			out = append(out, kafka.Record{Topic: r.Topic, Value: r.Value})
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return out
}

// Whatever dies where, and whoever wakes: each message stands once in the topic.
func TestExactlyOnceCrashesAtRandomPoints(t *testing.T) {
	first, n := seeds(t)
	for seed := first; seed < first+n; seed++ {
		if err := exactCrashes(t, seed, exactTwin{}); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// boaster is a session that may say there was a record where there was none.
type boaster struct {
	*kafka.Session
	boast bool
}

func (b boaster) Known() bool { return b.boast || b.Session.Known() }

// exactCaught fails where no seed shows that something is missing.
func exactCaught(t *testing.T, what string, twin exactTwin) {
	t.Helper()
	first, n := seeds(t)
	for seed := first; seed < first+2*n; seed++ {
		if err := exactCrashes(t, seed, twin); err != nil {
			t.Log("caught:", err)
			return
		}
	}
	t.Errorf("no seed shows that %s: the check is worth nothing", what)
}

// A transactional id of its own for each holder is as if none had asked for the
// producer id before it read the record: nobody is fenced.
func TestExactlyOnceWithoutFencingIsCaught(t *testing.T) {
	n := 0
	exactCaught(t, "nobody is fenced", exactTwin{twist: func(o *kafka.TransactOptions) {
		n++
		o.ID = fmt.Sprintf("unfenced-%d", n)
	}})
}

// Progress apart from the messages: those of a transaction that came to nothing
// stand in the topic, and are sent again.
func TestExactlyOnceWithProgressApartIsCaught(t *testing.T) {
	exactCaught(t, "messages and progress are apart", exactTwin{apart: true})
}

// Without the record all that was sent since progress was saved is sent again.
func TestExactlyOnceWithoutRecordIsCaught(t *testing.T) {
	n := 0
	exactCaught(t, "the record is missing", exactTwin{boast: true, twist: func(o *kafka.TransactOptions) {
		n++
		o.Hub = fmt.Sprintf("another-%d", n)
	}})
}
