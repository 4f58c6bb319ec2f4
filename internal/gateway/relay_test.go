package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"postroad/internal/message"
	"postroad/internal/relay/wire"
)

const siteToken = "token-of-the-site-0123456789"

// fakeGroups is a queue with lanes of other processes.
type fakeGroups struct {
	mu     sync.Mutex
	groups map[message.Place][]message.Stored
	keys   []StoredKey
	tails  [][]message.Stored
	others bool
	err    error
}

func (f *fakeGroups) Group(_ context.Context, first message.Place) ([]message.Stored, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.groups[first]; g != nil {
		return g, nil
	}
	return nil, message.ErrNotFound
}

func (f *fakeGroups) Tails(_ context.Context, yield func([]message.Stored)) error {
	f.mu.Lock()
	tails := slices.Clone(f.tails)
	f.mu.Unlock()
	for _, group := range tails {
		yield(group)
	}
	return nil
}

func (f *fakeGroups) OtherWriters(context.Context, map[string]bool) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.others, f.err
}

func (f *fakeGroups) Keys(_ context.Context, _ time.Time, yield func(StoredKey) error) error {
	f.mu.Lock()
	keys, err := slices.Clone(f.keys), f.err
	f.mu.Unlock()
	for _, k := range keys {
		if err := yield(k); err != nil {
			return err
		}
	}
	return err
}

// relayRig is a gateway to which the stamp "site" may relay.
type relayRig struct {
	*testing.T
	gateway *Gateway
	store   *fakeStore
	tracker *fakeTracker
	groups  *fakeGroups
	tick    string
	session string
}

