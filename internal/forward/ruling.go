package forward

// ruling is what the answers say that came since run's trial began. Guarded by
// flight.mu.
type ruling struct {
	given bool  // something was given to the sink
	good  bool  // the hub took something
	bad   error // the first error
}

// heard notes an answer.
func (r *ruling) heard(err error) {
	switch {
	case err == nil:
		r.good = true
	case r.bad == nil || classOf(r.bad) != classRetry && classOf(err) == classRetry:
		r.bad = err // the hub's own silence goes before refusals
	}
}

type trialOutcome uint8

const (
	trialOpen  trialOutcome = iota // answers are still to come
	trialEmpty                     // nothing was sent
	trialOver
)

// beginTrial is called when run gets a trial.
func (f *flight) beginTrial() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ruling = ruling{}
}

// trialOutcome tells how run's trial stands. The error is why the hub is not back;
// nil where it took anything.
func (f *flight) trialOutcome() (trialOutcome, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.ruling
	switch {
	case f.sent > 0:
		return trialOpen, nil
	case r.good:
		return trialOver, nil
	case r.bad != nil:
		return trialOver, r.bad
	case r.given:
		return trialOver, nil
	}
	return trialEmpty, nil
}

// ailing reports whether messages were given back of which it is not known that the
// hub refused them for their own sake: their topics' workers will send them, and
// nothing of the topics can be sent before.
func (f *flight) ailing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := f.ring.head; i < f.ring.tail; i++ {
		if s := f.ring.at(i); s.state == slotFailed && (classOf(s.err) == classRetry || hubWide(s.err)) {
			return true
		}
	}
	return false
}
