package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// DoorLoad sends requests through a proxy at a steady rate, whether or not the
// answers come: a client that waits for one answer before it sends the next
// measures a proxy that stands still by a single slow request. Three of four are
// POSTs, half of these with an idempotency key; the others are GETs. Nothing is
// ever sent twice.
type DoorLoad struct {
	opts   DoorLoadOptions
	ledger *Ledger
	began  time.Time
	// filling is what values are made of, each from another place on: to choose each
	// letter of large ones by chance would take the machine more than the proxy does.
	filling []byte

	mu      sync.Mutex
	rng     *rand.Rand // guarded by mu
	idle    []*Conn    // guarded by mu
	made    int        // requests made; guarded by mu
	samples []sample   // guarded by mu

	acknowledged atomic.Int64
}

// DoorLoadOptions say what a DoorLoad sends.
type DoorLoadOptions struct {
	// URL is the proxy's base URL.
	URL string
	// Rate is how many requests are sent a second.
	Rate int
	// BodyBytes is the size of a value.
	BodyBytes int
	// Patience is how long an answer is waited for.
	Patience time.Duration
	// Keyless leaves idempotency keys out of all requests.
	Keyless bool
	// Seed decides what is sent.
	Seed uint64
}

// sample is how one request went for the client.
type sample struct {
	// at is when it was due, since the load began, and took how long it lasted
	// from then.
	at, took time.Duration
	// status is that of the answer, 0 where there was none.
	status int
	// write says that it was a POST, unsent that no byte of it left.
	write, unsent bool
	err           error
}

// failed reports whether the client has reason to complain.
func (s sample) failed() bool { return s.status < 200 || s.status > 299 }

// NewDoorLoad makes a load; nothing is sent yet.
func NewDoorLoad(l *Ledger, o DoorLoadOptions) (*DoorLoad, error) {
	if _, err := HostOf(o.URL); err != nil {
		return nil, err
	}
	if o.Rate < 1 {
		return nil, fmt.Errorf("rate %d: must be at least 1", o.Rate)
	}
	load := &DoorLoad{opts: o, ledger: l, rng: rand.New(rand.NewPCG(o.Seed, 4)), began: time.Now()}
	for range o.BodyBytes {
		load.filling = append(load.filling, letters[load.rng.IntN(52)])
	}
	return load, nil
}

// Acknowledged is how many POSTs have been acknowledged so far.
func (l *DoorLoad) Acknowledged() int64 { return l.acknowledged.Load() }

// Since is how long the load has lasted.
func (l *DoorLoad) Since() time.Duration { return time.Since(l.began) }

// Run sends until ctx ends, and returns once all that is under way has ended.
func (l *DoorLoad) Run(ctx context.Context) {
	var all sync.WaitGroup
	l.began = time.Now()
	pause := time.Second / time.Duration(l.opts.Rate)
	for due := time.Duration(0); rest(ctx, time.Until(l.began.Add(due))) == nil; due += pause {
		all.Go(func() { l.one(context.WithoutCancel(ctx), due) })
	}
	all.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.idle {
		c.Close()
	}
	l.idle = nil
}

// call is one request and what the ledger is to know of it.
type call struct {
	text  []byte
	send  Send
	write bool
}

// next makes a request and enters it in the ledger.
func (l *DoorLoad) next(host string) call {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made++
	if l.rng.IntN(4) == 0 {
		return call{text: []byte("GET /default HTTP/1.1\r\nHost: " + host + "\r\n\r\n")}
	}
	name := fmt.Sprintf("drill %x %d.", l.opts.Seed, l.made)
	body := make([]byte, 0, len(name)+len(l.filling))
	body = append(body, name...)
	if n := len(l.filling); n > 0 {
		at := l.rng.IntN(n)
		body = append(append(body, l.filling[at:]...), l.filling[:at]...)
		body = body[:max(len(name), n)]
	}
	path, key := "/v1/topics/"+topic+"/messages", []byte(nil)
	if l.rng.IntN(2) == 0 {
		key = fmt.Appendf(nil, "key %d", l.rng.IntN(100))
		path += "?key=" + url.QueryEscape(string(key))
	}
	var headers []string
	if !l.opts.Keyless && l.rng.IntN(2) == 0 {
		headers = append(headers, fmt.Sprintf(`Idempotency-Key: "%x-%d-%x"`, l.opts.Seed, l.made, l.rng.Uint64()))
	}
	return call{
		text:  AppendPost(nil, host, path, "text/plain", headers, body),
		send:  l.ledger.Sending(name, NoStream, 0, PrintOf(kindPlain, key, body)),
		write: true,
	}
}

