package faultfs

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"

	"postroad/internal/durable"
)

// ErrCrashed is the error of every call on a machine that has crashed, on the
// handles it gave out too.
var ErrCrashed = errors.New("machine crashed")

// FS is a machine with a disk. It is safe for concurrent use.
type FS struct {
	seed uint64
	disk *disk

	// Guarded by disk.mu.
	dead    bool
	trace   Trace
	counts  map[Kind]int
	at      map[int]Fault
	rules   []*rule
	fired   int
	reboots uint64
}

var _ durable.FS = (*FS)(nil)

// New returns a machine with an empty disk of unlimited capacity. The root
// directory is "/"; a relative name stands for one in the root.
func New(seed uint64) *FS { return boot(seed, newDisk()) }

func boot(seed uint64, d *disk) *FS {
	return &FS{seed: seed, disk: d, counts: map[Kind]int{}, at: map[int]Fault{}}
}

// At has the operation with the index meet the fault.
func (f *FS) At(index int, fault Fault) {
	defer f.lock()()
	f.at[index] = fault
}

// When has the operations that m chooses, from now on, meet the fault, and
// returns a function that takes the fault away again. At goes before When,
// and of several that choose one operation the first made goes.
func (f *FS) When(m Match, fault Fault) (heal func()) {
	defer f.lock()()
	r := &rule{match: m, fault: fault}
	f.rules = append(f.rules, r)
	return func() {
		defer f.lock()()
		f.rules = slices.DeleteFunc(f.rules, func(other *rule) bool { return other == r })
	}
}

// Fired returns how many operations have met a fault, so that a test can tell
// a fault that did no harm from one that did not happen.
func (f *FS) Fired() int {
	defer f.lock()()
	return f.fired
}

// Ops returns how many operations there have been: the index of the next.
func (f *FS) Ops() int {
	defer f.lock()()
	return len(f.trace)
}

// Count returns how many operations of a kind there have been.
func (f *FS) Count(k Kind) int {
	defer f.lock()()
	return f.counts[k]
}

// Trace returns the operations so far. One that is under way shows no error.
func (f *FS) Trace() Trace {
	defer f.lock()()
	return slices.Clone(f.trace)
}

// SetCapacity sets the size of the disk in bytes. Each file and directory takes
// a page of 4 KiB, and so does each page that was written, with zeros too;
// pages never written take nothing. What is on the disk stays.
func (f *FS) SetCapacity(bytes int64) {
	defer f.lock()()
	f.disk.capacity = bytes
}

// SetLateSpace chooses whether a full disk shows only at Datasync, as on a
// network share: writes then succeed, and the Datasync of a file with unsynced
// pages fails with ENOSPC and drops those for which there is no room.
func (f *FS) SetLateSpace(late bool) {
	defer f.lock()()
	f.disk.late = late
}

// Used returns the space taken, in bytes.
func (f *FS) Used() int64 {
	defer f.lock()()
	return f.disk.used
}

func (f *FS) lock() (unlock func()) {
	f.disk.mu.Lock()
	return f.disk.mu.Unlock
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
func (f *FS) do(c call) error {
	op, fault, err := f.begin(c.op)
	if err != nil {
		return err
	}
	if fault.Before != nil {
		fault.Before(op)
	}
	defer f.lock()()
	err = f.finish(c, fault, op.Index)
	f.trace[op.Index].Err = err
	return err
}

// begin gives the operation its number and finds its fault.
func (f *FS) begin(op Op) (Op, Fault, error) {
	defer f.lock()()
	if f.dead {
		return op, Fault{}, pathError(op, ErrCrashed)
	}
	op.Index = len(f.trace)
	f.counts[op.Kind]++
	fault, found := f.at[op.Index]
	for _, r := range f.rules {
		if r.hit(op) && !found {
			fault, found = r.fault, true
		}
	}
	if found {
		f.fired++
		op.Fault = fault.String()
	} else {
		fault.applied = everything
	}
	f.trace = append(f.trace, op)
	return op, fault, nil
}

// finish applies what the fault leaves of the operation. Called with the lock.
func (f *FS) finish(c call, fault Fault, index int) error {
	if f.dead { // since it began
		return pathError(c.op, ErrCrashed)
	}
	rng := f.random(uint64(index))
	splits := c.op.Kind == OpRead || c.op.Kind == OpWrite
	var err error
	switch {
	case fault.applied == everything || fault.applied == part && splits:
		err = c.apply(fault.amount(c.op.Length, rng))
	case c.spoil != nil && !fault.crash:
		c.spoil(fault.Pages, rng)
	}
	f.dead = fault.crash
	if fault.err != nil {
		err = fault.err
	}
	return pathError(c.op, err)
}

// random is the source of what the seed decides about one thing.
func (f *FS) random(about uint64) *rand.Rand { return rand.New(rand.NewPCG(f.seed, about)) }

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