func newRelayRig(t *testing.T, change func(*Options)) *relayRig {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(siteToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &relayRig{T: t, store: newStore(), groups: &fakeGroups{groups: map[message.Place][]message.Stored{}}, tick: "0", session: "s1"}
	r.tracker = &fakeTracker{store: r.store, outcomes: map[message.Place]message.Outcome{}}
	o := DefaultOptions()
	o.Relay.Stamps = []RelayStamp{{Name: "site", File: file}}
	if change != nil {
		change(&o)
	}
	var err error
	r.gateway, err = New(o, Deps{
		Store: r.store, Tracker: r.tracker, Keys: r.groups, Relay: r.groups, Log: quiet(), Identity: Identity{Stamp: "centre"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// do sends a request; fields are "Name: value" and replace those that it has.
func (r *relayRig) do(method, path string, body []byte, fields ...string) reply {
	r.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://centre"+path, bytes.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+siteToken)
	req.Header.Set("Content-Type", wire.ContentType)
	req.Header.Set(wire.FieldTick, r.tick)
	req.Header.Set(wire.FieldSession, r.session)
	if r.gateway.relay != nil {
		req.Header.Set(wire.FieldProcess, r.gateway.relay.process)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	r.gateway.Handler().ServeHTTP(rec, req)
	return reply{rec.Code, rec.Header(), rec.Body.String()}
}

// siteMessage is a message of the site's at a seq of its lane.
func siteMessage(seq uint64, change func(*wire.Relayed)) wire.Relayed {
	const lane = "01JD6Z0000000000000000SJTE"
	m := wire.Leaving("site", &message.Stored{
		Place: message.Place{Lane: lane, Seq: seq},
		Message: message.Message{
			ID: message.DeriveID("p", "orders", "k", message.Hash{}, int(seq)), Topic: "orders", Key: []byte("k"),
			Value: []byte("value " + strconv.FormatUint(seq, 10)), Time: time.UnixMicro(1_700_000_000_000_000).UTC(), Principal: "client",
		},
	})
	if change != nil {
		change(&m)
	}
	return m
}

func batchOf(all ...wire.Relayed) []byte {
	b := wire.Begin(nil)
	for i := range all {
		b = wire.Append(b, &all[i])
	}
	return b
}

// relay sends a batch and returns the answer.
func (r *relayRig) relay(all ...wire.Relayed) wire.Answer {
	r.Helper()
	a := r.do(http.MethodPost, wire.PathMessages, batchOf(all...))
	if a.status != http.StatusOK {
		r.Fatalf("status %d: %s", a.status, a.body)
	}
	var answer wire.Answer
	if err := json.Unmarshal([]byte(a.body), &answer); err != nil {
		r.Fatal(err)
	}
	return answer
}

func (r *relayRig) places(since int64) (found map[string][][2]uint64, done *wire.PlacesDone) {
	r.Helper()
	q, err := json.Marshal(wire.Question{Topics: map[string]int64{"orders": since}})
	if err != nil {
		r.Fatal(err)
	}
	a := r.do(http.MethodPost, wire.PathPlaces, q)
	if a.status != http.StatusOK {
		r.Fatalf("status %d: %s", a.status, a.body)
	}
	found = map[string][][2]uint64{}
	for dec := json.NewDecoder(strings.NewReader(a.body)); ; {
		var line wire.PlacesLine
		if err := dec.Decode(&line); err == io.EOF {
			return found, done
		} else if err != nil {
			r.Fatal(err)
		}
		if done != nil {
			r.Fatal("a line behind the last")
		}
		if done = line.Done; done == nil {
			found[line.Lane] = append(found[line.Lane], line.Runs...)
		}
	}
}

// Without stamps that may there is nothing to be found.
func TestRelayIsOffByDefault(t *testing.T) {
	r := newRelayRig(t, func(o *Options) { o.Relay.Stamps = nil })
	for _, path := range []string{wire.PathHello, wire.PathMessages, wire.PathPlaces} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if a := r.do(method, path, nil); a.status != http.StatusNotFound {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
			}
		}
	}
}

func TestRelayRefusesStrangers(t *testing.T) {
	r := newRelayRig(t, nil)
	m := siteMessage(1, nil)
	for name, row := range map[string]struct {
		field  string
		body   []byte
		status int
	}{
		"no token":             {"Authorization: ", batchOf(m), 401},
		"another token":        {"Authorization: Bearer " + siteToken + "x", batchOf(m), 401},
		"another process":      {wire.FieldProcess + ": 01JD6Z0000000000000000AAAA", batchOf(m), 421},
		"no tick":              {wire.FieldTick + ": x", batchOf(m), 400},
		"no session":           {wire.FieldSession + ": ", batchOf(m), 400},
		"another content type": {"Content-Type: text/plain", batchOf(m), 415},
		"another coding":       {"Content-Encoding: gzip", batchOf(m), 415},
		"no zstd":              {"Content-Encoding: zstd", batchOf(m), 400},
		"as another stamp":     {"X: y", batchOf(siteMessage(1, func(m *wire.Relayed) { m.Path = []string{"site", "other"} })), 403},
		"two topics":           {"X: y", batchOf(m, siteMessage(2, func(m *wire.Relayed) { m.Topic = "events" })), 400},
		"no message":           {"X: y", batchOf(), 400},
		"no batch":             {"X: y", []byte("{}"), 400},
		"cut short":            {"X: y", batchOf(m)[:40], 400},
	} {
		t.Run(name, func(t *testing.T) {
			a := r.do(http.MethodPost, wire.PathMessages, row.body, row.field)
			if a.status != row.status || !strings.Contains(a.body, "urn:postroad:problem:") || strings.Contains(a.body, siteToken) {
				t.Fatalf("%d %s; want %d", a.status, a.body, row.status)
			}
		})
	}
	if n := len(r.store.all()); n > 0 {
		t.Errorf("%d messages are stored", n)
	}
}

// A message is stored as it was at the site, once, however often it comes, in
// whatever batch.
func TestRelayStoresOnce(t *testing.T) {
	r := newRelayRig(t, nil)
	if a := r.relay(siteMessage(1, nil), siteMessage(2, nil)); a.Stored != 2 || a.Known != 0 || a.Refused != nil {
		t.Fatalf("%+v", a)
	}
	if a := r.relay(siteMessage(2, nil), siteMessage(3, nil), siteMessage(70, nil)); a.Stored != 3 || a.Known != 1 {
		t.Fatalf("%+v", a)
	}
	all := r.store.all()
	if len(all) != 4 {
		t.Fatalf("%d messages are stored", len(all))
	}
	m, was := all[0], siteMessage(1, nil)
	if m.ID != was.ID || m.Origin == nil || *m.Origin != *was.Origin || !bytes.Equal(m.Value, was.Value) || m.Principal != "client" || m.Time.Equal(was.Time) {
		t.Errorf("stored %+v", m)
	}
	// A replay is stored whatever is known, and is no reason not to store others.
	again := siteMessage(1, func(m *wire.Relayed) { m.Replay = true })
	if a := r.relay(again, siteMessage(71, nil)); a.Stored != 2 || a.Known != 0 || len(r.store.all()) != 6 {
		t.Fatalf("replay: %+v, %d are stored", a, len(r.store.all()))
	}
	found, done := r.places(0)
	want := [][2]uint64{{1, 3}, {70, 71}}
	if !slices.Equal(found[was.Place.Lane], want) || len(found) != 1 || done == nil || done.Process != r.gateway.relay.process {
		t.Errorf("places %v, %+v; want %v", found, done, want)
	}
}

func TestRelayTakesZstd(t *testing.T) {
	r := newRelayRig(t, nil)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	body := enc.EncodeAll(batchOf(siteMessage(1, nil), siteMessage(2, nil)), nil)
	if a := r.do(http.MethodPost, wire.PathMessages, body, "Content-Encoding: zstd"); a.status != 200 || len(r.store.all()) != 2 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	bomb := enc.EncodeAll(append(batchOf(), make([]byte, 64<<20)...), nil)
	if a := r.do(http.MethodPost, wire.PathMessages, bomb, "Content-Encoding: zstd"); a.status < 400 || a.status >= 500 {
		t.Fatalf("%d bytes that become 64 MiB: %d %s", len(bomb), a.status, a.body)
	}
	if n := r.gateway.load.bytes.Load(); n != 0 {
		t.Errorf("%d bytes are still reserved", n)
	}
}

// One message is refused with its reason; those before it are stored, those behind
// it are not, so that they do not overtake it.
func TestRelayRefusesOne(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*wire.Relayed)
		class  string
		reason string
	}{
		"too large":     {func(m *wire.Relayed) { m.Value = make([]byte, 1500) }, "dead", "message.max_bytes"},
		"cycle":         {func(m *wire.Relayed) { m.Path, m.Origin.Stamp = []string{"centre", "site"}, "centre" }, "hold", "cycle"},
		"too many hops": {func(m *wire.Relayed) { m.Path, m.Origin.Stamp = strings.Split("a,b,c,d,e,f,g,site", ","), "a" }, "hold", "passed 8 stamps"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRelayRig(t, func(o *Options) { o.Message.MaxBytes = 1024 })
			a := r.relay(siteMessage(1, nil), siteMessage(2, row.change), siteMessage(3, nil))
			if a.Stored != 1 || a.Refused == nil || a.Refused.Class != row.class || !strings.Contains(a.Refused.Reason, row.reason) {
				t.Fatalf("%+v %+v", a, a.Refused)
			}
			if a := r.relay(siteMessage(3, nil)); a.Stored != 1 || a.Known != 0 {
				t.Fatalf("the one behind: %+v", a)
			}
			if n := len(r.store.all()); n != 2 {
				t.Errorf("%d are stored", n)
			}
		})
	}
	r := newRelayRig(t, func(o *Options) { o.Relay.Topics = []string{"event*", "x"} })
	if a := r.relay(siteMessage(1, nil)); a.Stored != 0 || a.Refused == nil || a.Refused.Class != "hold" || !strings.Contains(a.Refused.Reason, "gateway.relay.topics") {
		t.Errorf("topic that is not listed: %+v", a.Refused)
	}
	if a := r.relay(siteMessage(1, func(m *wire.Relayed) { m.Topic = "events" })); a.Stored != 1 {
		t.Errorf("topic that is listed: %+v", a)
	}
}

// What the store says decides the answer, and nothing that failed is remembered.
func TestRelayTellsOfTheDisk(t *testing.T) {
	for name, row := range map[string]struct {
		err    error
		status int
	}{
		"full": {message.ErrFull, 507}, "not stored": {message.ErrNotStored, 503}, "unknown": {errDisk, 504},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRelayRig(t, nil)
			r.store.before = func(context.Context, []message.Message) error { return row.err }
			if a := r.do(http.MethodPost, wire.PathMessages, batchOf(siteMessage(1, nil))); a.status != row.status {
				t.Fatalf("%d %s", a.status, a.body)
			}
			r.store.before = nil
			if a := r.relay(siteMessage(1, nil)); a.Stored != 1 || a.Known != 0 {
				t.Fatalf("%+v", a)
			}
		})
	}
}

