package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/message"
)

// keyList is a KeySource of what is in it. fail, where set, is returned once
// instead, after the first key.
type keyList struct {
	keys  []StoredKey
	fail  error
	since time.Time
	calls int
	given int
}

func (l *keyList) Keys(ctx context.Context, since time.Time, yield func(StoredKey) error) error {
	l.since = since
	l.calls++
	for _, k := range l.keys {
		if err := yield(k); err != nil {
			return err
		}
		l.given++
		if err := l.fail; err != nil {
			l.fail = nil
			return err
		}
	}
	return ctx.Err()
}

// stored lists the keys of a store, newest first, as a queue finds them.
func (s *fakeStore) keys() []StoredKey {
	var list []StoredKey
	all := s.all()
	for first := 0; first < len(all); {
		end := first + 1
		for end < len(all) && all[end].KeyHash == all[first].KeyHash && all[end].Time.Equal(all[first].Time) {
			end++
		}
		group := make([]message.Message, 0, end-first)
		for _, m := range all[first:end] {
			group = append(group, m.Message)
		}
		m := all[first]
		if !m.KeyHash.IsZero() {
			list = append([]StoredKey{{Hash: m.KeyHash, Digest: message.GroupDigest(group), ID: m.ID, First: m.Place, Time: m.Time}}, list...)
		}
		first = end
	}
	return list
}

// restarted is another gateway process that loads the keys of r's.
func (r *rig) restarted(change func(*Options, *Deps)) (*rig, *keyList) {
	r.Helper()
	list := &keyList{keys: r.store.keys()}
	next := newRig(r.T, func(o *Options, d *Deps) {
		d.Keys = list
		if change != nil {
			change(o, d)
		}
	})
	next.clock.now = r.clock.Now().Add(time.Minute)
	next.store.lane = "01JD6Z0000000000000000NEXT"
	return next, list
}

// TestAnswersAfterARestart: each form of request is answered byte for byte as the
// process before did; another body is refused; what has no key of the client's is
// stored anew.
func TestAnswersAfterARestart(t *testing.T) {
	event := `{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"a":1}}`
	requests := []struct {
		path, body, other string
		fields            []string
	}{
		{"/ServiceAPI/message", `{"senderId":"s","value":"v"}`, `{"senderId":"s","value":"w"}`, nil},
		{topicPath + "?key=a", "body", "bodies", []string{"Content-Type: text/plain"}},
		{topicPath, `{"value":1}` + "\n" + `{"value":2,"id":"own"}`, `{"value":1}` + "\n" + `{"value":2,"id":"other"}`, []string{ndjson}},
		{topicPath, `{"value":1,"id":"a"}` + "\n" + `{"value":2,"id":"b"}`, `{"value":1,"id":"a"}` + "\n" + `{"value":3,"id":"b"}`, []string{ndjson}},
		{topicPath, event, strings.Replace(event, "1}", "2}", 1), []string{structured}},
	}
	r := newRig(t, nil)
	var first []reply
	for i, q := range requests {
		first = append(first, r.post(q.path, q.body, append(q.fields, fmt.Sprint("Idempotency-Key: k", i))...))
		r.clock.advance(time.Second)
	}
	minted := r.post(topicPath, "minted")
	next, list := r.restarted(nil)
	next.gateway.LoadKeys(t.Context())
	if list.given != len(requests) || next.gateway.index.loaded() != len(requests) {
		t.Fatalf("%d keys loaded, %d remembered", list.given, next.gateway.index.loaded())
	}
	for i, q := range requests {
		fields := slices.Concat(q.fields, []string{fmt.Sprint("Idempotency-Key: k", i)})
		a := next.post(q.path, q.body, fields...)
		if a.status != first[i].status || a.body != first[i].body || a.header.Get("Idempotent-Replayed") != "true" ||
			a.header.Get("Postroad-Receipt") != first[i].header.Get("Postroad-Receipt") {
			t.Errorf("request %d: %d %s, first %d %s", i, a.status, a.body, first[i].status, first[i].body)
		}
		if a := next.post(q.path, q.other, fields...); a.status != http.StatusUnprocessableEntity {
			t.Errorf("request %d with another body: %d %s", i, a.status, a.body)
		}
	}
	if len(next.store.all()) != 0 {
		t.Error("something was stored again")
	}
	a := next.post(topicPath, "minted", "Idempotency-Key: "+minted.header.Get("Idempotency-Key"))
	if next.want(a, http.StatusAccepted); a.header.Get("Idempotent-Replayed") != "" || !next.one().Repeat {
		t.Error("a minted key was indexed")
	}
}

