package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"postroad/internal/message"
	"postroad/internal/relay/wire"
)

// far is another stamp as a RoundTripper: what it answers is a test's to say.
type far struct {
	t testing.TB
	// batch answers a batch; nil takes everything.
	batch func(r *http.Request, msgs []wire.Relayed) (int, any)
	hello func(r *http.Request) (int, any)
	delay time.Duration

	mu      sync.Mutex
	process string
	began   time.Time
	got     []wire.Relayed // guarded by mu: of all batches that were taken
	sizes   []int          // guarded by mu: messages of each request
	now     atomic.Int64   // batches under way
	most    atomic.Int64
}

func newFar(t testing.TB) *far { return &far{t: t, process: "P1", began: time.Now()} }

func (f *far) says() wire.Hello {
	f.mu.Lock()
	defer f.mu.Unlock()
	return wire.Hello{
		Stamp: "centre", Process: f.process, Tick: time.Since(f.began).Milliseconds(), Time: time.Now().UnixMicro(), Lease: 15000,
		MaxMessageBytes: 900000, MaxBatchBytes: 8 << 20, MaxBatchMessages: 10000,
	}
}

func problem(status int, detail string) (int, any) {
	return status, map[string]any{"type": problemPrefix + "x", "title": "x", "detail": detail, "status": status}
}

// RoundTrip implements http.RoundTripper.
func (f *far) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.delay > 0 && sleep(r.Context(), f.delay) != nil {
		return nil, r.Context().Err()
	}
	status, v := f.answer(r)
	if status == 0 {
		return nil, errCut
	}
	rec := httptest.NewRecorder()
	if p, ok := v.(map[string]any); ok && p["after"] != nil {
		rec.Header().Set("Retry-After", fmt.Sprint(p["after"]))
	}
	rec.WriteHeader(status)
	if err := json.NewEncoder(rec).Encode(v); err != nil {
		f.t.Error(err)
	}
	return rec.Result(), nil
}

func (f *far) answer(r *http.Request) (int, any) {
	if r.URL.Path == wire.PathHello {
		if f.hello != nil {
			return f.hello(r)
		}
		return http.StatusOK, f.says()
	}
	f.most.Store(max(f.most.Load(), f.now.Add(1)))
	defer f.now.Add(-1)
	if f.delay > 0 {
		<-time.After(f.delay)
	}
	msgs := f.read(r)
	f.mu.Lock()
	f.sizes = append(f.sizes, len(msgs))
	process := f.process
	f.mu.Unlock()
	if r.Header.Get(wire.FieldProcess) != process {
		return problem(http.StatusMisdirectedRequest, "another process")
	}
	if f.batch != nil {
		if status, v := f.batch(r, msgs); v != nil || status != http.StatusOK {
			return status, v
		}
	}
	f.mu.Lock()
	f.got = append(f.got, msgs...)
	f.mu.Unlock()
	return http.StatusOK, wire.Answer{Hello: f.says(), Stored: len(msgs)}
}

func (f *far) read(r *http.Request) (msgs []wire.Relayed) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "zstd" {
		d, err := zstd.NewReader(r.Body, zstd.WithDecoderConcurrency(1))
		if err != nil {
			f.t.Error(err)
			return nil
		}
		defer d.Close()
		body = d
	}
	in := wire.NewReader(body, 1<<20, 1<<24)
	for {
		m, err := in.Next()
		if errors.Is(err, io.EOF) {
			return msgs
		}
		if err != nil {
			f.t.Error(err)
			return msgs
		}
		msgs = append(msgs, m)
	}
}

