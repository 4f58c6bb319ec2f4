package wire

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"postroad/internal/stream/live"
)

// cramped makes the connection's buffers in the kernel small, so that a client
// that does not read is noticed soon.
func cramped(t *testing.T, n *node) (*client, *recorder) {
	t.Helper()
	c, rec := n.dial(t, 64<<10)
	if tcp, ok := under(rec.conn.nc).(*net.TCPConn); ok {
		if err := tcp.SetWriteBuffer(16 << 10); err != nil {
			t.Fatal(err)
		}
	}
	return c, rec
}

// A client that never reads is closed as slow, whatever it is sent, and nothing of
// what waited for it stays in memory.
func TestClientThatNeverReads(t *testing.T) {
	for _, secure := range []bool{false, true} {
		n := newNode(t, secure, withOptions(func(o *Options) {
			o.MaxQueuedBytes, o.MaxBurstBytes, o.SlowFor = 64<<10, 8<<20, step
		}))
		_, rec := cramped(t, n)
		other, otherRec := n.dial(t, 0)
		b := block(strings.Repeat("x", 10_000))
		go func() {
			for range 100 {
				rec.conn.Deliver(nil, b)
			}
		}()
		if got := within(t, rec.closed, "Closed"); got != "3008 slow" {
			t.Errorf("Closed %q", got)
		}
		until(t, "nothing waits", func() bool { return n.w.Pending() == 0 })
		otherRec.conn.Send([]byte("not held up"))
		if f := other.next(); string(f.Payload) != "not held up" {
			t.Errorf("the other client got %q", f.Payload)
		}
		n.stop()
	}
}

// The same of one that sends a frame now and then, and for which less waits than may.
func TestSocketThatTakesNothing(t *testing.T) {
	n := newNode(t, false, withOptions(func(o *Options) { o.PingInterval, o.PongTimeout, o.SlowFor = time.Second, step, step }))
	c, rec := cramped(t, n)
	rec.conn.StartPings()
	b := block(strings.Repeat("x", 10_000))
	until(t, "the socket is full", func() bool {
		if rec.conn.Waiting() < 100<<10 {
			rec.conn.Deliver(nil, b)
		}
		return active(rec.conn) == chasing && rec.conn.Waiting() >= 100<<10
	})
	for begin := time.Now(); ; {
		select {
		case got := <-rec.closed:
			if got != "3008 slow" {
				t.Errorf("Closed %q", got)
			}
			return
		case <-time.After(100 * time.Millisecond):
		}
		if time.Since(begin) > limit {
			t.Fatalf("not let go; %d bytes wait", n.w.Pending())
		}
		_ = ws.WriteFrame(c.conn, ws.MaskFrame(ws.NewTextFrame([]byte("{}")))) // it fails at the end
	}
}

// More than MaxBurstBytes never wait, not even for a moment.
func TestBurstBeyondTheLimit(t *testing.T) {
	n := newNode(t, false, withOptions(func(o *Options) { o.MaxQueuedBytes, o.MaxBurstBytes = 64<<10, 256<<10 }))
	c, rec := cramped(t, n)
	b := block(strings.Repeat("x", 200_000))
	rec.conn.Deliver(nil, b)
	until(t, "the socket is full in the middle of a block", func() bool {
		rec.conn.mu.Lock()
		defer rec.conn.mu.Unlock()
		return rec.conn.activity == chasing && rec.conn.sent > 0
	})
	for range 30 {
		rec.conn.Deliver(nil, b)
		if p := n.w.Pending(); p > 256<<10 {
			t.Fatalf("%d bytes wait", p)
		}
	}
	if f := c.next(); len(f.Payload) != 200_000 {
		t.Errorf("the block that was partly sent came with %d bytes", len(f.Payload))
	}
	c.wantClose("3008 slow")
	if got := within(t, rec.closed, "Closed"); got != "3008 slow" {
		t.Errorf("Closed %q", got)
	}
}

// A client that did not read for a while, and less waits than may, gets everything
// in order.
func TestClientThatReadsAgain(t *testing.T) {
	for _, secure := range []bool{false, true} {
		n := newNode(t, secure)
		c, rec := cramped(t, n)
		const messages = 500
		for i := range messages {
			rec.conn.Send(fmt.Appendf(nil, "%d %s", i, strings.Repeat("y", 1000)))
		}
		until(t, "the socket is full", func() bool { return active(rec.conn) == chasing })
		for i := range messages {
			want := fmt.Sprintf("%d %s", i, strings.Repeat("y", 1000))
			if f := c.next(); string(f.Payload) != want {
				t.Fatalf("message %d: %.20q", i, f.Payload)
			}
		}
		until(t, "nothing waits", func() bool { return n.w.Pending() == 0 && active(rec.conn) == idle })
		rec.conn.Send([]byte("after"))
		if f := c.next(); string(f.Payload) != "after" {
			t.Errorf("then %q", f.Payload)
		}
		n.stop()
	}
}

