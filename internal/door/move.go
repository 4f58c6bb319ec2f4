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
	groups := d.state.Load().groups
	for name, g := range groups {
		g.policy.Beat(late)
		if rate := g.settings.Streams.MoveRate; rate > 0 && d.live.inGroup(name) {
			d.live.move(name, rate, passed, leaving(g.policy.Status(), d.live.origins(name), d.now()))
		}
	}
	for _, name := range d.live.groups() {
		if groups[name] == nil {
			d.live.move(name, goneRate, passed, allOf(d.live.origins(name)))
		}
	}
}

func allOf(names []string) map[string]bool {
	all := make(map[string]bool, len(names))
	for _, n := range names {
		all[n] = true
	}
	return all
}

// leaving says which origins of those that carry streams should not:
//
//   - one that takes no requests (drained, in maintenance, held, disabled, without
//     weight) or is left out for some time, while another takes them;
//   - one that stood in for origins of a lower number which are back as a whole;
//   - one that the group has no more.
//
// Where too few origins are usable nothing moves: there is no better place.
func leaving(s policy.Status, carrying []string, now time.Time) map[string]bool {
	if s.Panic {
		return nil
	}
	usable := 0
	whole := map[int]int{} // by priority, the percentages of those that are back
	for _, o := range s.Origins {
		if o.Usable && o.Percent > 0 {
			usable++
			if o.State == policy.Healthy {
				whole[o.Priority] += o.Percent
			}
		}
	}
	best := 0
	for p, percent := range whole {
		if percent >= 100 && (best == 0 || p < best) {
			best = p
		}
	}
	known := map[string]policy.OriginStatus{}
	for _, o := range s.Origins {
		known[o.Name] = o
	}
	leave := map[string]bool{}
	for _, name := range carrying {
		o, there := known[name]
		takes := o.Usable && o.Percent > 0
		switch {
		case !there:
			leave[name] = true
		case takes && best > 0 && o.Priority > best:
			leave[name] = true
		case takes || usable == 0:
		case o.State == policy.Suspect && now.Sub(o.Since) < sureAfter:
		default:
			leave[name] = true
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
