package relay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// play runs a plan from a seed in virtual time and judges it.
func play(t *testing.T, seed uint64, p plan) (history string, wrong error) {
	token := tokenFile(t)
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, plan: p, seed: seed, began: time.Now(), token: token, hub: newHub(),
			rng:  rand.New(rand.NewPCG(seed, 7)),
			site: faultfs.NewShare(seed, faultfs.ShareOptions{Calm: true, LookupCache: faultfs.LookupNone}),
			far:  faultfs.NewShare(seed+1, faultfs.ShareOptions{Calm: true, LookupCache: faultfs.LookupNone}),
			acks: map[string]message.Stored{},
		}
		w.net = &network{w: w}
		wrong = w.run()
		history = w.history()
	})
	return history, wrong
}

// run lets everything happen, heals it, waits until all has arrived, and judges.
func (w *world) run() error {
	ctx, stop := context.WithCancel(context.Background())
	var centre [2]*process
	for i := range w.plan.gateways {
		centre[i] = w.must("centre", fmt.Sprintf("centre%d.0", i), w.far)
	}
	w.net.set(centre[:w.plan.gateways]...)
	site := w.must("site", "site.0", w.site)
	sent := 0
	for n := 0; sent < w.plan.messages; n++ {
		for range 1 + w.roll(12) {
			w.append(ctx, site, sent)
			sent++
		}
		<-time.After(time.Duration(w.roll(300)) * time.Millisecond)
		if w.plan.hubAway && w.roll(30) == 0 {
			w.hub.setAway(w.roll(2) == 0)
		}
		if w.plan.killSender && w.roll(40) == 0 {
			w.end(site, w.roll(4) > 0)
			site = w.must("site", fmt.Sprintf("site.%d", n+1), w.site)
		}
		if w.plan.killReceiver && w.roll(40) == 0 {
			i := w.roll(w.plan.gateways)
			w.end(centre[i], w.roll(4) > 0)
			centre[i] = w.must("centre", fmt.Sprintf("centre%d.%d", i, n+1), w.far)
			w.net.set(centre[:w.plan.gateways]...)
		}
	}
	w.decide("all is sent; nothing is disturbed any more")
	w.net.calm()
	w.hub.setAway(false)
	arrived := w.settle(10 * time.Minute)
	<-time.After(2 * time.Minute) // for what nobody waits for, too
	w.end(site, false)
	for _, p := range centre[:w.plan.gateways] {
		w.end(p, false)
	}
	w.net.late.Wait()
	stop()
	if !arrived {
		return fmt.Errorf("not all has arrived: %w", w.judge())
	}
	return w.judge()
}

func (w *world) must(stamp, name string, share *faultfs.Share) *process {
	p, err := w.start(stamp, name, share)
	if err != nil {
		w.t.Fatalf("start %s: %v", name, err)
	}
	return p
}