// TestLoadedKeyIsFoundByID: GET with the bare dedupe id works after a restart.
func TestLoadedKeyIsFoundByID(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.post(topicPath, "x", "Idempotency-Key: k"), http.StatusAccepted)
	id := r.one().ID
	next, _ := r.restarted(nil)
	next.gateway.LoadKeys(t.Context())
	if p, ok := next.gateway.index.find(id, next.clock.Now()); !ok || p != r.one().Place {
		t.Errorf("found %v, %v", p, ok)
	}
	if _, ok := next.gateway.index.find(id, next.clock.Now().Add(25*time.Hour)); ok {
		t.Error("found past its retention")
	}
}

// TestLoadingBesideService: the gateway serves before and while keys are loaded;
// what it was asked itself counts more than what is loaded late.
func TestLoadingBesideService(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.post(topicPath, "one", "Idempotency-Key: k"), http.StatusAccepted)
	next, _ := r.restarted(nil)
	second := next.post(topicPath, "two", "Idempotency-Key: k") // the key is not known yet
	next.want(second, http.StatusAccepted)
	next.gateway.LoadKeys(t.Context())
	if a := next.post(topicPath, "two", "Idempotency-Key: k"); a.body != second.body || a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the answer of this process became %d %s", a.status, a.body)
	}
	if a := next.post(topicPath, "one", "Idempotency-Key: k"); a.status != http.StatusUnprocessableEntity {
		t.Errorf("the body of the process before: %d %s", a.status, a.body)
	}
}

// TestUnknownOutcomeBeforeLoading: a key whose outcome is unknown here stores
// again, whatever an earlier process knew of it.
func TestUnknownOutcomeBeforeLoading(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.post(topicPath, "one", "Idempotency-Key: k"), http.StatusAccepted)
	next, _ := r.restarted(nil)
	next.store.before = func(context.Context, []message.Message) error { return message.ErrOutcomeUnknown }
	next.want(next.post(topicPath, "one", "Idempotency-Key: k"), http.StatusGatewayTimeout)
	next.store.before = nil
	next.gateway.LoadKeys(t.Context())
	a := next.post(topicPath, "one", "Idempotency-Key: k")
	if next.want(a, http.StatusAccepted); a.header.Get("Idempotent-Replayed") != "" || next.one().ID != r.one().ID {
		t.Error("not stored again under its id")
	}
}

// TestLoadedKeysGoInTheirTime, whatever order they came in.
func TestLoadedKeysGoInTheirTime(t *testing.T) {
	x := newKeyIndex(IdempotencyOptions{Retention: time.Hour, MaxKeys: 16000}, func() {})
	rng := rand.New(rand.NewPCG(7, 7))
	start := time.Unix(1_000_000, 0)
	const n = 500
	for _, i := range rng.Perm(n) { // key i is accepted at second i
		if !x.load(entryOf(rng, uint64(i), start.Add(time.Duration(i)*time.Second).UnixMicro())) {
			t.Fatal("no room")
		}
	}
	for step := 0; step <= n; step += 50 {
		now := start.Add(time.Hour + time.Duration(step)*time.Second)
		for i := range uint64(n) {
			e := entryOf(rng, i, 0)
			found, err := x.begin(e.hash, e.digest, now)
			want := keyStored
			if int(i) < step {
				want = keyFree
			}
			if err != nil || found.state != want {
				t.Fatalf("at second %d key %d is in state %d, %v", step, i, found.state, err)
			}
			if found.state == keyFree {
				x.end(keyEntry{hash: e.hash, state: keyFree})
			}
		}
	}
	if e := entryOf(rng, 0, 0); x.shard(e.hash).loaded.len() >= n {
		t.Error("nothing was released")
	}
	later := start.Add(3 * time.Hour)
	for i := range uint64(n) {
		e := entryOf(rng, i, 0)
		if _, err := x.begin(e.hash, e.digest, later); err != nil {
			t.Fatal(err)
		}
	}
	if x.len() != 0 {
		t.Errorf("%d keys are left", x.len())
	}
}

