package policy

import "fmt"

// Drain takes an origin out of the choice, or lets it come back by the ramp. Only
// where nothing else is usable it still gets requests.
func (g *Group) Drain(name string, on bool) error {
	return g.operate(name, func(o *Origin) { o.drained = on })
}

// Hold keeps an origin out, whatever its health, until it is released; also where
// nothing else is usable.
func (g *Group) Hold(name string, on bool) error {
	return g.operate(name, func(o *Origin) { o.held = on })
}

// SetWeight lets an origin have percent of its share, 0 to 100. What the origins
// of a priority leave, if they have less than one whole share together, goes to the
// next priority.
func (g *Group) SetWeight(name string, percent int) error {
	if err := within("percent", percent, 0, 100); err != nil {
		return fmt.Errorf("origin %q: %w", name, err)
	}
	return g.operate(name, func(o *Origin) { o.taken = 100 - percent })
}

// Release ends what an operator did by Drain and Hold, and the wait for an
// operator after an isolation. An isolation itself ends as soon as probes pass, and
// those before it are forgotten. The percentage stays.
func (g *Group) Release(name string) error {
	conf := g.conf.Load()
	return g.operate(name, func(o *Origin) {
		now := g.now()
		o.drained, o.held = false, false
		if o.state != Suspect {
			return
		}
		o.isolations, o.until = 0, now
		if o.waiting {
			o.comeBack(conf, now, "released by an operator")
		}
	})
}

func (g *Group) operate(name string, verb func(*Origin)) (err error) {
	g.locked(func(instant) {
		var o *Origin
		if o, err = g.named(name); err == nil {
			verb(o)
		}
	})
	return err
}