// append gives the site a message and notes it where it is acknowledged.
func (w *world) append(ctx context.Context, p *process, n int) {
	key, value := []byte("key-"+strconv.Itoa(w.roll(7))), "value "+strconv.Itoa(n)
	m := message.Message{
		ID: message.DeriveID("client", "t", value, message.Hash{}, 0), Topic: []string{"orders", "events"}[w.roll(2)], Key: key, Value: []byte(value),
		Headers: []message.Header{{Name: "content-type", Value: []byte("text/plain")}}, Time: time.Now().UTC().Truncate(time.Microsecond),
		Principal: "client", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	at, err := p.queue.Append(ctx, []message.Message{m})
	if err != nil {
		w.decide("%q is not acknowledged: %v", value, err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks[value] = message.Stored{Place: at, Message: m}
}

// settle waits until every acknowledged message is in the hub.
func (w *world) settle(limit time.Duration) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); <-time.After(200 * time.Millisecond) {
		there := map[string]bool{}
		for _, log := range w.hub.all() {
			for i := range log {
				there[string(log[i].Value)] = true
			}
		}
		w.mu.Lock()
		missing := 0
		for value := range w.acks {
			if !there[value] {
				missing++
			}
		}
		w.mu.Unlock()
		if missing == 0 {
			return true
		}
	}
	return false
}

// judge compares what a reader of the hub is shown with what was acknowledged, by
// the values that were sent.
func (w *world) judge() error {
	seen := map[string]int{}
	last := map[string]uint64{}
	logs := w.hub.all()
	keys := make([]logKey, 0, len(logs))
	for k := range logs {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return fmt.Sprint(keys[i]) < fmt.Sprint(keys[j]) })
	for _, k := range keys {
		window := message.NewWindow(w.plan.window)
		for o := range logs[k] {
			r := &logs[k][o]
			if window.Seen(r.ID, int64(o)) {
				continue
			}
			value := string(r.Value)
			if seen[value]++; seen[value] > 1 {
				return fmt.Errorf("%q is shown twice, the second time at %v/%d", value, k, o)
			}
			stamp, at := came(r)
			if a, ok := w.acks[value]; ok {
				if err := same(&a, r, stamp, at); err != nil {
					return fmt.Errorf("%q: %w", value, err)
				}
			}
			of := r.Topic + " " + string(r.Key) + " " + at.Lane
			if at.Seq <= last[of] {
				return fmt.Errorf("%q of %s has seq %d and comes after %d", value, of, at.Seq, last[of])
			}
			last[of] = at.Seq
		}
	}
	for value := range w.acks {
		if seen[value] == 0 {
			return fmt.Errorf("%q is lost", value)
		}
	}
	return nil
}

// same checks that a record has the identity that the message had at the site.
func same(a, r *message.Stored, stamp string, at message.Place) error {
	o := r.Origin
	switch {
	case stamp != "site" || at != a.Place || o == nil || o.Stamp != "site" || o.Place != a.Place || !o.Time.Equal(a.Time):
		return fmt.Errorf("origin %+v, from %s %v; it was %v", o, stamp, at, a.Place)
	case r.ID != a.ID || r.Topic != a.Topic || string(r.Key) != string(a.Key) || r.Principal != a.Principal || r.TraceParent != a.TraceParent:
		return fmt.Errorf("it is %+v and was %+v", r.Message, a.Message)
	case len(r.Headers) != 1 || r.Headers[0].Name != "content-type":
		return fmt.Errorf("headers %v", r.Headers)
	}
	return nil
}

// seeds are those of a run: that of POSTROAD_RELAY_SEED alone, to look at one
// again, or n from a new one on.
func seeds(t *testing.T, n uint64) (first, count uint64) {
	t.Helper()
	if seed, err := strconv.ParseUint(os.Getenv("POSTROAD_RELAY_SEED"), 10, 64); err == nil {
		return seed, 1
	}
	first = uint64(time.Now().UnixNano()) % 1e9
	t.Logf("seeds %d to %d", first, first+n-1)
	return first, n
}

func many(t *testing.T, n uint64, p plan) {
	t.Helper()
	first, n := seeds(t, n)
	for seed := first; seed < first+n; seed++ {
		if history, err := play(t, seed, p); err != nil {
			t.Logf("%s", history)
			t.Fatalf("POSTROAD_RELAY_SEED=%d: %v", seed, err)
		}
	}
}

// With one gateway there nothing is stored twice, however connections are cut and
// senders killed: not one record stands in the topic a second time.
func TestOnceOverCutsAndSenders(t *testing.T) {
	many(t, 4, plan{messages: 400, gateways: 1, noise: true, killSender: true, hubAway: true, compress: true})
}

// The same with two gateways that a balancer changes between.
func TestOnceOverTwoGateways(t *testing.T) {
	many(t, 4, plan{messages: 250, gateways: 2, noise: true, killSender: true, switching: 60})
}

// Gateways that are killed leave messages of which nobody knows whether they were
// acknowledged: those a reader's look-back takes out. Nothing is lost, and order
// is kept.
func TestExactOverReceivers(t *testing.T) {
	many(t, 4, plan{messages: 400, gateways: 1, noise: true, killSender: true, killReceiver: true, hubAway: true, window: 4096})
	many(t, 2, plan{messages: 250, gateways: 2, noise: true, killReceiver: true, switching: 60, hubAway: true, window: 4096})
}