// The same message in two requests at once is stored once.
func TestRelayTwins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelayRig(t, nil)
		r.store.before = func(context.Context, []message.Message) error { <-time.After(time.Second); return nil }
		var wg sync.WaitGroup
		known := make(chan int, 5)
		for range cap(known) {
			wg.Go(func() { known <- r.relay(siteMessage(1, nil), siteMessage(2, nil)).Known })
		}
		wg.Wait()
		close(known)
		sum := 0
		for n := range known {
			sum += n
		}
		if len(r.store.all()) != 2 || sum != 8 {
			t.Errorf("%d are stored, %d were known", len(r.store.all()), sum)
		}
	})
}

// A batch whose tick is old is refused: whoever sent it has given it up.
func TestRelayTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelayRig(t, nil)
		<-time.After(relayLease)
		if a := r.relay(siteMessage(1, nil)); a.Stored != 1 {
			t.Fatalf("%+v", a)
		}
		<-time.After(time.Millisecond)
		if a := r.do(http.MethodPost, wire.PathMessages, batchOf(siteMessage(2, nil))); a.status != http.StatusMisdirectedRequest {
			t.Fatalf("%d %s", a.status, a.body)
		}
		// Also where it became old while others had their turn.
		r.tick = strconv.FormatInt(r.gateway.hello().Tick, 10)
		r.store.before = func(context.Context, []message.Message) error { <-time.After(relayLease + time.Second); return nil }
		var wg sync.WaitGroup
		wg.Go(func() { r.do(http.MethodPost, wire.PathMessages, batchOf(siteMessage(3, nil))) })
		synctest.Wait()
		a := r.do(http.MethodPost, wire.PathMessages, batchOf(siteMessage(4, nil)))
		wg.Wait()
		if a.status != http.StatusMisdirectedRequest {
			t.Fatalf("it waited: %d %s", a.status, a.body)
		}
	})
}