// one sends a request and enters how it went.
func (l *DoorLoad) one(ctx context.Context, at time.Duration) {
	host, _ := HostOf(l.opts.URL) // NewDoorLoad looked at it
	c := l.next(host)
	s := sample{at: at, write: c.write}
	var answer Answer
	conn, err := l.conn(ctx)
	if err != nil {
		s.unsent, s.err = true, err
	} else {
		answer, err = l.exchange(conn, c.text)
		s.status, s.err = answer.Status, err
	}
	s.took = l.Since() - at
	l.mu.Lock()
	l.samples = append(l.samples, s)
	l.mu.Unlock()
	if !c.write {
		return
	}
	outcome := Judged(s.status)
	if s.unsent {
		outcome = Refused
	}
	if outcome == Acknowledged {
		l.acknowledged.Add(1)
	}
	l.ledger.Answered(c.send, outcome)
}

func (l *DoorLoad) exchange(conn *Conn, text []byte) (Answer, error) {
	err := conn.SetDeadline(time.Now().Add(l.opts.Patience))
	var answer Answer
	if err == nil {
		answer, err = conn.Do(text)
	}
	if err != nil || answer.Close {
		conn.Close()
		return answer, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = append(l.idle, conn)
	return answer, nil
}

// conn returns a connection that nobody uses, the one that was used last, or a
// new one.
func (l *DoorLoad) conn(ctx context.Context) (*Conn, error) {
	for {
		l.mu.Lock()
		n := len(l.idle)
		if n == 0 {
			l.mu.Unlock()
			ctx, cancel := context.WithTimeout(ctx, l.opts.Patience)
			defer cancel()
			return Dial(ctx, l.opts.URL)
		}
		c := l.idle[n-1]
		l.idle = l.idle[:n-1]
		l.mu.Unlock()
		if c.quiet() {
			return c, nil
		}
		c.Close()
	}
}

// quiet reports whether an idle connection is open and has nothing to read. Every
// client looks before it uses a connection again: one that its server has closed
// is no fault of the server's.
func (c *Conn) quiet() bool {
	sys, ok := c.conn.(syscall.Conn)
	if !ok || c.r.Buffered() > 0 {
		return false
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return false
	}
	var got error
	err = raw.Read(func(fd uintptr) bool {
		_, _, got = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	return err == nil && errors.Is(got, syscall.EAGAIN)
}

// ClientView is what all requests were like for the clients.
type ClientView struct {
	// Requests is how many were sent, Failed how many of them got no 2xx, Unsent
	// how many of these never left.
	Requests, Failed, Unsent int
	// LastFailed is when the last one that failed was due, since the load began.
	LastFailed time.Duration
	// Median, P99 and Slowest are from when each was due to its answer.
	Median, P99, Slowest time.Duration
	// Kinds counts failures by what was seen.
	Kinds map[string]int
}

// String is the view for a person.
func (v ClientView) String() string {
	return fmt.Sprintf("%d requests, %d failed %v, median %v, 99 of 100 within %v, slowest %v", v.Requests, v.Failed, v.Kinds,
		v.Median.Round(time.Millisecond), v.P99.Round(time.Millisecond), v.Slowest.Round(time.Millisecond))
}

// View is what the requests that have ended so far were like.
func (l *DoorLoad) View() ClientView {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := ClientView{Requests: len(l.samples), Kinds: make(map[string]int)}
	took := make([]time.Duration, 0, len(l.samples))
	for _, s := range l.samples {
		took = append(took, s.took)
		if !s.failed() {
			continue
		}
		v.Failed++
		v.LastFailed = max(v.LastFailed, s.at)
		if s.unsent {
			v.Unsent++
		}
		v.Kinds[s.kind()]++
	}
	if len(took) > 0 {
		slices.Sort(took)
		v.Median, v.P99, v.Slowest = took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	}
	return v
}

// kind names a failure.
func (s sample) kind() string {
	switch {
	case s.unsent:
		return "no connection"
	case s.status != 0:
		return fmt.Sprint(s.status)
	case errors.Is(s.err, syscall.ECONNRESET), errors.Is(s.err, syscall.EPIPE):
		return "reset"
	}
	var timeout interface{ Timeout() bool }
	if errors.As(s.err, &timeout) && timeout.Timeout() {
		return "no answer in time"
	}
	return "closed without an answer"
}
