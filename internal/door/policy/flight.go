package policy

// Result is how a flight ended: Answered, Unreachable, Unopened, Broken or
// Abandoned.
type Result int

const (
	// Unreachable says that a connection to the origin was refused: by it, or by
	// the network on the way.
	Unreachable Result = -1 - iota
	// Unopened says that nobody said anything: a connection did not open in time,
	// or the name of the origin was not found. One lost packet is enough for that,
	// so that it takes several.
	Unopened
	// Broken says that the connection ended before the answer did.
	Broken
	// Abandoned says that we gave it up: the client left, another origin answered,
	// or this machine lacks what it takes to send it.
	Abandoned
)

// Answered is the result of an answer with this status.
func Answered(status int) Result { return Result(max(status, 0)) }

// failed reports whether the origin is to blame. 501 and 505 speak of the request.
func (r Result) failed() bool {
	return r == Unreachable || r == Unopened || r == Broken || r >= 500 && r != 501 && r != 505
}

func (r Result) reason() string {
	switch r {
	case Unreachable:
		return "connections are refused"
	case Unopened:
		return "connections do not open in time"
	case Broken:
		return "connections end before an answer"
	}
	return "answers with errors"
}

// Flight is one request at one origin. Its methods may be called by any
// goroutine, and after End do nothing.
type Flight struct {
	origin *Origin
	begun  instant
	// Guarded by origin.traffic.mu.
	silent, byted, ended, patient bool
}

// Begin counts a request that is sent to the origin. It must be ended.
func (o *Origin) Begin() *Flight {
	f := &Flight{origin: o, begun: o.group.now()}
	t := &o.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waited == 0 {
		t.quietSince = f.begun
	}
	t.flying++
	t.waited++
	return f
}

// Patient says that the request may rightly take long, such as one that waits for
// the hub or a stream. Neither its silence nor its latency says anything.
func (f *Flight) Patient() {
	t := &f.origin.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.patient || f.ended || f.byted {
		return
	}
	f.patient = true
	t.waited--
}

// Silent says that the hedge delay is over without a byte of an answer. Several
// flights in a row, with no byte of any other one between, isolate the origin. It
// may be called again, which counts once.
func (f *Flight) Silent() {
	o := f.origin
	g := o.group
	now := g.now()
	if g.stalled(now) {
		return // we slept, and what came meanwhile was not read yet
	}
	conf := g.conf.Load()
	t := &o.traffic
	t.mu.Lock()
	if f.silent || f.byted || f.ended || f.patient || f.begun < t.judgedFrom {
		t.mu.Unlock()
		return
	}
	f.silent = true
	if t.silent == 0 || f.begun < t.silentSince {
		t.silentSince = f.begun
	}
	t.silent++
	enough, since := conf.Health.Silence > 0 && t.silent >= conf.Health.Silence, t.silentSince
	t.mu.Unlock()
	if !enough {
		return
	}
	g.wake(since + conf.Health.SilenceTime)
	g.current(now)
}

// FirstByte says that the answer begins.
func (f *Flight) FirstByte() {
	o := f.origin
	g := o.group
	now := g.now()
	conf := g.conf.Load()
	t := &o.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.byted || f.ended {
		return
	}
	f.byted = true
	t.silent = 0
	t.quietSince = now
	if f.patient {
		return
	}
	t.waited--
	if f.begun >= t.judgedFrom { // what hung before an isolation is no measure
		o.sample(conf, now, now-f.begun)
	}
}

// sample counts a latency. The caller holds traffic.mu.
func (o *Origin) sample(conf *Options, now instant, took instant) {
	l := &o.traffic.latency
	late := took > instant(o.delay.Load())
	if l.add(took) {
		o.delay.Store(int64(l.delay(&conf.Hedge)))
	}
	if l.slow(late, conf.Hedge.Quantile) {
		o.slowUntil.Store(int64(now + slowFor))
	} else {
		o.slowUntil.Store(0)
	}
}

// End says how the flight ended. Only the first call counts.
func (f *Flight) End(r Result) {
	o := f.origin
	g := o.group
	now := g.now()
	conf := g.conf.Load()
	isolate, passed := o.count(f, r, conf, now)
	if isolate {
		g.locked(func(now instant) {
			if !o.gone.Load() && f.begun >= o.judgedFrom() {
				o.isolate(conf, now, r.reason())
			}
		})
		return
	}
	if passed && o.wanting.Load() {
		g.locked(func(instant) { o.passes++ })
	}
}

// count takes the end of a flight into account and reports whether it is too much,
// and whether it speaks for the origin.
func (o *Origin) count(f *Flight, r Result, conf *Options, now instant) (isolate, passed bool) {
	t := &o.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.ended {
		return false, false
	}
	f.ended = true
	t.flying--
	if !f.patient && !f.byted {
		t.waited--
	}
	if r == Abandoned {
		t.abandoned++
		// What was given up would have taken longer still. Without this the slow
		// ones would be missing from the quantile, for those are the ones given up.
		if took := now - f.begun; !f.byted && !f.patient && f.begun >= t.judgedFrom && took > instant(o.delay.Load()) {
			o.sample(conf, now, took)
		}
		return false, false
	}
	bad := r.failed()
	if bad {
		t.failed++
	} else {
		t.answered++
		t.silent, t.quietSince = 0, now
	}
	if f.begun < t.judgedFrom {
		return false, false
	}
	e := &conf.Health.Errors
	often := t.rate.add(bad, e, now)
	if !bad {
		t.failing = 0
		return false, true
	}
	t.failing++
	if !o.healthy.Load() {
		return o.hopeful.Load(), false
	}
	// What happened while we slept need not be the origin's doing.
	if r == Unreachable && !o.group.stalled(now) {
		return true, false
	}
	enough := e.Consecutive
	if o.restoring.Load() {
		enough = min(enough, 2)
	}
	return often || e.Consecutive > 0 && t.failing >= enough, false
}

func (o *Origin) judgedFrom() instant {
	o.traffic.mu.Lock()
	defer o.traffic.mu.Unlock()
	return o.traffic.judgedFrom
}