// Where other processes may still store something the answer waits until every
// lease is over; an error of looking is an error of the answer.
func TestRelayPlacesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelayRig(t, nil)
		r.groups.others = true
		began := time.Now()
		r.places(0)
		if took := time.Since(began); took < relayLease+relayAppend+relaySettle {
			t.Errorf("it took %v", took)
		}
		r.groups.others = false
		began = time.Now()
		r.places(0)
		if took := time.Since(began); took != 0 {
			t.Errorf("alone it took %v", took)
		}
		r.groups.err = errDisk
		q := []byte(`{"topics":{"orders":0}}`)
		if a := r.do(http.MethodPost, wire.PathPlaces, q); a.status != http.StatusServiceUnavailable {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// What other processes have stored is found by its key, and what is older than is
// remembered is told.
func TestRelayPlacesOfOthers(t *testing.T) {
	r := newRelayRig(t, nil)
	now := time.Now()
	add := func(lane string, at time.Time, kept bool, all ...wire.Relayed) {
		first := message.Place{Lane: lane, Seq: 1}
		r.groups.keys = append(r.groups.keys, StoredKey{Hash: relayKey("site", "orders"), First: first, Time: at})
		for i := range all {
			if m := wire.Kept(&all[i]); kept {
				r.groups.groups[first] = append(r.groups.groups[first], message.Stored{Place: message.Place{Lane: lane, Seq: uint64(i + 1)}, Message: m})
			}
		}
	}
	add("01JD6Z0000000000000000AAAA", now, true, siteMessage(4, nil), siteMessage(9, nil))
	add("01JD6Z0000000000000000BBBB", now.Add(-time.Hour), true, siteMessage(1, nil))
	add("01JD6Z0000000000000000CCCC", now.Add(-time.Minute), false)
	r.groups.keys = append(r.groups.keys, StoredKey{Hash: relayKey("other", "orders"), First: message.Place{Lane: "01JD6Z0000000000000000AAAA", Seq: 1}, Time: now})
	found, done := r.places(now.Add(-10 * time.Minute).UnixMicro())
	if want := [][2]uint64{{4, 4}, {9, 9}}; !slices.Equal(found[siteMessage(1, nil).Place.Lane], want) {
		t.Errorf("found %v", found)
	}
	if from := done.From["orders"]; from <= now.Add(-time.Minute).UnixMicro() || from > now.UnixMicro() {
		t.Errorf("a group that is gone: known from %v on", time.UnixMicro(from))
	}
	_, done = r.places(now.Add(-48 * time.Hour).UnixMicro())
	if from := done.From["orders"]; from == 0 {
		t.Error("it says that it remembers two days")
	}
}

// A new session waits for what other processes have stored to go on.
func TestRelayOrder(t *testing.T) {
	r := newRelayRig(t, nil)
	lane := "01JD6Z0000000000000000AAAA"
	m := wire.Kept(&wire.Relayed{Place: siteMessage(1, nil).Place, Path: []string{"site"}, Message: siteMessage(1, nil).Message})
	first := message.Place{Lane: lane, Seq: 5}
	r.groups.keys = []StoredKey{{Hash: relayKey("site", "orders"), First: first, Time: time.Now()}}
	r.groups.groups[first] = []message.Stored{{Place: first, Message: m}}
	r.store.mu.Lock()
	r.store.stored = append(r.store.stored, message.Stored{Place: first, Message: m})
	r.store.mu.Unlock()
	for range 2 {
		if a := r.do(http.MethodPost, wire.PathMessages, batchOf(siteMessage(2, nil))); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	r.tracker.set(first, message.Outcome{State: message.StateForwarded})
	if a := r.relay(siteMessage(2, nil)); a.Stored != 1 {
		t.Fatalf("%+v", a)
	}
	r.tracker.set(first, message.Outcome{State: message.StateQueued})
	if a := r.relay(siteMessage(3, nil)); a.Stored != 1 {
		t.Fatalf("the session was let in: %+v", a)
	}
	r.groups.keys = nil
	r.groups.tails = [][]message.Stored{r.groups.groups[first]} // no index has it
	r.session = "s2"
	if a := r.do(http.MethodPost, wire.PathMessages, batchOf(siteMessage(4, nil))); a.status != http.StatusServiceUnavailable {
		t.Fatalf("another session: %d %s", a.status, a.body)
	}
}

// The index keeps what it is to keep and no more.
func TestRelayIndexForgets(t *testing.T) {
	o := defaultRelayOptions()
	o.MaxEntries, o.Retention = 1024, time.Hour
	x := newRelayIndex(o)
	now := time.Now()
	place := func(word uint64) message.Place { return message.Place{Lane: "L", Seq: 64*word + 5} }
	for i := range uint64(3000) {
		x.add("site", "t", []message.Place{place(i)}, now)
	}
	if n := x.len(); n != 1024 || x.has("site", "t", place(3000-1025)) || !x.has("site", "t", place(3000-1024)) || x.has("site", "other", place(2999)) {
		t.Errorf("%d entries, of those that were to go %v", n, x.has("site", "t", place(3000-1025)))
	}
	if from := x.since("site", "t", 0, func(string, [][2]uint64) {}); from <= now.UnixMicro() {
		t.Errorf("it says that it knows all from %d on", from)
	}
	x.add("site", "t", []message.Place{{Lane: "M", Seq: 1}}, now.Add(2*time.Hour))
	if n := x.len(); n != 1 {
		t.Errorf("%d entries after the retention", n)
	}
	leave, err := x.enter(t.Context(), "site", "t", []string{"N"})
	if err != nil {
		t.Fatal(err)
	}
	leave()
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.streams) != 1 {
		t.Errorf("%d streams", len(x.streams))
	}
}

func TestRelayRuns(t *testing.T) {
	for _, all := range [][]uint64{{1}, {0, 1, 2}, {63, 64}, {1, 3, 5, 127, 128, 129, 300}, {64, 65, 126, 127, 128}} {
		set := relaySet{}
		for _, s := range all {
			set.add([][2]uint64{{s, s}})
		}
		var got []uint64
		runs := set.runs()
		for i, r := range runs {
			if i > 0 && r[0] <= runs[i-1][1]+1 {
				t.Errorf("%v: runs %v are not apart", all, runs)
			}
			for s := r[0]; s <= r[1]; s++ {
				got = append(got, s)
			}
		}
		if !slices.Equal(got, all) {
			t.Errorf("%v gives %v", all, runs)
		}
	}
	full := relaySet{}
	full.add([][2]uint64{{0, 191}})
	if runs := full.runs(); !slices.Equal(runs, [][2]uint64{{0, 191}}) {
		t.Errorf("full words give %v", runs)
	}
}

func TestRelayStampText(t *testing.T) {
	var s RelayStamp
	if err := s.UnmarshalText([]byte("site=/run/site.token")); err != nil || s != (RelayStamp{"site", "/run/site.token"}) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"", "site", "site=", "=file", "Site=file", "a b=file"} {
		if s.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
