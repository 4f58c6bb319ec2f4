package door

import (
	"context"
	"time"

	"postroad/internal/door/policy"
)

const (
	// moveStep is how often streams are moved, and the timer by which the door sees
	// that its own machine stalls.
	moveStep = 50 * time.Millisecond
	// sweepStep is how often idle streams are looked for.
	sweepStep = time.Second
	// sureAfter is how long an origin must have been left out for its streams to
	// leave it, too: those of one that is left out by mistake, or for a moment, go
	// on.
	sureAfter = 5 * time.Second
	// goneRate is the rate at which streams leave a group that is gone.
	goneRate = 50
)

// moveStreams moves streams and ends idle ones until ctx ends.
func (d *Door) moveStreams(ctx context.Context) {
	timer := time.NewTimer(moveStep)
	defer timer.Stop()
	armed, swept, last := time.Now(), time.Now(), d.now()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		late := time.Since(armed) - moveStep
		now := d.now()
		d.moveOnce(now.Sub(last), late)
		last = now
		if time.Since(swept) >= sweepStep {
			d.live.sweep()
			swept = time.Now()
		}
		armed = time.Now()
		timer.Reset(moveStep)
	}
}

// moveOnce moves what may be moved in the time that passed.
func (d *Door) moveOnce(passed, late time.Duration) {
	l, now := d.state.Load(), d.now()
	for name, g := range l.groups {
		g.policy.Beat(late)
		if rate := g.settings.Streams.MoveRate; rate > 0 && d.live.inGroup(name) {
			status := g.policy.Status()
			home := d.live.home(name, l.since, wholeTier(status), now)
			d.live.move(name, rate, passed, leaving(status, d.live.origins(name), home, now))
		}
	}
	for _, name := range d.live.groups() {
		if l.groups[name] == nil {
			d.live.move(name, goneRate, passed, allOf(d.live.origins(name), now))
		}
	}
}

func allOf(names []string, now time.Time) map[string]time.Time {
	all := make(map[string]time.Time, len(names))
	for _, n := range names {
		all[n] = now
	}
	return all
}

// home is the lowest priority number of a group whose origins are there as a
// whole, 0 for none, and since when they are.
type home struct {
	priority int
	since    time.Time
	of       time.Time // of the configuration under which it was found
}

// home notes what is home now and returns it. What stays home keeps its time.
func (s *streamSet) home(group string, of time.Time, priority int, now time.Time) home {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.homes[group]; h.priority == priority && h.of.Equal(of) {
		return h
	}
	s.homes[group] = home{priority, now, of}
	return s.homes[group]
}

// wholeTier is the lowest priority number whose origins are back as a whole, or 0.
func wholeTier(s policy.Status) (best int) {
	whole := map[int]int{} // by priority, the percentages of those that are back
	for _, o := range s.Origins {
		if o.Usable && o.State == policy.Healthy {
			whole[o.Priority] += o.Percent
		}
	}
	for p, percent := range whole {
		if percent >= 100 && (best == 0 || p < best) {
			best = p
		}
	}
	return best
}

// leaving says which origins of those that carry streams should not, and until when
// streams that should leave them were asked for:
//
//   - all of one that takes no requests (drained, in maintenance, held, disabled,
//     without weight) or is left out for some time, while another takes them;
//   - of one that stands in for origins of a lower number, those from before these
//     were back as a whole. Whoever came later could not get there for a moment, or
//     was moved already, and stays until something changes: without this a client
//     would be moved again and again while a few connections fail;
//   - all of one that the group has no more.
//
// Where too few origins are usable nothing moves: there is no better place.
func leaving(s policy.Status, carrying []string, back home, now time.Time) map[string]time.Time {
	if s.Panic {
		return nil
	}
	usable := 0
	known := map[string]policy.OriginStatus{}
	for _, o := range s.Origins {
		known[o.Name] = o
		if o.Usable && o.Percent > 0 {
			usable++
		}
	}
	leave := map[string]time.Time{}
	for _, name := range carrying {
		o, there := known[name]
		takes := o.Usable && o.Percent > 0
		switch {
		case !there:
			leave[name] = now
		case takes && back.priority > 0 && o.Priority > back.priority:
			leave[name] = back.since
		case takes || usable == 0:
		case o.State == policy.Suspect && now.Sub(o.Since) < sureAfter:
		default:
			leave[name] = now
		}
	}
	return leave
}

// inGroup reports whether a group has streams.
func (s *streamSet) inGroup(group string) bool { return len(s.origins(group)) > 0 }

// origins are those of a group that carry streams.
func (s *streamSet) origins(group string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for p := range s.at {
		if p.group == group {
			names = append(names, p.origin)
		}
	}
	return names
}

// groups are those that have streams.
func (s *streamSet) groups() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	var names []string
	for p := range s.at {
		if !seen[p.group] {
			seen[p.group] = true
			names = append(names, p.group)
		}
	}
	return names
}
