package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/internal/auth"
	"postroad/internal/durable"
	"postroad/internal/gateway"
	"postroad/internal/httpserve"
	"postroad/internal/message"
	"postroad/internal/queue"
	"postroad/internal/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const nodeToken = "token-of-the-stream-nodes-0123456789"

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func file(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// stamp is a gateway on a queue of its own, behind a listener that fails as its
// script says.
type stamp struct {
	name   string
	dir    string
	server *httptest.Server
	stop   func()

	mu     sync.Mutex
	script []fault // guarded by mu; what the next requests meet
	asked  []ask   // guarded by mu
	// hold ends all that hangs.
	hold chan struct{}
}

// ask is a request that came.
type ask struct{ key, attempt, principal string }

// fault is what becomes of a request.
type fault string

const (
	works  fault = "works"
	lost   fault = "lost"  // stored, and the connection cut instead of the answer
	half   fault = "half"  // stored, and the connection cut in the middle of the answer
	cut    fault = "cut"   // the connection cut in the middle of the request
	hangs  fault = "hangs" // neither stored nor answered
	late   fault = "late"  // stored, and not answered
	busy   fault = "busy"  // 503, not stored
	full   fault = "full"  // 507, not stored
	mesh   fault = "mesh"  // stored, and 503 of a proxy in between that got no answer
	broken fault = "broken"
	page   fault = "page"  // 200 of somebody else's
	empty  fault = "empty" // 200 with nothing in it
)

func newStamp(t testing.TB, name string, change func(*gateway.Options)) *stamp {
	t.Helper()
	o := queue.DefaultOptions()
	o.Dir, o.SegmentBytes, o.ReserveBytes, o.BallastBytes, o.UnsafeFileSystem = filepath.Join(t.TempDir(), "queue"), 64<<10, 0, 0, true
	q, err := queue.Open(o, queue.Deps{Log: quiet(), Stamp: name})
	if err != nil {
		t.Fatal(err)
	}
	settings := gateway.DefaultOptions()
	settings.Auth.Nodes = []gateway.RelayStamp{{Name: "stream", File: file(t, nodeToken)}}
	if change != nil {
		change(&settings)
	}
	d := gateway.Deps{Store: q, Tracker: noTracker{}, Log: quiet(), Identity: gateway.Identity{Stamp: name}}
	if settings.Auth.Enabled {
		if d.Callers, err = auth.NewVerifier(settings.Auth.Options, auth.Deps{Log: quiet()}); err != nil {
			t.Fatal(err)
		}
	}
	g, err := gateway.New(settings, d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	s := &stamp{name: name, dir: o.Dir, hold: make(chan struct{})}
	inner := g.Handler()
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, inner) }))
	s.stop = sync.OnceFunc(func() {
		close(s.hold)
		s.server.Close()
		cancel()
		if err := errors.Join(<-done, q.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// next sets what the next requests meet.
func (s *stamp) next(faults ...fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, faults...)
}

func (s *stamp) requests() []ask {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]ask(nil), s.asked...)
}

func (s *stamp) serve(w http.ResponseWriter, r *http.Request, inner http.Handler) {
	s.mu.Lock()
	s.asked = append(s.asked, ask{r.Header.Get("Idempotency-Key"), r.Header.Get("Postroad-Attempt"), r.Header.Get("Postroad-Principal")})
	f := works
	if len(s.script) > 0 {
		f, s.script = s.script[0], s.script[1:]
	}
	s.mu.Unlock()
	switch f {
	case works:
		inner.ServeHTTP(w, r)
	case lost:
		inner.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	case half:
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		maps.Copy(w.Header(), rec.Header())
		w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		panic(http.ErrAbortHandler)
	case cut:
		io.CopyN(io.Discard, r.Body, 1)
		panic(http.ErrAbortHandler)
	case late:
		inner.ServeHTTP(httptest.NewRecorder(), r)
		s.hang(r)
	case hangs:
		s.hang(r)
	case busy:
		w.Header().Set("Retry-After", "0")
		httpserve.Problem{Name: "unavailable", Status: http.StatusServiceUnavailable}.Write(w)
	case full:
		httpserve.Problem{Name: "insufficient-storage", Status: http.StatusInsufficientStorage}.Write(w)
	case mesh:
		inner.ServeHTTP(httptest.NewRecorder(), r)
		http.Error(w, "upstream connect error or disconnect/reset before headers", http.StatusServiceUnavailable)
	case broken:
		w.WriteHeader(http.StatusBadGateway)
	case page:
		io.WriteString(w, "<html>please log in</html>")
	case empty:
		io.WriteString(w, "{}")
	}
}