// What was sent is held on to by nobody, however the queue grew: ten thousand quiet
// connections would keep ten thousand blocks.
func TestNothingSentIsKept(t *testing.T) {
	n := newNode(t, false)
	c, rec := n.dial(t, 0)
	for burst := range 10 {
		freed := make(chan struct{}, burst+1)
		for range burst + 1 {
			b := block("x")
			runtime.AddCleanup(b, func(struct{}) { freed <- struct{}{} }, struct{}{})
			rec.conn.Deliver(nil, b)
		}
		for range burst + 1 {
			c.next()
		}
		until(t, fmt.Sprintf("all of %d blocks are freed", burst+1), func() bool {
			runtime.GC()
			return len(freed) == burst+1
		})
	}
}

func active(c *Conn) activity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.activity
}

// keyed is a source of records "key=n" that conflates by key.
type keyed struct{ name string }

func (keyed) Conflates() bool { return true }

func (k keyed) Merge(blocks []*live.Block) *live.Block {
	newest := make(map[string]*live.Record)
	for _, b := range blocks {
		for _, r := range b.Records {
			newest[string(r.Key)] = r
		}
	}
	var records []*live.Record
	for _, r := range newest {
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b *live.Record) int { return int(a.Offset - b.Offset) })
	return k.block(records...)
}

// block encodes as the protocol would, with the offset, so that order shows.
func (k keyed) block(records ...*live.Record) *live.Block {
	b := &live.Block{Records: records}
	for _, r := range records {
		b.Bytes = AppendFrame(b.Bytes, false, fmt.Appendf(nil, "%s %s=%d %s", k.name, r.Key, r.Offset, r.Value))
	}
	return b
}

// plain is a source that does not conflate.
type plain struct{ keyed }

func (plain) Conflates() bool { return false }

// A slow client of a topic that conflates is not dropped: it gets the newest of
// each key, in the order of offsets, and of another subscription everything.
func TestConflation(t *testing.T) {
	n := newNode(t, false, withOptions(func(o *Options) {
		o.MaxQueuedBytes, o.MaxBurstBytes, o.SlowFor = 64<<10, 512<<10, limit
	}))
	c, rec := cramped(t, n)
	fast, all := keyed{"fast"}, plain{keyed{"all"}}
	value := []byte(strings.Repeat("v", 1000))
	const rounds, keys = 400, 10
	for i := range int64(rounds) {
		r := &live.Record{Offset: i, Key: fmt.Appendf(nil, "k%d", i%keys), Value: value}
		rec.conn.deliver(fast, fast.block(r))
		if i%40 == 0 {
			rec.conn.deliver(all, all.block(r))
		}
		if i%10 == 0 { // give the merger its turns: 100 KB at a time at most
			until(t, "what waits is merged", func() bool { return n.w.Pending() < 128<<10 })
		}
	}
	rec.conn.Send([]byte("end"))
	got := map[string][]int64{}
	for {
		f := c.next()
		if string(f.Payload) == "end" {
			break
		}
		var name, key string
		var offset int64
		if _, err := fmt.Sscanf(strings.ReplaceAll(string(f.Payload[:20]), "=", " "), "%s %s %d", &name, &key, &offset); err != nil {
			t.Fatalf("%.30q: %v", f.Payload, err)
		}
		got[name] = append(got[name], offset)
	}
	if !slices.IsSorted(got["fast"]) || !slices.IsSorted(got["all"]) || len(got["all"]) != rounds/40 {
		t.Errorf("out of order or incomplete: %v", got)
	}
	last := got["fast"][max(0, len(got["fast"])-keys):]
	if len(got["fast"]) > rounds*3/4 || last[0] != rounds-keys || len(last) != keys {
		t.Errorf("%d of %d records came, the last of them %v", len(got["fast"]), rounds, last)
	}
}

