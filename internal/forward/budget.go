package forward

import (
	"sync"
	"sync/atomic"
)

// budget is the room in memory that the chains of a forwarder share: messages
// from being read to leaving the window of their chain, and the bytes of those
// that are not settled. A chain without any may always have one, so that none
// starves; beyond that each of those with something in flight has an equal
// share, and all of them together stay within the limit.
//
// What is late when it is read has at most three quarters: it may wait for minutes
// until the hub's log is read, and what is new must get past it meanwhile.
type budget struct {
	limit, limitBytes int64
	used, bytes       atomic.Int64
	active            atomic.Int64 // chains that have a message in flight
	starved           atomic.Int64 // chains that wait for what others have
	late, lateBytes   atomic.Int64 // of used and bytes, what was late and is not settled

	mu      sync.Mutex
	flights map[*flight]struct{} // guarded by mu
}

func newBudget(o Options) *budget {
	return &budget{limit: int64(o.MaxInFlight), limitBytes: o.MaxInFlightBytes, flights: map[*flight]struct{}{}}
}

// usage is one chain's part of a budget. Guarded by its flight's mu.
type usage struct {
	slots, bytes    int64
	late, lateBytes int64 // of these
	starved         bool  // waits for what others have
}

func (b *budget) join(f *flight) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flights[f] = struct{}{}
}

// leave gives back all that a flight has.
func (b *budget) leave(f *flight, u *usage) {
	b.mu.Lock()
	delete(b.flights, f)
	b.mu.Unlock()
	b.fed(u)
	b.late.Add(-u.late)
	b.lateBytes.Add(-u.lateBytes)
	b.give(u, u.slots, u.bytes)
}

// share is what one chain may have now. One that has nothing counts itself in.
func (b *budget) share(u *usage) (slots, bytes int64) {
	n := b.active.Load()
	if u.slots == 0 {
		n++
	}
	n = max(n, 1)
	return max(b.limit/n, 1), max(b.limitBytes/n, 1)
}

// take takes room for one message, where there is any.
func (b *budget) take(u *usage, size int64, late bool) bool {
	if u.slots > 0 {
		slots, bytes := b.share(u)
		if u.slots >= slots || u.bytes > 0 && u.bytes+size > bytes {
			return false
		}
		if b.used.Load() >= b.limit || u.bytes > 0 && b.bytes.Load()+size > b.limitBytes {
			b.starve(u)
			return false
		}
		if late && (b.late.Load() >= b.limit-b.limit/4 || u.bytes > 0 && b.lateBytes.Load()+size > b.limitBytes-b.limitBytes/4) {
			b.wait(u) // nobody is to give way for that
			return false
		}
	}
	b.force(u, 1, size)
	if late {
		u.late++
		u.lateBytes += size
		b.late.Add(1)
		b.lateBytes.Add(size)
	}
	return true
}

// giveLate notes that a message that was taken as late is settled.
func (b *budget) giveLate(u *usage, size int64) {
	u.late--
	u.lateBytes -= size
	b.late.Add(-1)
	b.lateBytes.Add(-size)
}

// force takes room whether there is any or not: for messages of a side lane,
// which come in small batches.
func (b *budget) force(u *usage, slots, bytes int64) {
	if u.slots == 0 && slots > 0 {
		b.active.Add(1)
	}
	b.fed(u)
	u.slots += slots
	u.bytes += bytes
	b.used.Add(slots)
	b.bytes.Add(bytes)
}

// give gives room back.
func (b *budget) give(u *usage, slots, bytes int64) {
	if u.slots > 0 && u.slots == slots {
		b.active.Add(-1)
	}
	u.slots -= slots
	u.bytes -= bytes
	used, held := b.used.Add(-slots), b.bytes.Add(-bytes)
	// In quarters, see flight.answered.
	if b.starved.Load() > 0 && used <= b.limit*3/4 && held <= b.limitBytes*3/4 {
		b.eachFlight(func(f *flight) { signal(f.wake) })
	}
}

// starve notes that a chain within its share finds the budget spent by others,
// which are to give way: they take nothing more while they are above theirs, and
// move what waits for a held topic out of memory.
func (b *budget) starve(u *usage) {
	if !b.wait(u) { // they have been told; telling them, and oneself, at each try would have all of them turn in circles
		return
	}
	b.eachFlight(func(f *flight) {
		f.squeezed.Store(true)
		signal(f.wake)
	})
}

// wait has a chain told of room that others give back; it reports whether that is new.
func (b *budget) wait(u *usage) bool {
	if u.starved {
		return false
	}
	u.starved = true
	b.starved.Add(1)
	return true
}

func (b *budget) fed(u *usage) {
	if u.starved {
		u.starved = false
		b.starved.Add(-1)
	}
}

// eachFlight must not lead to a flight's mu: callers may hold one.
func (b *budget) eachFlight(do func(*flight)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for f := range b.flights {
		do(f)
	}
}
