package forward

import "errors"

// renew replaces the sink's client where it can send no more, or holds on to a
// topic that was deleted and made anew. To the hub we are a last holder of
// ourselves then: all that was under way comes back, and is looked for before it
// is sent again.
//
// What stands in a new topic is not known, so it is read back from its beginning.
// That the marks of the old one say nothing is counted.
func (d *drainer) renew(t *topic, err error) {
	if !staleClient(err) {
		return
	}
	if remade(err) {
		n := d.flight.madeAnew(t)
		d.f.late.remade(t.name)
		d.f.metrics.lost.Add(float64(n))
		d.log.Warn("topic was made anew, replacing the connection to the hub", "topic", t.name, "partitions", n)
	} else {
		d.log.Warn("replacing the connection to the hub", "topic", t.name, "err", err)
	}
	d.f.reset()
}

// remade reports whether an error says that the topic was made anew.
func remade(err error) bool {
	var r interface{ Remade() bool }
	return errors.As(err, &r) && r.Remade()
}

// madeAnew forgets the offsets of a topic and has it read back. It returns how
// many partitions had a mark.
func (f *flight) madeAnew(t *topic) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range t.parts {
		p.next, p.floor, p.pin = 0, 0, 0
	}
	t.unread, t.anew = true, true
	f.version++
	return len(t.parts)
}
