package stream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/stream/live"
)

// stuckWriter is the answer to a viewer that reads nothing until it is let.
type stuckWriter struct {
	open   chan struct{} // closed when it reads
	writes chan struct{} // has an entry while a write waits

	mu  sync.Mutex
	buf bytes.Buffer
}

func newStuckWriter() *stuckWriter {
	return &stuckWriter{open: make(chan struct{}), writes: make(chan struct{}, 1)}
}

func (w *stuckWriter) Header() http.Header              { return http.Header{} }
func (w *stuckWriter) WriteHeader(int)                  {}
func (w *stuckWriter) FlushError() error                { return nil }
func (w *stuckWriter) SetWriteDeadline(time.Time) error { return nil }

func (w *stuckWriter) Write(b []byte) (int, error) {
	select {
	case w.writes <- struct{}{}:
	default:
	}
	<-w.open
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

func (w *stuckWriter) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// stuckViewer watches a topic through w, and is running when it is returned.
func stuckViewer(t *testing.T, n *rig, topic string, w *stuckWriter) (v *viewer, done <-chan error) {
	t.Helper()
	v = newViewer(n.Node, w, live.Subject{Topic: topic, All: true, Partition: -1})
	ctx, cancel := context.WithCancel(context.Background())
	if p := v.begin(ctx, start{end: true}); p != nil {
		t.Fatal(p.Detail)
	}
	ended := make(chan error, 1)
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		defer v.close()
		ended <- v.run(ctx)
	}()
	t.Cleanup(func() {
		select {
		case <-w.open:
		default:
			close(w.open)
		}
		cancel()
		<-returned
	})
	<-w.writes
	return v, ended
}

func (v *viewer) waiting() (blocks, size int, over error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.queue), v.bytes, v.over
}

// What waits for a viewer is bounded: the stream of one that reads nothing ends,
// and nothing of it stays in memory.
func TestSlowViewerIsLetGo(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), nil, func(n *Node) { n.opts.SSE.QueueBytes = 64 << 10 })
	w := newStuckWriter()
	v, done := stuckViewer(t, n, "one", w)
	value := strings.Repeat("x", 1000)
	for i := range 200 {
		log.Send("one", fmt.Sprint("k", i), value)
	}
	await(t, "the viewer to be let go", func() bool { _, _, over := v.waiting(); return over != nil })
	if blocks, size, _ := v.waiting(); blocks != 0 || size != 0 || n.pending.Load() != 0 {
		t.Errorf("%d blocks with %d bytes wait for it, %d in all", blocks, size, n.pending.Load())
	}
	close(w.open)
	if err := <-done; err == nil || endedBy(t.Context(), err) != "slow" {
		t.Errorf("ended with %v", err)
	}
	if !strings.HasSuffix(w.text(), ": connect again\n\n") {
		t.Errorf("the end of the stream is %q", w.text())
	}
}

// Where the topic conflates, a viewer that reads nothing for a while gets the
// newest message of each key, and stays.
func TestSlowViewerOfConflatingTopic(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), nil, func(n *Node) { n.opts.SSE.QueueBytes = 64 << 10 })
	w := newStuckWriter()
	v, done := stuckViewer(t, n, "fast", w)
	for i := range 500 {
		log.Send("fast", fmt.Sprint("k", i%10), fmt.Sprintf("v%d %s", i, strings.Repeat("x", 1000)))
		if i%20 == 0 {
			await(t, "what was sent to be read", func() bool {
				p, err := n.engine.Positions(live.Subject{Topic: "fast", All: true, Partition: -1})
				return err == nil && p[0].Next == int64(i+1)
			})
			await(t, "the queue to be short", func() bool { _, size, over := v.waiting(); return over != nil || size <= 64<<10 })
		}
	}
	awaitPosition(t, n, "fast", 500)
	if _, _, over := v.waiting(); over != nil {
		t.Fatalf("let go: %v", over)
	}
	close(w.open)
	for i := 490; i < 500; i++ {
		await(t, fmt.Sprintf("the newest of each key, v%d", i), func() bool { return strings.Contains(w.text(), fmt.Sprintf(`"v%d `, i)) })
	}
	if got := strings.Count(w.text(), "data:"); got >= 500 {
		t.Errorf("%d messages were sent: nothing was left out", got)
	}
	if counted(t, n.metrics.conflated) == 0 {
		t.Error("nothing is counted as left out")
	}
	select {
	case err := <-done:
		t.Errorf("ended: %v", err)
	default:
	}
	var last int64 = -1
	for line := range strings.Lines(w.text()) {
		id, ok := strings.CutPrefix(strings.TrimSpace(line), "id: ")
		if !ok {
			continue
		}
		p, err := parsePosition(id)
		if err != nil || p.next[0] < last {
			t.Fatalf("id %q: %v, position %v after %d", id, err, p.next, last)
		}
		last = p.next[0]
	}
}