// TestNewestOfTwoLoadedCounts, in either order.
func TestNewestOfTwoLoadedCounts(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	older, newer := entryOf(rng, 1, 100), entryOf(rng, 1, 200)
	for _, order := range [][]keyEntry{{older, newer}, {newer, older}} {
		x := newKeyIndex(IdempotencyOptions{Retention: time.Hour, MaxKeys: 16000}, func() {})
		for _, e := range order {
			x.load(e)
		}
		found, err := x.begin(newer.hash, newer.digest, time.UnixMicro(300))
		if err != nil || found.first != newer.place() {
			t.Errorf("found %+v, %v", found, err)
		}
	}
}

// TestNewKeysDisplaceLoadedOnes when the index is full, and loading stops then.
func TestNewKeysDisplaceLoadedOnes(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	list := &keyList{}
	for i := range uint64(5000) {
		e := entryOf(rng, i, 0)
		list.keys = append(list.keys, StoredKey{Hash: e.hash, ID: e.id, First: e.place(), Time: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC)})
	}
	r := newRig(t, func(o *Options, d *Deps) { d.Keys, o.Idempotency.MaxKeys = list, 1600 })
	r.gateway.LoadKeys(t.Context())
	x := r.gateway.index
	if n := x.loaded(); n > 1600 || n < 1200 || list.given == len(list.keys) {
		t.Fatalf("%d keys loaded, %d of %d handed out", n, list.given, len(list.keys))
	}
	for i := range uint64(3000) {
		x.end(entryOf(rng, 1_000_000+i, r.clock.Now().UnixMicro()))
	}
	if x.loaded() != 0 || x.len() > 1600 {
		t.Errorf("%d keys, %d of them loaded", x.len(), x.loaded())
	}
}

// TestLoadingIsTriedAgain until it has worked, and only then is it done.
func TestLoadingIsTriedAgain(t *testing.T) {
	r := newRig(t, nil)
	for i := range 3 {
		r.want(r.post(topicPath, "x", fmt.Sprint("Idempotency-Key: k", i)), http.StatusAccepted)
		r.clock.advance(time.Second)
	}
	keys, now := r.store.keys(), r.clock.Now
	synctest.Test(t, func(t *testing.T) {
		list, reg := &keyList{keys: keys, fail: errors.New("share away")}, prometheus.NewRegistry()
		g, err := New(DefaultOptions(), Deps{Store: newStore(), Tracker: &fakeTracker{}, Keys: list, Log: quiet(), Registerer: reg, Now: now, Identity: Identity{Stamp: "s"}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { g.LoadKeys(t.Context()); close(done) }()
		synctest.Wait()
		if g.keysReady() != 0 || g.index.loaded() != 1 {
			t.Errorf("ready %v with %d keys", g.keysReady(), g.index.loaded())
		}
		<-done
		if g.keysReady() != 1 || g.index.loaded() != 3 || list.calls != 2 {
			t.Errorf("ready %v with %d keys after %d calls", g.keysReady(), g.index.loaded(), list.calls)
		}
		if n := count(t, reg, "postroad_gateway_loaded_idempotency_keys", "postroad_gateway_idempotency_keys_ready"); n != 2 {
			t.Errorf("%d gauges", n)
		}
		if want := now().Add(-24 * time.Hour); !list.since.Equal(want) {
			t.Errorf("asked for keys since %v, want %v", list.since, want)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		other, err := New(DefaultOptions(), Deps{Store: newStore(), Tracker: &fakeTracker{}, Keys: &keyList{}, Log: quiet(), Identity: Identity{Stamp: "s"}})
		if err != nil {
			t.Fatal(err)
		}
		if other.LoadKeys(ctx); other.keysReady() != 0 {
			t.Error("ready although it was stopped")
		}
	})
}

// TestKeyOfAForeignLaneIsNotLoaded: its place could not be given again.
func TestKeyOfAForeignLaneIsNotLoaded(t *testing.T) {
	list := &keyList{keys: []StoredKey{{Hash: message.Hash{1}, ID: message.ID{1}, First: message.Place{Lane: "elsewhere", Seq: 1}, Time: time.Now()}}}
	r := newRig(t, func(_ *Options, d *Deps) { d.Keys = list })
	if r.gateway.LoadKeys(t.Context()); r.gateway.index.len() != 0 {
		t.Error("loaded")
	}
}

// count returns how many of the metrics there are.
func count(t *testing.T, reg *prometheus.Registry, names ...string) (n int) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if slices.Contains(names, f.GetName()) {
			n += len(f.GetMetric())
		}
	}
	return n
}
