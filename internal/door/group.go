package door

import (
	"errors"
	"math/rand/v2"
	"net/http/httputil"
	"reflect"
	"slices"
	"sync"

	"postroad/internal/door/carry"
	"postroad/internal/door/policy"
)

// group is a set of origins under one configuration. What must outlive a reload
// (policy, carrier) is shared by the groups of the same name.
type group struct {
	name     string
	settings Settings
	origins  []Origin
	policy   *policy.Group
	carrier  *carriage
	proxied  *httputil.ReverseProxy
	streamed *httputil.ReverseProxy

	earlier carry.Stats // of carriers that this group had before

	before *group        // whose policy and carrier these are; nil once adopted
	fresh  bool          // the carrier was made for this group
	change *carry.Change // of the carrier that was taken over; nil for none
}

// carriage is a carrier and the requests that use it, so that it is closed after
// the last.
type carriage struct {
	*carry.Carrier
	users sync.WaitGroup
	once  sync.Once

	mu   sync.RWMutex
	over bool // no further user; guarded by mu
}

// enter counts a request; it is false where the carrier was given up in the
// moment since the request found it.
func (c *carriage) enter() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.over {
		return false
	}
	c.users.Add(1)
	return true
}

func (c *carriage) leave() { c.users.Done() }

// giveUp waits for the requests and closes the carrier.
func (c *carriage) giveUp() {
	c.once.Do(func() {
		c.mu.Lock()
		c.over = true
		c.mu.Unlock()
		c.users.Wait()
		c.Close()
	})
}

func members(origins []Origin) []policy.OriginOptions {
	list := make([]policy.OriginOptions, len(origins))
	for i, o := range origins {
		list[i] = o.member()
	}
	return list
}

func targets(origins []Origin) []carry.Target {
	list := make([]carry.Target, len(origins))
	for i, o := range origins {
		list[i] = o.target()
	}
	return list
}

// rules are the options of the policy, which takes the interval of probes from
// elsewhere.
func (s Settings) rules() policy.Options {
	o := s.Policy
	o.ProbeInterval = s.Probe.Interval
	return o
}

// newGroup makes a group, taking over what before has. It changes nothing of
// before; adopt does.
func (d *Door) newGroup(name string, o Group, before *group) (*group, error) {
	g := &group{name: name, settings: o.Settings, origins: slices.Clone(o.Origins), before: before}
	var err error
	if before == nil {
		g.policy, err = policy.New(o.rules(), members(o.Origins), policy.Deps{
			Now: d.now, Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
			Event: func(e policy.Event) { d.changed(name, e) },
		})
	} else {
		g.policy, g.earlier = before.policy, before.earlier
		err = errors.Join(o.rules().Validate(), policy.ValidateOrigins(members(o.Origins)))
	}
	if err != nil {
		return nil, err
	}
	if err := d.giveCarrier(g); err != nil {
		return nil, err
	}
	d.addProxies(g)
	return g, nil
}

// giveCarrier gives a group its carrier: that of the group before it, with the
// change that it needs, where the rules of carrying are the same. Whatever cannot
// be used, such as a file that is not there, is found here.
func (d *Door) giveCarrier(g *group) (err error) {
	if before := g.before; before != nil && before.settings.Carry == g.settings.Carry {
		g.carrier = before.carrier
		if !reflect.DeepEqual(targets(before.origins), targets(g.origins)) {
			g.change, err = g.carrier.Prepare(targets(g.origins))
		}
		return err
	}
	made, err := carry.New(g.settings.Carry, g.policy, targets(g.origins), carry.Deps{
		Log: d.log.With("group", g.name), Now: d.now, Resolve: d.resolve,
		Attempted: func(a carry.Attempted) { d.metrics.attempted(g.name, a) },
	})
	if err != nil {
		return err
	}
	g.carrier, g.fresh = &carriage{Carrier: made}, true
	if g.before != nil {
		g.earlier = g.before.carried()
	}
	return nil
}

// abandon undoes newGroup.
func (g *group) abandon() {
	if g.fresh {
		g.carrier.giveUp()
	}
}

// adopt changes the policy and the carrier that were taken over. An origin has its
// address before requests are sent to it, and keeps it until none is. Nothing of it
// can fail: newGroup has made and checked all that it needs.
func (g *group) adopt() {
	if g.before == nil {
		return
	}
	g.before = nil
	if g.change != nil {
		g.carrier.Add(g.change)
	}
	_ = g.policy.Update(g.settings.rules(), members(g.origins))
	if g.change != nil {
		g.carrier.Apply(g.change)
		g.change = nil
	}
}

// origin finds an origin of the policy by name.
func (g *group) origin(name string) *policy.Origin {
	for _, o := range g.policy.Origins() {
		if o.Name() == name {
			return o
		}
	}
	return nil
}
