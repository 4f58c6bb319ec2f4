package door

import (
	"sync"
	"time"

	"postroad/internal/door/policy"
)

// Event is something that changed, for the admin API.
type Event struct {
	At time.Time `json:"at"`
	// Kind is state (of an origin), panic (of a group), order (of an operator) or
	// reload.
	Kind   string `json:"kind"`
	Group  string `json:"group,omitempty"`
	Origin string `json:"origin,omitempty"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// mostEvents is how many events are kept.
const mostEvents = 1000

// events keeps the newest events.
type events struct {
	now func() time.Time

	mu   sync.Mutex
	ring []Event // guarded by mu
	next int     // where the next one goes; guarded by mu
}

func newEvents(now func() time.Time) *events { return &events{now: now} }

func (e *events) add(ev Event) {
	if ev.At.IsZero() {
		ev.At = e.now()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.ring) < mostEvents {
		e.ring = append(e.ring, ev)
		return
	}
	e.ring[e.next] = ev
	e.next = (e.next + 1) % mostEvents
}

// newest returns up to n events, the newest first.
func (e *events) newest(n int) []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	n = min(n, len(e.ring))
	list := make([]Event, 0, n)
	for i := range n {
		at := e.next - 1 - i
		list = append(list, e.ring[(at%len(e.ring)+len(e.ring))%len(e.ring)])
	}
	return list
}

// changed is told by the policy of a group.
func (d *Door) changed(group string, e policy.Event) {
	ev := Event{At: e.At, Kind: "state", Group: group, Origin: e.Origin, From: e.From, To: e.To, Reason: e.Reason}
	log := d.log.With("group", group)
	if e.Origin == "" {
		ev.Kind = "panic"
		if e.To == "panic" {
			log.Warn("too few origins are usable, requests go to suspects as well", "reason", e.Reason)
		} else {
			log.Info("enough origins are usable again", "reason", e.Reason)
		}
	} else {
		d.metrics.changed(group, e.Origin, e.To)
		if policy.State(e.To) == policy.Suspect {
			log.Warn("origin changed its state", "origin", e.Origin, "from", e.From, "to", e.To, "reason", e.Reason)
		} else {
			log.Info("origin changed its state", "origin", e.Origin, "from", e.From, "to", e.To, "reason", e.Reason)
		}
	}
	d.events.add(ev)
}
