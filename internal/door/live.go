package door

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/httpserve"
)

// streamSet knows the connections that last: upgraded ones, event streams and long
// answers of stream nodes. It ends those that are idle, moves them off origins
// that should carry none, and lets all go when the door stops: always at a stated
// rate, so that their clients do not come back all at once.
type streamSet struct {
	now    func() time.Time
	random func() float64

	mu       sync.Mutex
	most     int                            // guarded by mu
	drain    Drain                          // guarded by mu
	draining bool                           // guarded by mu
	all      map[*stream]struct{}           // guarded by mu
	at       map[place]map[*stream]struct{} // guarded by mu
	moved    map[string]float64             // by group, what the rate allows now; guarded by mu
	homes    map[string]home                // by group; guarded by mu
	servers  map[<-chan struct{}]*listener  // those with streams, by what tells their drain; guarded by mu
	gone     chan struct{}                  // closed and made anew when a stream ends while draining; guarded by mu
	ended    map[string]uint64              // by reason; guarded by mu
}

// place is an origin of a group.
type place struct{ group, origin string }

// stream is one connection that lasts.
type stream struct {
	set    *streamSet
	at     place
	idle   time.Duration // 0: never ended for it
	asked  time.Time     // when the client asked for it, before an origin was chosen
	since  time.Time
	active atomic.Int64 // nanoseconds after since of the last byte
	end    func()       // ends it; may be called again and again

	once  sync.Once
	cause atomic.Pointer[string] // why the door ended it
}

var (
	errManyStreams = errors.New("the door carries as many streams as it may")
	errDraining    = errors.New("the door is draining")
)

func newStreams(now func() time.Time, random func() float64) *streamSet {
	return &streamSet{
		now: now, random: random, all: map[*stream]struct{}{}, at: map[place]map[*stream]struct{}{},
		moved: map[string]float64{}, homes: map[string]home{}, servers: map[<-chan struct{}]*listener{}, gone: make(chan struct{}), ended: map[string]uint64{},
	}
}

func (s *streamSet) set(most int, drain Drain) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most, s.drain = most, drain
}

// add takes a stream in; the error says why it may not be.
func (s *streamSet) add(at place, asked time.Time, idle time.Duration, end func()) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return nil, errDraining
	case len(s.all) >= s.most:
		return nil, errManyStreams
	}
	st := &stream{set: s, at: at, asked: asked, idle: idle, since: s.now(), end: end}
	s.all[st] = struct{}{}
	if s.at[at] == nil {
		s.at[at] = map[*stream]struct{}{}
	}
	s.at[at][st] = struct{}{}
	return st, nil
}

// remove forgets a stream that has ended.
func (s *streamSet) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, st)
	delete(s.at[st.at], st)
	if len(s.at[st.at]) == 0 {
		delete(s.at, st.at)
	}
	reason := "over"
	if c := st.cause.Load(); c != nil {
		reason = *c
	}
	s.ended[reason]++
	if s.draining {
		close(s.gone)
		s.gone = make(chan struct{})
	}
}

// Reasons for which the door ends a stream, as in metrics.
const (
	endedIdle  = "idle"
	endedMoved = "moved"
	endedDrain = "drain"
)

// cut ends the stream.
func (st *stream) cut(why string) {
	st.once.Do(func() { st.cause.Store(&why) })
	st.end()
}

// touch notes that a byte passed.
func (st *stream) touch() { st.active.Store(int64(st.set.now().Sub(st.since))) }

// quiet is for how long no byte passed.
func (st *stream) quiet(now time.Time) time.Duration {
	return now.Sub(st.since) - time.Duration(st.active.Load())
}

// count is how many streams an origin carries.
func (s *streamSet) count(at place) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at[at])
}

// total is how many there are.
func (s *streamSet) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// endedBy is a copy of the counts of ended streams.
func (s *streamSet) endedBy() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]uint64, len(s.ended))
	for k, v := range s.ended {
		out[k] = v
	}
	return out
}

// sweep ends the streams that are idle.
func (s *streamSet) sweep() {
	now := s.now()
	for _, st := range s.pick(math.MaxInt, func(st *stream) bool { return st.idle > 0 && st.quiet(now) > st.idle }) {
		st.cut(endedIdle)
	}
}

// pick returns up to n streams that want, in no order, among those that were not
// ended yet.
func (s *streamSet) pick(n int, want func(*stream) bool) []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*stream
	for st := range s.all {
		if len(found) >= n {
			break
		}
		if st.cause.Load() == nil && want(st) {
			found = append(found, st)
		}
	}
	return found
}