func TestConflated(t *testing.T) {
	a, b, p := keyed{"a"}, keyed{"b"}, plain{keyed{"p"}}
	rec := func(partition int32, offset int64, key string) *live.Record {
		return &live.Record{Partition: partition, Offset: offset, Key: []byte(key)}
	}
	shared := a.block(rec(0, 1, "k")) // one block that two subscriptions were sent
	far := a.block(rec(1, 7, "k"))
	far.Partition = 1
	far2 := a.block(rec(1, 8, "k"))
	far2.Partition = 1
	own := block("own")
	in := []entry{
		{a, shared},
		{b, shared},
		{nil, own},
		{a, far},
		{a, a.block(rec(0, 2, "k"), rec(0, 3, "l"))},
		{p, p.block(rec(0, 1, "k"))},
		{p, p.block(rec(0, 2, "k"))},
		{a, far2},
		{a, a.block(rec(0, 4, "l"))},
	}
	out, gone := conflated(slices.Clone(in))
	var text []string
	for _, e := range out {
		var at []string
		for _, r := range e.block.Records {
			at = append(at, fmt.Sprint(r.Offset))
		}
		name := "own"
		switch s := e.source.(type) {
		case keyed:
			name = s.name
		case plain:
			name = s.name
		}
		text = append(text, name+strings.Join(at, "+"))
	}
	// a's records of partition 0 stand where its newest stood, behind p's; b has
	// one record only; p does not conflate.
	want := "b1 own p1 p2 a8 a2+4"
	if got := strings.Join(text, " "); got != want || gone != 3 {
		t.Errorf("%s, %d gone, want %s", got, gone, want)
	}
	if out, gone := conflated(in[:3]); gone != 0 || len(out) != 3 {
		t.Errorf("nothing to merge, yet %d gone and %d left", gone, len(out))
	}
}

// Blocks and messages of random sizes to a client that reads and stalls at random
// come out byte for byte as they were queued, through whole writes, writes cut in
// the middle, writev and joined ones.
func TestRandomBytesInOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, secure := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := newNode(t, secure, withOptions(func(o *Options) {
			o.Writers, o.MaxQueuedBytes, o.MaxBurstBytes, o.CloseTimeout = 2, 64<<20, 64<<20, limit
		}))
		done := make(chan string)
		const clients = 5
		for i := range clients {
			c, rec := cramped(t, n)
			ops, reads := rand.New(rand.NewPCG(seed, uint64(i)+10)), rand.New(rand.NewPCG(rng.Uint64(), 2))
			go func() { done <- streamOnce(c, rec, ops, reads) }()
		}
		for range clients {
			if problem := within(t, done, "a client"); problem != "" {
				t.Error(problem)
			}
		}
		n.stop()
	}
}

// streamOnce queues what rng says, while a reader takes it in pieces, and compares.
func streamOnce(c *client, rec *recorder, rng, reads *rand.Rand) string {
	var want bytes.Buffer
	permit := make(chan int, 1024)
	got := make(chan []byte)
	go func() { got <- readInPieces(c, permit, reads) }()
	shared := []*live.Block{block("s"), block(strings.Repeat("m", 5000)), block(strings.Repeat("l", 200_000), "t")}
	for range 200 {
		switch rng.IntN(10) {
		case 0, 1, 2, 3:
			p := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, rng.IntN(1<<rng.IntN(14)+1))
			rec.conn.Send(p)
			want.Write(AppendFrame(nil, false, p))
		case 4, 5, 6, 7:
			b := shared[min(rng.IntN(20), 2)*rng.IntN(2)]
			rec.conn.Deliver(nil, b)
			want.Write(b.Bytes)
		default:
			permit <- rng.IntN(100_000)
		}
	}
	rec.conn.Disconnect(3001, "end")
	want.Write(closeFrame(3001, "end"))
	close(permit)
	return difference(<-got, want.Bytes())
}

// readInPieces reads what it is permitted, then the rest.
func readInPieces(c *client, permit <-chan int, rng *rand.Rand) []byte {
	var got bytes.Buffer
	frameEnd := closeFrame(3001, "end")
	piece := make([]byte, 20_000)
	for left := range permit {
		for left > 0 && got.Len() < left {
			n, err := c.r.Read(piece[:1+rng.IntN(len(piece))])
			got.Write(piece[:n])
			if err != nil {
				return got.Bytes()
			}
			left -= n
		}
	}
	for !bytes.HasSuffix(got.Bytes(), frameEnd) {
		n, err := c.r.Read(piece)
		got.Write(piece[:n])
		if err != nil {
			break
		}
	}
	c.send(ws.NewCloseFrame(nil))
	_, _ = io.Copy(&got, c.r) // nothing may follow
	return got.Bytes()
}

func difference(got, want []byte) string {
	if bytes.Equal(got, want) {
		return ""
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	return fmt.Sprintf("%d bytes of %d, different from byte %d on", len(got), len(want), at)
}
