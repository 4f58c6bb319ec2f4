package carry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// TestKeep: a body is kept up to the limit and as far as memory goes; what is
// not kept is still there from its beginning.
func TestKeep(t *testing.T) {
	for _, size := range []int64{0, 1, firstBytes - 1, firstBytes, firstBytes + 1, 100_000, 100_001} {
		for _, announced := range []bool{true, false} {
			for _, room := range []int64{1 << 20, 100_001, 50_000, 10, 0} {
				for name, reader := range map[string]func(io.Reader) io.Reader{
					"plain": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "early end": iotest.DataErrReader,
				} {
					t.Run(fmt.Sprintf("%d/%v/%d/%s", size, announced, room, name), func(t *testing.T) {
						keeps(t, size, announced, room, reader)
					})
				}
			}
		}
	}
}

func keeps(t *testing.T, size int64, announced bool, room int64, reader func(io.Reader) io.Reader) {
	const most = 100_000
	want := strings.Repeat("k", int(size))
	m := memory{size: room}
	h := &held{from: &m}
	h.enter()
	length := int64(-1)
	if announced {
		length = size
	}
	src := reader(strings.NewReader(want))
	b, whole, err := keep(src, length, most, h)
	if err != nil {
		t.Fatal(err)
	}
	if used := m.used.Load(); used > room || used < int64(cap(b)) {
		t.Errorf("%d bytes counted of %d, the buffer has %d", used, room, cap(b))
	}
	if fits := size <= most && max(size, firstBytes) < room/2; fits && !whole {
		t.Error("not kept although there is room")
	}
	if whole && (size > most || int64(cap(b)) > most+1) {
		t.Errorf("kept %d in a buffer of %d", size, cap(b))
	}
	all := b
	if !whole {
		rest, err := io.ReadAll(src)
		if err != nil {
			t.Fatal(err)
		}
		all = append(bytes.Clone(b), rest...)
	}
	if string(all) != want {
		t.Errorf("%d bytes of %d are left", len(all), size)
	}
	if h.leave(); m.used.Load() != 0 {
		t.Errorf("%d bytes are not given back", m.used.Load())
	}
}

// TestBadBody: what the client did wrong is neither blamed on an origin nor
// called unknown, and never reaches one whole.
func TestBadBody(t *testing.T) {
	for _, size := range []int64{100, 2 << 20} {
		for _, kind := range []Kind{Gateway, Plain} {
			l := &ledger{}
			r := newRig(t, rigging{}, good(t, l), good(t, l))
			broken := io.MultiReader(strings.NewReader(strings.Repeat("x", 50)), iotest.ErrReader(io.ErrUnexpectedEOF))
			req := request(t.Context(), kind, "POST", topic, broken)
			req.ContentLength = size
			got := r.do(t, req)
			if bad, ok := errors.AsType[*Body](got.err); !ok || !errors.Is(bad, io.ErrUnexpectedEOF) || (bad.Key == "") != (kind == Plain) {
				t.Errorf("%v of %d: %v", kind, size, got)
			}
			if _, executed, _ := l.read(); len(executed) != 0 || !r.group.Origins()[0].Healthy() {
				t.Errorf("%v of %d: executed %d times", kind, size, len(executed))
			}
		}
	}
}

// TestNoMemory: where the memory for bodies is used up requests still go
// through, are not repeated, and the client is told the truth.
func TestNoMemory(t *testing.T) {
	for _, trailer := range []bool{false, true} {
		o := testOptions()
		if !trailer {
			o.MaxBuffered = 0
		}
		l := &ledger{}
		r := newRig(t, rigging{carry: o}, scripted(t, step{"", -1, "", "close"}, l, true), good(t, l))
		req := request(t.Context(), Gateway, "POST", topic, strings.NewReader("hello"))
		if trailer {
			req.Trailer = http.Header{"After": nil}
			req.ContentLength, req.TransferEncoding = -1, []string{"chunked"}
		}
		wantUnknown(t, r.do(t, req))
		if _, executed, _ := l.read(); len(executed) != 1 || !strings.HasSuffix(executed[0], "|1|hello") {
			t.Errorf("trailer=%v: executed %q", trailer, executed)
		}
		if s := r.Stats(); s.Streamed != 1 || s.Buffered != 0 {
			t.Errorf("stats %+v", s)
		}
	}
}

// TestMemoryBound: however many bodies come at once, what is kept stays below
// the cap, and every body is there whole.
func TestMemoryBound(t *testing.T) {
	const size = 50_000
	m := memory{size: 300_000}
	var wg sync.WaitGroup
	all := make([]held, 40)
	for i := range all {
		wg.Go(func() {
			h := &all[i]
			h.from = &m
			h.enter()
			src := strings.NewReader(strings.Repeat("x", size))
			b, whole, err := keep(src, -1, 1<<20, h)
			if err != nil || whole != (src.Len() == 0 && len(b) == size) || len(b)+src.Len() != size {
				t.Errorf("kept %d bytes, %v, %d are left: %v", len(b), whole, src.Len(), err)
			}
		})
	}
	wg.Wait()
	if used := m.used.Load(); used > m.size {
		t.Errorf("%d bytes are held of %d", used, m.size)
	}
	for i := range all {
		all[i].leave()
	}
	if used := m.used.Load(); used != 0 {
		t.Errorf("%d bytes are left", used)
	}
}

// drawnOut is a body that comes at once but for its last bytes, which come one by
// one as often as more lets them.
type drawnOut struct {
	left int
	more <-chan time.Time
}

