package policy

import "sync"

// events hands changes on in order and without a lock held, so that whoever is
// told may call the group: one goroutine tells at a time, what others find
// meanwhile it tells, too.
type events struct {
	tell func(Event)

	mu      sync.Mutex
	waiting []Event // guarded by mu
	telling bool    // guarded by mu
}

func (e *events) add(ev Event) {
	if e.tell == nil {
		return
	}
	e.mu.Lock()
	e.waiting = append(e.waiting, ev)
	e.mu.Unlock()
}

func (e *events) deliver() {
	if e.tell == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.telling {
		return
	}
	e.telling = true
	for len(e.waiting) > 0 {
		batch := e.waiting
		e.waiting = nil
		e.mu.Unlock()
		for _, ev := range batch {
			e.tell(ev)
		}
		e.mu.Lock()
	}
	e.telling = false
}