func newTestSink(t testing.TB, f *far, change func(*Options, *Deps)) *Sink {
	t.Helper()
	o, d := DefaultOptions(), Deps{Stamp: "site", transport: f}
	o.URL, o.TokenFile = "https://centre.example", tokenFile(t)
	if change != nil {
		change(&o, &d)
	}
	s, err := NewSink(o, d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testMessage(seq uint64, key string) *message.Stored {
	return &message.Stored{
		Place: message.Place{Lane: "01JD6Z0000000000000000SJTE", Seq: seq},
		Message: message.Message{
			ID: message.DeriveID("p", "t", key, message.Hash{}, int(seq)), Topic: "t", Key: []byte(key), Value: []byte(strings.Repeat("v", 300)),
			Time: time.UnixMicro(1_700_000_000_000_000).UTC(),
		},
	}
}

// outcomes collects what becomes of messages.
type outcomes struct {
	mu  sync.Mutex
	err map[uint64]error
	wg  sync.WaitGroup
}

// send gives messages of seqs to one stream and waits for their answers.
func send(t testing.TB, s *Sink, seqs ...uint64) *outcomes {
	t.Helper()
	o := &outcomes{err: map[uint64]error{}}
	s.sessMu.Lock() // no batch is made up before all of them are there
	var errs []error
	turn := s.Turn()
	for _, seq := range seqs {
		o.wg.Add(1)
		errs = append(errs, s.Produce(testMessage(seq, "k"), 0, turn, func(at int64, err error) {
			defer o.wg.Done()
			o.mu.Lock()
			defer o.mu.Unlock()
			if (at > 0) != (err == nil) {
				t.Errorf("seq %d: at %d, %v", seq, at, err)
			}
			o.err[seq] = err
		}))
	}
	s.sessMu.Unlock()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	o.wg.Wait()
	return o
}

func classOf(err error) string {
	var c interface{ Class() string }
	if errors.As(err, &c) {
		return c.Class()
	}
	return ""
}

// What is refused comes back with its class; what is before it is settled, and
// what is behind it waits, so that it cannot overtake.
func TestRefused(t *testing.T) {
	for _, class := range []string{classDead, classHold, "new"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFar(t)
			f.delay = 10 * time.Millisecond
			f.batch = func(_ *http.Request, msgs []wire.Relayed) (int, any) {
				for i := range msgs {
					if msgs[i].Place.Seq == 3 {
						return http.StatusOK, wire.Answer{Hello: f.says(), Stored: i, Refused: &wire.Refusal{Class: class, Reason: "because"}}
					}
				}
				return http.StatusOK, nil
			}
			s := newTestSink(t, f, nil)
			defer s.Close()
			turn := s.Turn()
			o := send(t, s, 1, 2, 3, 4, 5)
			want := class
			if class == "new" {
				want = classHold
			}
			if o.err[1] != nil || o.err[2] != nil || classOf(o.err[3]) != want || !strings.Contains(o.err[3].Error(), "because") ||
				classOf(o.err[4]) != classHold || !errors.Is(o.err[5], errBehind) {
				t.Fatalf("%v", o.err)
			}
			if err := s.Produce(testMessage(6, "k"), 0, turn, func(int64, error) { t.Error("answered") }); !errors.Is(err, errTurn) {
				t.Errorf("an old turn: %v", err)
			}
			if o := send(t, s, 4, 5); o.err[4] != nil || o.err[5] != nil {
				t.Errorf("without it: %v", o.err)
			}
		})
	}
}

// An answer that is lost is asked for again of the same process; another process
// makes the messages come back, and the next time they are marked.
func TestLostAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		lose := 3
		f.batch = func(*http.Request, []wire.Relayed) (int, any) {
			if lose--; lose >= 0 {
				return 0, "lost"
			}
			return http.StatusOK, nil
		}
		s := newTestSink(t, f, nil)
		defer s.Close()
		if o := send(t, s, 1, 2); o.err[1] != nil || o.err[2] != nil || len(f.sizes) != 4 {
			t.Fatalf("%v after %v", o.err, f.sizes)
		}
		lose = 1
		f.batch = func(*http.Request, []wire.Relayed) (int, any) {
			if lose--; lose >= 0 {
				f.mu.Lock()
				f.process = "P2"
				f.mu.Unlock()
				return 0, "lost"
			}
			return http.StatusOK, nil
		}
		o := send(t, s, 3, 4)
		if classOf(o.err[3]) != classRetry || !errors.Is(o.err[3], errOther) || !errors.Is(o.err[4], errOther) {
			t.Fatalf("%v", o.err)
		}
		if o := send(t, s, 3, 4, 5); o.err[3] != nil || o.err[5] != nil {
			t.Fatalf("%v", o.err)
		}
		repeats := map[uint64]bool{}
		for i := range f.got {
			repeats[f.got[i].Place.Seq] = f.got[i].Repeat
		}
		if repeats[1] || !repeats[3] || !repeats[4] || repeats[5] {
			t.Errorf("marked as repeats: %v", repeats)
		}
	})
}

// What is surely not stored may go to another process.
func TestMisdirected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		s := newTestSink(t, f, nil)
		defer s.Close()
		send(t, s, 1)
		f.mu.Lock()
		f.process = "P2"
		f.mu.Unlock()
		if o := send(t, s, 2); o.err[2] != nil {
			t.Fatal(o.err)
		}
	})
}