// Read implements io.Reader.
func (d *drawnOut) Read(p []byte) (int, error) {
	const last = 30
	n := min(len(p), d.left-last)
	if n <= 0 {
		<-d.more
		n = 1
	}
	d.left -= n
	for i := range n {
		p[i] = 'x'
	}
	if d.left == 0 {
		return n, io.EOF
	}
	return n, nil
}

// TestSlowBodies: clients that draw their bodies out do not take from others what
// keeps their messages safe: one alone never, several together not for long.
func TestSlowBodies(t *testing.T) {
	client := func(n int) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 32) }
	for _, clients := range []int{1, 3, 40} {
		t.Run(fmt.Sprint(clients), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := scriptedRig(t, map[string]script{"a": func(req *http.Request) (*http.Response, error) {
					_, _ = io.Copy(io.Discard, req.Body)
					return answering(202), nil
				}}, time.Now)
				post := func(from netip.Prefix, size int, body io.Reader) {
					req := request(t.Context(), Gateway, "POST", topic, body)
					req.ContentLength = int64(size)
					r.do(t, req.WithContext(With(t.Context(), Call{Kind: Gateway, Client: from})))
				}
				var wg sync.WaitGroup
				const size = 1 << 20
				for i := range 200 {
					wg.Go(func() {
						tick := time.NewTicker(20 * time.Second)
						defer tick.Stop()
						post(client(i%clients), size, &drawnOut{size, tick.C})
					})
				}
				kept := func(size int) bool {
					before := r.Stats().Streamed
					post(client(200), size, strings.NewReader(strings.Repeat("y", size)))
					return r.Stats().Streamed == before
				}
				synctest.Wait()
				if used := r.Stats().Buffered; used < r.opts.MaxBuffered/4 {
					t.Errorf("%d bytes are held: nobody holds anything", used)
				}
				if clients < 8 {
					for _, size := range []int{100, 10_000, size} {
						if !kept(size) {
							t.Errorf("a message of %d bytes is not kept", size)
						}
					}
				}
				<-time.After(65 * time.Second) // between two bytes of all of them
				synctest.Wait()
				if used := r.Stats().Buffered; used > r.opts.MaxBuffered/2 {
					t.Errorf("%d bytes are held after a minute", used)
				}
				if !kept(size) {
					t.Error("a message is not kept after a minute")
				}
				wg.Wait()
				if used := r.Stats().Buffered; used != 0 || len(r.memory.coming) != 0 {
					t.Errorf("%d bytes are left, %d clients", used, len(r.memory.coming))
				}
				r.Close()
			})
		})
	}
}

// TestEarlyAnswer: an origin may answer before it has read the body; its answer
// counts, and the body is not sent anywhere else.
func TestEarlyAnswer(t *testing.T) {
	for _, size := range []int{100, 900 << 10, 4 << 20} {
		a := newStamp(t, "a", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { problem(w, 413, "too-large") }))
		b := newStamp(t, "b", nil)
		r := newRig(t, rigging{}, a.URL, b.URL)
		got := r.post(t, strings.Repeat("x", size))
		if got.status != 413 && size < 1<<20 || b.asked.Load() != 0 && got.status == 413 {
			t.Errorf("%d bytes: %v, b was asked %d times", size, got, b.asked.Load())
		}
	}
}

// TestExpectContinue: a body that is kept is sent at once; one that is not waits
// for the origin's word.
func TestExpectContinue(t *testing.T) {
	for _, size := range []int{100, 2 << 20} {
		var expect string
		a := newStamp(t, "a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			expect = r.Header.Get("Expect")
			n, _ := io.Copy(io.Discard, r.Body)
			_, _ = fmt.Fprint(w, n)
		}))
		r := newRig(t, rigging{}, a.URL)
		got := r.post(t, strings.Repeat("x", size), "Expect", "100-continue")
		if got.body != fmt.Sprint(size) || (expect == "") != (size == 100) {
			t.Errorf("%d bytes: %v, Expect %q", size, got, expect)
		}
	}
}

// TestAffinity: the key of the message chooses the origin where it is asked for.
func TestAffinity(t *testing.T) {
	for _, c := range []struct {
		path, header, body, want string
	}{
		{topic, "k1", "x", "k1"},
		{topic + "?key=k%202&x=1", "", "x", "k 2"},
		{topic + "?a=b", "", `{"senderId":"s"}`, ""},
		{"/ServiceAPI/message", "", `{"value":"v","SENDERID":"s1"}`, "s1"},
		{"/serviceapi/MESSAGE", "", `{"x":{"senderId":"no"},"senderid":"s\u0032"}`, "s2"},
		{"/ServiceAPI/message", "", `{"senderId":7}`, ""},
		{"/ServiceAPI/message", "", `[1`, ""},
		{"/ServiceAPI/message", "", `{"senderId`, ""},
	} {
		req := request(t.Context(), Gateway, "POST", c.path, nil)
		if c.header != "" {
			req.Header.Set("Postroad-Key", c.header)
		}
		if got := messageKey(req, []byte(c.body)); string(got) != c.want {
			t.Errorf("%s %q %s: key %q, want %q", c.path, c.header, c.body, got, c.want)
		}
	}
}

// FuzzSenderID: whatever a client sends in a classic call, the hint is found or
// not, and nothing breaks.
func FuzzSenderID(f *testing.F) {
	for _, s := range []string{`{"senderId":"a"}`, `{"a":[{}],"SenderID":"\ud83d\ude00"}`, `{`, `{"senderId":null}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := senderID(b); len(got) > 3*len(b) {
			t.Errorf("%d bytes out of %d", len(got), len(b))
		}
	})
}
