package faultfs

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"sync"
)

// ErrCrashed is the error of every call on a machine that has crashed, on the
// handles it gave out too.
var ErrCrashed = errors.New("machine crashed")

// machine is what runs programs: it numbers their operations, keeps the trace
// and has operations meet their faults. It is safe for concurrent use.
type machine struct {
	seed uint64
	mu   *sync.Mutex // that of the disk or share

	// Guarded by mu.
	dead   bool
	trace  Trace
	counts map[Kind]int
	at     map[int]Fault
	rules  []*rule
	fired  int
	gate   chan struct{} // while paused; closed by Resume

	// ended, where set, is called once with the lock held when the machine
	// crashes; began for each operation that has been given its number.
	ended func()
	began func(index int)
}

func newMachine(seed uint64, mu *sync.Mutex) machine {
	return machine{seed: seed, mu: mu, counts: map[Kind]int{}, at: map[int]Fault{}}
}

// At has the operation with the index meet the fault.
func (m *machine) At(index int, fault Fault) {
	defer m.lock()()
	m.at[index] = fault
}

// When has the operations that which chooses, from now on, meet the fault, and
// returns a function that takes the fault away again. At goes before When,
// and of several that choose one operation the first made goes.
func (m *machine) When(which Match, fault Fault) (heal func()) {
	defer m.lock()()
	r := &rule{match: which, fault: fault}
	m.rules = append(m.rules, r)
	return func() {
		defer m.lock()()
		m.rules = slices.DeleteFunc(m.rules, func(other *rule) bool { return other == r })
	}
}

// Fired returns how many operations have met a fault, so that a test can tell
// a fault that did no harm from one that did not happen.
func (m *machine) Fired() int {
	defer m.lock()()
	return m.fired
}

// Ops returns how many operations there have been: the index of the next.
func (m *machine) Ops() int {
	defer m.lock()()
	return len(m.trace)
}

// Count returns how many operations of a kind there have been.
func (m *machine) Count(k Kind) int {
	defer m.lock()()
	return m.counts[k]
}

// Trace returns the operations so far. One that is under way shows no error.
func (m *machine) Trace() Trace {
	defer m.lock()()
	return slices.Clone(m.trace)
}

// Crash ends the machine now: every later call on it, and on its handles,
// returns ErrCrashed, and so does one that is under way.
func (m *machine) Crash() {
	defer m.lock()()
	m.die()
}

// Crashed reports whether the machine has ended.
func (m *machine) Crashed() bool {
	defer m.lock()()
	return m.dead
}

// die is called with the lock held.
func (m *machine) die() {
	if m.dead {
		return
	}
	m.dead = true
	m.open()
	if m.ended != nil {
		m.ended()
	}
}

// Pause has every operation wait, before it is applied or before it answers,
// until Resume: the program stands still and its clock goes on.
func (m *machine) Pause() {
	defer m.lock()()
	if m.gate == nil && !m.dead {
		m.gate = make(chan struct{})
	}
}

// Resume ends a Pause.
func (m *machine) Resume() {
	defer m.lock()()
	m.open()
}

func (m *machine) open() {
	if m.gate != nil {
		close(m.gate)
		m.gate = nil
	}
}

func (m *machine) lock() (unlock func()) {
	m.mu.Lock()
	return m.mu.Unlock
}

// call is an operation on its way.
type call struct {
	op Op
	// apply performs the operation on its first n bytes, with the lock held.
	apply func(n int) error
	// spoil, where set, is what a failure before it is applied does.
	spoil func(Pages, *rand.Rand)
}

// do numbers and records an operation and has it meet its fault, if it has one.
func (m *machine) do(c call) error {
	m.stand()
	op, fault, err := m.begin(c.op)
	if err != nil {
		return err
	}
	if fault.Before != nil {
		fault.Before(op)
	}
	err = m.finish(c, fault, op.Index)
	m.stand()
	return err
}

// stand waits as long as the machine is paused.
func (m *machine) stand() {
	for {
		unlock := m.lock()
		gate := m.gate
		unlock()
		if gate == nil {
			return
		}
		<-gate
	}
}

// begin gives the operation its number and finds its fault.
func (m *machine) begin(op Op) (Op, Fault, error) {
	defer m.lock()()
	if m.dead {
		return op, Fault{}, pathError(op, ErrCrashed)
	}
	op.Index = len(m.trace)
	m.counts[op.Kind]++
	fault, found := m.at[op.Index]
	for _, r := range m.rules {
		if r.hit(op) && !found {
			fault, found = r.fault, true
		}
	}
	if found {
		m.fired++
		op.Fault = fault.String()
	} else {
		fault.applied = everything
	}
	m.trace = append(m.trace, op)
	if m.began != nil {
		m.began(op.Index)
	}
	return op, fault, nil
}

// finish applies what the fault leaves of the operation and records how it
// ended.
func (m *machine) finish(c call, fault Fault, index int) (err error) {
	defer m.lock()()
	defer func() { m.trace[index].Err = err }()
	if m.dead { // since it began
		return pathError(c.op, ErrCrashed)
	}
	rng := m.random(uint64(index))
	splits := c.op.Kind == OpRead || c.op.Kind == OpWrite
	switch {
	case fault.applied == everything || fault.applied == part && splits:
		err = c.apply(fault.amount(c.op.Length, rng))
		if fault.again && (c.op.Kind == OpCreate || c.op.Kind == OpMkdir || c.op.Kind == OpRemove) {
			err = c.apply(c.op.Length)
		}
	case c.spoil != nil && !fault.crash:
		c.spoil(fault.Pages, rng)
	}
	if fault.crash {
		m.die()
	}
	if fault.err != nil {
		err = fault.err
	}
	return pathError(c.op, err)
}

// random is the source of what the seed decides about one thing.
func (m *machine) random(about uint64) *rand.Rand { return rand.New(rand.NewPCG(m.seed, about)) }

// pathError gives an error the form that package os gives it.
func pathError(op Op, err error) error {
	var already *fs.PathError
	if err == nil || errors.Is(err, errEOF) || errors.As(err, &already) {
		return err
	}
	return &fs.PathError{Op: string(op.Kind), Path: op.Name, Err: err}
}

// named starts an operation on a path.
func named(k Kind, name string) Op { return Op{Kind: k, Name: path.Clean(name)} }