// Who is told to wait waits, and whoever watches hears of it.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		left := 2
		f.batch = func(*http.Request, []wire.Relayed) (int, any) {
			if left--; left >= 0 {
				status, p := problem(http.StatusServiceUnavailable, "overloaded")
				p.(map[string]any)["after"] = 7
				return status, p
			}
			return http.StatusOK, nil
		}
		s := newTestSink(t, f, nil)
		defer s.Close()
		var bad, good atomic.Int64
		s.Watch(func(err error) {
			if err != nil {
				bad.Add(1)
			} else {
				good.Add(1)
			}
		})
		began := time.Now()
		if o := send(t, s, 1); o.err[1] != nil {
			t.Fatal(o.err)
		}
		if took := time.Since(began); took < 14*time.Second || bad.Load() != 2 || good.Load() < 2 {
			t.Errorf("took %v, %d bad and %d good exchanges", took, bad.Load(), good.Load())
		}
	})
}

// What only a person can mend holds everything, and goes on when it is mended: a
// token is read again.
func TestHolds(t *testing.T) {
	for _, status := range []int{401, 403, 404, 405, 400} {
		synctest.Test(t, func(t *testing.T) {
			f := newFar(t)
			var file string
			want := func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer another-token-0123456789" }
			f.hello = func(r *http.Request) (int, any) {
				if !want(r) {
					return problem(status, "no")
				}
				return http.StatusOK, f.says()
			}
			s := newTestSink(t, f, func(o *Options, _ *Deps) { file = o.TokenFile })
			defer s.Close()
			o := send(t, s, 1)
			var wide interface{ HubWide() bool }
			if classOf(o.err[1]) != classHold || !errors.As(o.err[1], &wide) || !wide.HubWide() || strings.Contains(o.err[1].Error(), "token-of") {
				t.Fatalf("%v", o.err)
			}
			if err := s.Probe(t.Context()); classOf(err) != classHold {
				t.Errorf("probe: %v", err)
			}
			if err := os.WriteFile(file, []byte("another-token-0123456789\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Second)
			if o := send(t, s, 1); o.err[1] != nil {
				t.Errorf("with another token: %v", o.err)
			}
		})
	}
}

// A batch that something on the way finds too large is sent in parts, in order.
func TestTooLargeOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		f.batch = func(_ *http.Request, msgs []wire.Relayed) (int, any) {
			if len(msgs) > 3 {
				return http.StatusRequestEntityTooLarge, "a proxy's page"
			}
			return http.StatusOK, nil
		}
		s := newTestSink(t, f, nil)
		defer s.Close()
		var seqs []uint64
		for seq := range uint64(40) {
			seqs = append(seqs, seq+1)
		}
		for seq, err := range send(t, s, seqs...).err {
			if err != nil {
				t.Fatalf("%d: %v", seq, err)
			}
		}
		var got []uint64
		for i := range f.got {
			got = append(got, f.got[i].Place.Seq)
		}
		if !slices.Equal(got, seqs) {
			t.Errorf("stored %v", got)
		}
	})
}

// Streams go side by side: the time a round trip takes does not bound what is
// sent, and each stream has one batch under way.
func TestStreamsSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		f.delay = 50 * time.Millisecond
		s := newTestSink(t, f, nil)
		defer s.Close()
		n, err := s.Partitions(t.Context(), "t")
		if err != nil || n != 8 {
			t.Fatal(n, err)
		}
		var wg sync.WaitGroup
		began := time.Now()
		for seq := range uint64(4000) {
			m := testMessage(seq+1, fmt.Sprintf("k%d", seq%100))
			wg.Add(1)
			if err := s.Produce(m, s.Partition(&m.Message, n), s.Turn(), func(_ int64, err error) {
				if err != nil {
					t.Error(err)
				}
				wg.Done()
			}); err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
		if f.most.Load() != int64(n) || time.Since(began) > time.Second {
			t.Errorf("%d batches at a time, all took %v", f.most.Load(), time.Since(began))
		}
		last := map[string]uint64{}
		for i := range f.got {
			m := &f.got[i]
			if m.Place.Seq <= last[string(m.Key)] {
				t.Fatalf("%d of %s after %d", m.Place.Seq, m.Key, last[string(m.Key)])
			}
			last[string(m.Key)] = m.Place.Seq
		}
	})
}

// Reset and Close give everything back at once, whatever the other stamp does.
func TestGivenBack(t *testing.T) {
	for _, forGood := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFar(t)
			f.hello = func(r *http.Request) (int, any) { <-r.Context().Done(); return 0, nil }
			s := newTestSink(t, f, nil)
			defer s.Close()
			var wg sync.WaitGroup
			wg.Go(func() {
				if o := send(t, s, 1, 2); !errors.Is(o.err[1], ErrClosed) || !errors.Is(o.err[2], ErrClosed) || classOf(o.err[1]) != classRetry {
					t.Errorf("%v", o.err)
				}
			})
			synctest.Wait()
			began := time.Now()
			if forGood {
				s.Close()
			} else if err := s.Reset(); err != nil {
				t.Error(err)
			}
			wg.Wait()
			if took := time.Since(began); took != 0 {
				t.Errorf("it took %v", took)
			}
			f.hello = nil
			err := s.Produce(testMessage(3, "k"), 0, s.Turn(), func(_ int64, err error) {
				if err != nil {
					t.Error(err)
				}
			})
			if (err != nil) != forGood {
				t.Errorf("afterwards: %v", err)
			}
			synctest.Wait()
		})
	}
}

