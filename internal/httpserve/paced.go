package httpserve

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// ErrSlowBody is what reading a request's body returns when the client sends too
// slowly; 408 is the answer to it.
var ErrSlowBody = errors.New("the client sends the request's body too slowly")

// restTimeout is how long the rest of a body may take that no handler read, before
// the connection is closed instead of being used again.
const restTimeout = 5 * time.Second

// past is a deadline that is over.
var past = time.Unix(1, 0)

// paced ends requests whose clients hold on without sending or taking. Of HTTP/1.1
// the answer is looked after by clientConn; an HTTP/2 client may also keep the
// window of one stream closed, which no connection notices.
func paced(next http.Handler, limits *limits, m *edgeMetrics) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lim := limits.get()
		body := r.Body != nil && r.Body != http.NoBody && lim.BodyTimeout > 0
		answer := r.ProtoMajor >= 2 && lim.WriteTimeout > 0
		if !body && !answer {
			next.ServeHTTP(w, r)
			return
		}
		rc := http.NewResponseController(w)
		pw := &pacedWriter{ResponseWriter: w}
		if answer {
			pw.watch = newWatch(lim.WriteTimeout, func() {
				m.slow.WithLabelValues("answer").Inc()
				_ = rc.SetWriteDeadline(past)
			})
		}
		if !body {
			next.ServeHTTP(pw, r)
			return
		}
		pb := &pacedBody{ReadCloser: r.Body, limits: lim, slow: func() { m.slow.WithLabelValues("body").Inc() }}
		pb.watch = newWatch(lim.BodyTimeout, func() { _ = rc.SetReadDeadline(past) })
		pw.begins = pb.watch.end
		r.Body = pb
		next.ServeHTTP(pw, r)
		if !pb.whole.Load() && !pw.hijacked {
			pb.watch.end()
			_ = rc.SetReadDeadline(time.Now().Add(restTimeout))
		}
	})
}

// watch does something once a wait lasts too long. It never does it after done or
// end has returned.
type watch struct {
	timeout time.Duration
	late    func()

	mu    sync.Mutex
	timer *time.Timer // guarded by mu
	on    bool        // guarded by mu: somebody waits
	fired bool        // guarded by mu
	over  bool        // guarded by mu
}

func newWatch(timeout time.Duration, late func()) *watch { return &watch{timeout: timeout, late: late} }

// wait begins a wait.
func (w *watch) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	w.on, w.fired = true, false
	if w.timer == nil {
		w.timer = time.AfterFunc(w.timeout, w.fire)
		return
	}
	w.timer.Reset(w.timeout)
}

func (w *watch) fire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.on && !w.over {
		w.fired = true
		w.late()
	}
}

// done ends a wait and says whether it lasted too long.
func (w *watch) done() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on = false
	if w.timer != nil {
		w.timer.Stop()
	}
	return w.fired
}

// end lets every further wait last as long as it likes, and the present one.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

func (w *watch) ended() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over
}

// pacedBody is a body whose client must go on sending until the answer begins.
type pacedBody struct {
	io.ReadCloser
	limits ClientLimits
	watch  *watch
	slow   func()
	whole  atomic.Bool // it was read to its end
	// Of the one that reads; the first two since the rate was looked at last.
	got    int64
	waited time.Duration
	failed bool
}

// Read reads what the client sends.
func (b *pacedBody) Read(p []byte) (int, error) {
	if b.failed {
		return 0, ErrSlowBody
	}
	start := time.Now()
	b.watch.wait()
	n, err := b.ReadCloser.Read(p)
	late := b.watch.done()
	if err == io.EOF {
		b.whole.Store(true)
		return n, err
	}
	b.got += int64(n)
	b.waited += time.Since(start)
	if late && err != nil || err == nil && b.crawls() {
		b.failed = true
		b.slow()
		return n, ErrSlowBody
	}
	return n, err
}

// crawls says that the body comes below body_rate, each time that it was waited for
// as long as body_timeout: what came before that does not count, or one that began
// with much could go on for hours with nearly nothing. Only time spent waiting
// counts: that an origin takes it slowly is not the client's fault.
func (b *pacedBody) crawls() bool {
	rate := float64(b.limits.BodyRate)
	if rate <= 0 || b.waited <= b.limits.BodyTimeout {
		return false
	}
	slow := float64(b.got) < rate*b.waited.Seconds()
	b.got, b.waited = 0, 0
	return slow && !b.watch.ended()
}

// pacedWriter notices that the answer begins, and that its client takes nothing.
type pacedWriter struct {
	http.ResponseWriter
	watch    *watch // of an HTTP/2 answer; nil for others
	begins   func() // nil without a body
	hijacked bool
}

func (w *pacedWriter) begin() {
	if w.begins != nil {
		w.begins()
		w.begins = nil
	}
}

func (w *pacedWriter) guard() func() bool {
	if w.watch == nil {
		return func() bool { return false }
	}
	w.watch.wait()
	return w.watch.done
}

// WriteHeader begins the answer, unless it is one of those before it.
func (w *pacedWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write begins the answer and waits for the client to take it.
func (w *pacedWriter) Write(b []byte) (int, error) {
	w.begin()
	defer w.guard()()
	return w.ResponseWriter.Write(b)
}

// ReadFrom lets io.Copy reach the ReaderFrom of the connection where there is one
// to reach, and is looked after by it.
func (w *pacedWriter) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	if w.watch == nil {
		return io.Copy(w.ResponseWriter, r)
	}
	return io.Copy(writerOnly{w}, r)
}

// writerOnly hides ReadFrom from io.Copy.
type writerOnly struct{ io.Writer }

// Flush sends what is buffered; http.Flusher has no place for an error.
func (w *pacedWriter) Flush() { _ = w.FlushError() }

// FlushError sends what is buffered.
func (w *pacedWriter) FlushError() error {
	w.begin()
	defer w.guard()()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack takes the connection over, where the protocol allows it.
func (w *pacedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.begin()
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.hijacked = err == nil
	return c, rw, err
}

// Unwrap is for http.ResponseController (deadlines, full duplex).
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