func (s *stamp) hang(r *http.Request) {
	select {
	case <-s.hold:
	case <-r.Context().Done():
	}
	panic(http.ErrAbortHandler)
}

// stored ends the stamp and reads all that is on its disk.
func (s *stamp) stored(t testing.TB) (all []message.Message) {
	t.Helper()
	s.stop()
	lanes, err := os.ReadDir(filepath.Join(s.dir, "lanes"))
	if err != nil {
		t.Fatal(err)
	}
	for _, lane := range lanes {
		for n := uint64(1); ; n++ {
			seg, err := wal.OpenReader(durable.OS{}, path.Join(filepath.ToSlash(s.dir), "lanes", lane.Name(), wal.Name(n)))
			if err != nil {
				break
			}
			for g, err := seg.Next(); err == nil; g, err = seg.Next() {
				msgs, err := g.Messages()
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range msgs {
					m.Value = append([]byte(nil), m.Value...)
					all = append(all, m)
				}
			}
			seg.Close()
		}
	}
	return all
}

type noTracker struct{}

func (noTracker) Await(context.Context, message.Place, int) []message.Outcome { return nil }
func (noTracker) Locate(context.Context, message.Receipt) (message.Outcome, error) {
	return message.Outcome{}, message.ErrNotFound
}

func (noTracker) Scan(context.Context, message.ID) (message.Receipt, message.Outcome, error) {
	return message.Receipt{}, message.Outcome{}, message.ErrNotFound
}

// ledger is what clients were told, by the value they sent: it knows no ids.
type ledger struct {
	mu  sync.Mutex
	all map[string]error
}

func (l *ledger) enter(value string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[string]error{}
	}
	l.all[value] = err
}

// judge compares what clients were told with what is stored at all stamps, and
// returns what breaks a promise: an acknowledged message that is nowhere, one
// that readers would see twice, one that is stored although its client was told
// it is not, a copy that is not marked as one.
func (l *ledger) judge(stored []message.Message) (broken []string) {
	ids, copies, unmarked := map[string]map[message.ID]bool{}, map[message.ID]int{}, map[message.ID]int{}
	for _, m := range stored {
		value := string(m.Value)
		if ids[value] == nil {
			ids[value] = map[message.ID]bool{}
		}
		ids[value][m.ID] = true
		copies[m.ID]++
		if !m.Repeat {
			unmarked[m.ID]++
		}
	}
	for value, err := range l.all {
		n := len(ids[value])
		switch {
		case err == nil && n == 0:
			broken = append(broken, value+": acknowledged and lost")
		case n > 1:
			broken = append(broken, fmt.Sprintf("%s: %d messages to readers", value, n))
		case n > 0 && err != nil && !errors.Is(err, ErrUnknown):
			broken = append(broken, fmt.Sprintf("%s: stored although %v", value, err))
		}
	}
	for id, n := range copies {
		if unmarked[id] > 1 {
			broken = append(broken, fmt.Sprintf("%v: %d of %d copies are not marked", id, unmarked[id], n))
		}
	}
	for value := range ids {
		if _, sent := l.all[value]; !sent {
			broken = append(broken, value+": nobody sent it")
		}
	}
	return broken
}

// node is a publisher of one stream node.
func node(t testing.TB, stamps []*stamp, change func(*Options, *Deps)) *Publisher {
	t.Helper()
	o := DefaultOptions()
	o.AttemptTimeout, o.GiveUp, o.TokenFile = 300*time.Millisecond, 10*time.Second, file(t, nodeToken)
	for _, s := range stamps {
		o.Gateways = append(o.Gateways, s.server.URL+"/")
	}
	d := Deps{Log: quiet()}
	if change != nil {
		change(&o, &d)
	}
	p, err := New(o, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func text(principal, key, value string) Message {
	return Message{Principal: principal, Topic: "chat", Key: key, Value: []byte(value), Type: TypeText}
}

// fresh sabotages a publisher: each request goes out under a key of its own.
type fresh struct{ http.RoundTripper }

func (f fresh) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header["idempotency-key"] = []string{`"` + message.MintKey() + `"`}
	return f.RoundTripper.RoundTrip(r)
}

// unnumbered sabotages a publisher: each request says that it is the first.
type unnumbered struct{ http.RoundTripper }

func (f unnumbered) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Postroad-Attempt", "1")
	return f.RoundTripper.RoundTrip(r)
}

// sabotaged is a client that spoils what it sends.
func sabotaged(t testing.TB, spoil func(http.RoundTripper) http.RoundTripper) *http.Client {
	t.Helper()
	c, err := newClient("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	c.Transport = spoil(c.Transport)
	return c
}

func joined(lines []string) string { return strings.Join(lines, "\n  ") }