// A process whose claims may be others' writes nothing, and does not blame the
// other stamp.
func TestGate(t *testing.T) {
	overdue := errors.New("overdue")
	var may atomic.Pointer[error]
	var came atomic.Int64
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		came.Add(1)
		_ = json.NewEncoder(w).Encode(wire.Hello{Stamp: "centre", Process: "P", Tick: 1, Time: 1, Lease: 15000, MaxBatchBytes: 1, MaxBatchMessages: 1})
	}))
	defer server.Close()
	o := DefaultOptions()
	o.URL, o.TokenFile = server.URL, tokenFile(t)
	s, err := NewSink(o, Deps{Stamp: "site", MayWrite: func() error {
		if err := may.Load(); err != nil {
			return *err
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.life.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	if err := s.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	may.Store(&overdue)
	err = s.Probe(t.Context())
	var own interface{ Own() bool }
	if !errors.Is(err, overdue) || !errors.As(err, &own) || !own.Own() || came.Load() != 1 {
		t.Errorf("%v, %d requests came", err, came.Load())
	}
	// Also what the HTTP client has in hand already.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := s.life.client.Do(r); err == nil {
		_ = resp.Body.Close()
		t.Error("written to the connection")
	}
	if came.Load() != 1 {
		t.Errorf("%d requests came", came.Load())
	}
	s.Close()
}

func TestToItself(t *testing.T) {
	f := newFar(t)
	s := newTestSink(t, f, func(_ *Options, d *Deps) { d.Stamp = "centre" })
	defer s.Close()
	if err := s.Probe(t.Context()); classOf(err) != classHold || !strings.Contains(err.Error(), "itself") {
		t.Errorf("%v", err)
	}
}

func TestAllowed(t *testing.T) {
	s := newTestSink(t, newFar(t), func(_ *Options, d *Deps) { d.Allow = []string{"a*", "b"} })
	defer s.Close()
	for topic, want := range map[string]string{"abc": "", "b": "", "c": classHold} {
		if _, err := s.Partitions(context.Background(), topic); classOf(err) != want {
			t.Errorf("%s: %v", topic, err)
		}
	}
}

// An answer that cannot be is not believed.
func TestUnbelievable(t *testing.T) {
	for name, v := range map[string]wire.Answer{
		"more than were sent": {Stored: 3}, "none and no reason": {}, "less than none": {Stored: -1, Refused: &wire.Refusal{}},
		"all and a reason": {Stored: 2, Refused: &wire.Refusal{}},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFar(t)
			f.batch = func(*http.Request, []wire.Relayed) (int, any) {
				v.Hello = f.says()
				return http.StatusOK, v
			}
			s := newTestSink(t, f, nil)
			defer s.Close()
			if o := send(t, s, 1, 2); classOf(o.err[1]) != classRetry || classOf(o.err[2]) != classRetry {
				t.Errorf("%s: %v", name, o.err)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	good := DefaultOptions()
	good.URL, good.TokenFile = "https://a.example:8443", "/run/token"
	for name, row := range map[string]struct {
		change func(*Options)
		wants  string
	}{
		"good":                {func(*Options) {}, ""},
		"this machine":        {func(o *Options) { o.URL = "http://127.0.0.1:8081" }, ""},
		"plain":               {func(o *Options) { o.URL = "http://a.example" }, "hub.relay.url"},
		"no url":              {func(o *Options) { o.URL = "" }, "hub.relay.url"},
		"a path":              {func(o *Options) { o.URL += "/x" }, "hub.relay.url"},
		"a password":          {func(o *Options) { o.URL = "https://u:p@a.example" }, "hub.relay.url"},
		"no token":            {func(o *Options) { o.TokenFile = "" }, "hub.relay.token_file"},
		"no streams":          {func(o *Options) { o.Streams = 0 }, "hub.relay.streams"},
		"small batches":       {func(o *Options) { o.BatchBytes = 1 }, "hub.relay.batch_bytes"},
		"another compression": {func(o *Options) { o.Compression = "gzip" }, "hub.relay.compression"},
	} {
		o := good
		row.change(&o)
		err := errors.Join(o.ProblemsIn("hub.relay", true)...)
		if row.wants == "" && err != nil || row.wants != "" && (err == nil || !strings.HasPrefix(err.Error(), row.wants+": ")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := DefaultOptions().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