// move ends as many streams of a group as its rate allows in the time that passed,
// of those at origins that leaving names, which were asked for until the time that
// it says. What the rate allows is not saved up for later: after a pause of the
// machine no more than that of a few steps goes at once.
func (s *streamSet) move(group string, rate float64, passed time.Duration, leaving map[string]time.Time) int {
	s.mu.Lock()
	if len(leaving) == 0 || rate <= 0 {
		delete(s.moved, group)
		s.mu.Unlock()
		return 0
	}
	may := min(s.moved[group]+rate*passed.Seconds(), max(rate*moveBurst.Seconds(), 1))
	s.mu.Unlock()
	list := s.pick(int(may), func(st *stream) bool {
		until, ok := leaving[st.at.origin]
		return ok && st.at.group == group && !st.asked.After(until)
	})
	for _, st := range list {
		st.cut(endedMoved)
	}
	s.mu.Lock()
	s.moved[group] = may - float64(len(list))
	s.mu.Unlock()
	return len(list)
}

// moveBurst is how long a time of moving may be made up for at once.
const moveBurst = 4 * moveStep

// Stopping has /healthz answer 503 from now on; everything else goes on. Whoever
// looks there, such as a balancer or another door, sends elsewhere from then on.
func (d *Door) Stopping() { d.stopping.Store(true) }

// Drain lets all streams go at the rate of the options, in any order, and takes no
// new one. It returns when none is left. What is left when ctx ends, or after the
// options' timeout, is ended at once.
func (d *Door) Drain(ctx context.Context) {
	d.Stopping()
	d.live.letGo(ctx)
}

func (s *streamSet) letGo(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	drain, n := s.drain, len(s.all)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, drain.Timeout)
	defer cancel()
	rate := drain.Rate
	if seconds := drain.Timeout.Seconds() * 0.9; seconds > 0 {
		rate = max(rate, float64(n)/seconds)
	}
	any := func(*stream) bool { return true }
	for may := 1.0; ctx.Err() == nil && s.total() > 0; {
		list := s.pick(int(may), any)
		for _, st := range list {
			st.cut(endedDrain)
		}
		may -= float64(len(list))
		// Half to one and a half steps apart, so that clients do not come back in
		// waves.
		wait := time.Duration((0.5 + s.random()) * float64(drainStep))
		if !s.pause(ctx, wait, len(list) == 0) {
			break
		}
		may = min(may+rate*wait.Seconds(), max(1, rate))
	}
	for _, st := range s.pick(math.MaxInt, any) {
		st.cut(endedDrain)
	}
}

// drainStep is the mean time between two steps of a drain.
const drainStep = 50 * time.Millisecond

// pause waits, and with early ends as soon as the last stream has.
func (s *streamSet) pause(ctx context.Context, wait time.Duration, early bool) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		s.mu.Lock()
		gone, none := s.gone, len(s.all) == 0
		s.mu.Unlock()
		if none {
			return false
		}
		if !early {
			gone = nil
		}
		select {
		case <-gone:
		case <-t.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// endAll ends every stream at once.
func (s *streamSet) endAll(why string) {
	for _, st := range s.pick(math.MaxInt, func(*stream) bool { return true }) {
		st.cut(why)
	}
}

// follow has the streams of a listener go when it begins to drain, which would
// otherwise wait for them until it cuts all at once. One goroutine does for all of
// a listener; it ends with the listener's last stream.
func (s *streamSet) follow(ctx context.Context) (leave func()) {
	draining := httpserve.Draining(ctx)
	if draining == nil {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.servers[draining]
	if l == nil {
		l = &listener{done: make(chan struct{})}
		s.servers[draining] = l
		go func() {
			select {
			case <-draining:
				s.letGo(context.WithoutCancel(ctx))
			case <-l.done:
			}
		}()
	}
	l.streams++
	return func() { s.unfollow(draining) }
}

// listener is one that streams came by.
type listener struct {
	streams int           // guarded by streamSet.mu
	done    chan struct{} // closed with the last
}

func (s *streamSet) unfollow(draining <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.servers[draining]
	if l.streams--; l.streams == 0 {
		close(l.done)
		delete(s.servers, draining)
	}
}

// watched is a client's connection that was upgraded. It copies with a small
// buffer of its own: that of io.Copy would take as much memory for each stream as
// all else together.
type watched struct {
	net.Conn
	stream *stream
}

// streamBuffer is what one direction of a stream takes, in bytes.
const streamBuffer = 4 << 10

// WriteTo implements io.WriterTo: from the client to the origin.
func (w *watched) WriteTo(dst io.Writer) (int64, error) { return w.copy(dst, w.Conn) }

// ReadFrom implements io.ReaderFrom: from the origin to the client.
func (w *watched) ReadFrom(src io.Reader) (int64, error) { return w.copy(w.Conn, src) }

func (w *watched) copy(dst io.Writer, src io.Reader) (n int64, err error) {
	buf := make([]byte, streamBuffer)
	for {
		r, readErr := src.Read(buf)
		if r > 0 {
			w.stream.touch()
			written, err := dst.Write(buf[:r])
			n += int64(written)
			if err != nil {
				return n, err
			}
			w.stream.touch() // it may have waited long for the other side
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return n, nil
		case readErr != nil:
			return n, readErr
		}
	}
}

// Read implements net.Conn.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.stream.touch()
	}
	return n, err
}

// Write implements net.Conn.
func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	if n > 0 {
		w.stream.touch()
	}
	return n, err
}