func awaitPosition(t *testing.T, n *rig, topic string, next int64) {
	t.Helper()
	await(t, "the log to be read", func() bool {
		p, err := n.engine.Positions(live.Subject{Topic: topic, All: true, Partition: -1})
		return err == nil && p[0].Next == next
	})
}

// Reading the hub waits while too much is still to be sent, and goes on when there
// is room; who waits too long is let go on.
func TestRoom(t *testing.T) {
	n := startNode(t, newLog(), testOptions(), nil)
	n.pending.Store(n.opts.Limits.PendingBytes + 1)
	done := make(chan error, 1)
	go func() { done <- n.room(context.Background()) }()
	await(t, "it to wait", func() bool { return counted(t, n.metrics.waits) > 0 })
	select {
	case err := <-done:
		t.Fatalf("there is no room: %v", err)
	default:
	}
	n.pending.Store(n.opts.Limits.PendingBytes)
	if err := <-done; err != nil {
		t.Error(err)
	}
	n.pending.Store(n.opts.Limits.PendingBytes + 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.room(ctx); err == nil {
		t.Error("it waits on after its context")
	}
	n.pending.Store(0)
}

// However many batches come while nothing is taken, reading waits a quarter of a
// second of each second, and not for each of them: a round over many partitions would
// last longer than a node may be behind.
func TestRoomIsWaitedForOnceARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, err := New(testOptions(), Deps{Log: newLog(), Auth: verifier(t, "*/*")})
		if err != nil {
			t.Fatal(err)
		}
		n.pending.Store(n.opts.Limits.PendingBytes + 1)
		for range 3 {
			begin := time.Now()
			var topics sync.WaitGroup
			for range 2 {
				topics.Go(func() {
					for range 64 {
						if err := n.room(t.Context()); err != nil {
							t.Error(err)
						}
					}
				})
			}
			topics.Wait()
			if took := time.Since(begin); took != roomWait {
				t.Errorf("a round took %v, want %v", took, roomWait)
			}
			<-time.After(roomEvery - roomWait)
		}
	})
}

// A viewer that reads nothing is let go, however little waits for it: it would hold
// that, and its part of what may wait in all, for as long as it likes.
func TestViewerThatTakesNothing(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), nil, func(n *Node) {
		n.opts.SSE.WriteTimeout, n.opts.SSE.QueueBytes = 100*time.Millisecond, 64<<20
	})
	c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /v1/topics/one/stream?from=end HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	await(t, "the stream", func() bool { return n.Connections() == 1 && counted(t, n.metrics.bytes) > 0 })
	value := strings.Repeat("x", 500<<10)
	for sent := 0; n.pending.Load() < 5<<20 && n.Connections() > 0; sent++ { // until the sockets are full
		if sent > 200 {
			t.Fatal("100 MB wait nowhere")
		}
		awaitPosition(t, n, "one", log.Send("one", "a", value).Offset+1)
	}
	await(t, "the viewer to be let go", func() bool { return n.Connections() == 0 && n.pending.Load() == 0 })
}

// A viewer that reads nothing, and to whom something is being written, does not
// hold up a node that ends its stream.
func TestStuckViewerGoes(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), nil, func(n *Node) {
		n.opts.SSE.WriteTimeout, n.opts.SSE.QueueBytes = 5*time.Minute, 64<<20
	})
	c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /v1/topics/one/stream?from=end HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	await(t, "the stream", func() bool { return n.Connections() == 1 && counted(t, n.metrics.bytes) > 0 })
	value := strings.Repeat("x", 500<<10)
	for sent := 0; n.pending.Load() < 5<<20; sent++ { // until the sockets are full
		if sent > 200 {
			t.Fatal("100 MB wait nowhere")
		}
		awaitPosition(t, n, "one", log.Send("one", "a", value).Offset+1)
	}
	for _, c := range n.connections.snapshot() {
		c.stop(leaveDrain)
	}
	await(t, "the viewer to be gone", func() bool { return n.Connections() == 0 })
}
