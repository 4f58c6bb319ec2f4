package drill

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// doorFault is something that happens behind a proxy, or to it.
type doorFault struct {
	name, about string
	// wired has a Wire before the first origin, told needs backends that do as
	// they are told, which gateways do not.
	wired, told bool
	// excused says that a client may be told of it: no proxy can hide that
	// nobody is there.
	excused bool
	// inflict makes it happen, lets it last and mends it.
	inflict func(*doorRig, context.Context) error
}

// DoorFaults are the names of all faults.
func DoorFaults() []string {
	var names []string
	for _, f := range doorFaults() {
		names = append(names, f.name)
	}
	return names
}

func doorFaults() []doorFault {
	return []doorFault{
		{name: "kill", about: "an origin killed, and started again", inflict: (*doorRig).killed},
		{name: "stop", about: "an origin stopped, and resumed: a black hole", inflict: (*doorRig).stopped},
		{name: "slow", about: "an origin takes 3 s for each request; its probes pass", told: true, inflict: slow(1)},
		{name: "storm-503", about: "an origin answers 503 to everything; its probes pass", told: true, inflict: storm(503)},
		{name: "storm-500", about: "the same with 500", told: true, excused: true, inflict: storm(500)},
		{name: "flap", about: "an origin killed and started again, over and over", inflict: (*doorRig).flapping},
		{name: "cut-requests", about: "connections to an origin are reset in the middle of requests", wired: true, inflict: wired(WireCutsRequests)},
		{name: "cut-answers", about: "half of the connections to an origin are reset right before an answer", wired: true, inflict: wired(WireCutsAnswers)},
		{name: "half-open", about: "all connections to an origin are dead and stay open; new ones work", wired: true, inflict: (*doorRig).halfOpen},
		{name: "all-down", about: "all origins killed, and started again", excused: true, inflict: (*doorRig).allDown},
		{name: "both-slow", about: "all origins take 3 s for each request", told: true, excused: true, inflict: slow(2)},
		{name: "restart", about: "the proxy itself asked to end, and started again", excused: true, inflict: (*doorRig).restarted},
		{name: "reload", about: "the proxy's configuration changed a hundred times", inflict: (*doorRig).reloaded},
		{name: "stall", about: "the machine stands still: proxy and origins stopped for a second", inflict: (*doorRig).stalled},
		{name: "stall-proxy", about: "the proxy alone stopped for a second", inflict: (*doorRig).stalledProxy},
	}
}

func faultNamed(name string) (doorFault, error) {
	for _, f := range doorFaults() {
		if f.name == name {
			return f, nil
		}
	}
	return doorFault{}, fmt.Errorf("fault %q: want one of %v", name, DoorFaults())
}

func (r *doorRig) killed(ctx context.Context) error {
	if err := r.origins[0].kill(); err != nil {
		return err
	}
	return errors.Join(rest(ctx, r.Length), r.origins[0].start(ctx, r))
}

func (r *doorRig) stopped(ctx context.Context) error {
	p := r.origins[0].p
	if err := p.Pause(); err != nil {
		return err
	}
	return errors.Join(rest(ctx, r.Length), p.Resume())
}

// slowWork is longer than any proxy here waits for an answer, but Postroad's.
const slowWork = 3 * time.Second

// slow makes the first n origins slow.
func slow(n int) func(*doorRig, context.Context) error {
	return func(r *doorRig, ctx context.Context) error { return r.behaving(ctx, n, Behaviour{Work: slowWork}) }
}

func storm(status int) func(*doorRig, context.Context) error {
	return func(r *doorRig, ctx context.Context) error {
		return r.behaving(ctx, 1, Behaviour{Work: r.Work, Status: status})
	}
}

// behaving makes the first n origins behave in a way for some time.
func (r *doorRig) behaving(ctx context.Context, n int, rule Behaviour) error {
	for _, o := range r.origins[:n] {
		if err := Behave(ctx, "http://"+o.address, rule); err != nil {
			return err
		}
	}
	err := rest(ctx, r.Length)
	for _, o := range r.origins[:n] {
		err = errors.Join(err, Behave(ctx, "http://"+o.address, Behaviour{Work: r.Work}))
	}
	return err
}

// flapPause is how long an origin that flaps is there, and away.
const flapPause = 400 * time.Millisecond

func (r *doorRig) flapping(ctx context.Context) error {
	for end := time.Now().Add(r.Length); time.Now().Before(end); {
		if err := r.origins[0].kill(); err != nil {
			return err
		}
		if err := errors.Join(rest(ctx, flapPause), r.origins[0].start(ctx, r)); err != nil {
			return err
		}
		if err := rest(ctx, flapPause); err != nil {
			return err
		}
	}
	return nil
}

func wired(f WireFault) func(*doorRig, context.Context) error {
	return func(r *doorRig, ctx context.Context) error {
		r.origins[0].wire.Set(f)
		defer r.origins[0].wire.Set(WirePasses)
		return rest(ctx, r.Length)
	}
}

func (r *doorRig) halfOpen(ctx context.Context) error {
	r.origins[0].wire.Deaden()
	return rest(ctx, r.Length)
}

func (r *doorRig) allDown(ctx context.Context) error {
	for _, o := range r.origins {
		if err := o.kill(); err != nil {
			return err
		}
	}
	err := rest(ctx, r.Length)
	for _, o := range r.origins {
		err = errors.Join(err, o.start(ctx, r))
	}
	return err
}

func (r *doorRig) restarted(ctx context.Context) error {
	if err := r.front.Stop(); err != nil {
		return err
	}
	return r.front.Start(ctx)
}

// reloads is how many a drill makes.
const reloads = 100

func (r *doorRig) reloaded(ctx context.Context) error {
	for range reloads {
		if err := r.front.Reload(ctx); err != nil {
			return err
		}
		if err := rest(ctx, r.Length/reloads); err != nil {
			return err
		}
	}
	return nil
}

// stallTime is how long what is stalled stands still.
const stallTime = time.Second

func (r *doorRig) stalled(ctx context.Context) error {
	var all []int
	for _, o := range r.origins {
		all = append(all, o.p.PID())
	}
	return r.standStill(ctx, append(all, r.front.p.PID()))
}

func (r *doorRig) stalledProxy(ctx context.Context) error {
	return r.standStill(ctx, []int{r.front.p.PID()})
}

// standStill stops processes with all of theirs.
func (r *doorRig) standStill(ctx context.Context, pids []int) error {
	var all []int
	for _, pid := range pids {
		family, err := Family(pid)
		if err != nil {
			return err
		}
		all = append(all, family...)
	}
	var errs []error
	for _, pid := range all {
		errs = append(errs, syscall.Kill(pid, syscall.SIGSTOP))
	}
	errs = append(errs, rest(ctx, stallTime))
	for _, pid := range all {
		errs = append(errs, syscall.Kill(pid, syscall.SIGCONT))
	}
	errs = append(errs, rest(ctx, max(0, r.Length-stallTime)))
	return errors.Join(errs...)
}
