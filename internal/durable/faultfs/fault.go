package faultfs

import (
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
)

// extent is how much of an operation is applied before its fault.
type extent int

const (
	nothing extent = iota
	part
	everything
)

// Fault is what happens to an operation instead of its success. The
// constructors below make the usual ones; the exported fields refine them.
type Fault struct {
	// Before is called, if set, before the operation is applied and with no
	// lock held: it may block, to delay the operation, or make other calls.
	Before func(Op)
	// Pages says what a Datasync that fails before it is applied leaves
	// behind. SyncDir knows PagesDirty and PagesClean only.
	Pages Pages

	name    string
	applied extent
	again   bool // applied twice; the second answer is given
	err     error
	crash   bool
}

// Pages is what becomes of changes that a failed sync did not make stable.
// Under each, some of them may have reached the disk before the failure.
type Pages int

// What a failed sync leaves behind.
const (
	// PagesAny is one of the others, by the seed.
	PagesAny Pages = iota
	// PagesDirty: still to be written; a later sync makes them stable.
	PagesDirty
	// PagesClean: read back as written, but taken for clean: a later sync
	// succeeds and does not make them stable.
	PagesClean
	// PagesDropped: gone from the cache: read back as the disk has them, and
	// a later sync succeeds.
	PagesDropped
)

// FailBefore has the operation fail without being applied.
func FailBefore(err error) Fault { return Fault{name: "fail before", err: err} }

// FailTorn has a read or write be applied in part and then fail; others fail
// without being applied.
func FailTorn(err error) Fault { return Fault{name: "fail torn", applied: part, err: err} }

// FailAfter has the operation be applied whole and then fail: the answer was
// lost.
func FailAfter(err error) Fault { return Fault{name: "fail after", applied: everything, err: err} }

// LostReply has Create, Mkdir or Remove be applied, the answer be lost, and the
// request be sent and applied a second time: what was created exists already,
// what was removed is missing. Other operations may be done twice and succeed.
func LostReply() Fault { return Fault{name: "lost reply", applied: everything, again: true} }

// CrashBefore ends the machine at the operation, which is not applied.
func CrashBefore() Fault { return Fault{name: "crash before", err: ErrCrashed, crash: true} }

// CrashTorn ends the machine halfway through a write.
func CrashTorn() Fault {
	return Fault{name: "crash torn", applied: part, err: ErrCrashed, crash: true}
}

// CrashAfter ends the machine after the operation was applied and before it
// answers.
func CrashAfter() Fault {
	return Fault{name: "crash after", applied: everything, err: ErrCrashed, crash: true}
}

// Delay applies the operation as it is, after before has returned.
func Delay(before func(Op)) Fault {
	return Fault{name: "delay", applied: everything, Before: before}
}

// String names the fault as the trace does.
func (f Fault) String() string {
	if f.err == nil || f.crash {
		return f.name
	}
	return fmt.Sprintf("%s (%v)", f.name, f.err)
}

// amount is how many of length bytes are applied.
func (f Fault) amount(length int, rng *rand.Rand) int {
	switch f.applied {
	case part:
		return rng.IntN(length + 1)
	case everything:
		return length
	default:
		return 0
	}
}

// Match chooses operations.
type Match struct {
	// Kind is the kind of operation; empty means any.
	Kind Kind
	// Name is a pattern of path.Match. Without a slash it is held against the
	// last element of the path, else against the whole. Empty means any.
	Name string
	// If, where set, has to agree as well. It must not call the FS.
	If func(Op) bool
	// Nth is the first operation, of those that match, that is chosen: 0 and
	// 1 both mean the first.
	Nth int
	// Always chooses every later match too.
	Always bool
}

func (m Match) matches(op Op) bool {
	if m.Kind != "" && m.Kind != op.Kind {
		return false
	}
	if m.Name != "" {
		name := op.Name
		if !strings.Contains(m.Name, "/") {
			name = path.Base(name)
		}
		if ok, err := path.Match(m.Name, name); err != nil || !ok {
			return false
		}
	}
	return m.If == nil || m.If(op)
}

// rule is a fault that waits for its operation.
type rule struct {
	match Match
	fault Fault
	seen  int // matches so far
}

// hit counts op if it matches and reports whether it is a chosen one.
func (r *rule) hit(op Op) bool {
	if !r.match.matches(op) {
		return false
	}
	r.seen++
	nth := max(r.match.Nth, 1)
	return r.seen == nth || r.match.Always && r.seen > nth
}
