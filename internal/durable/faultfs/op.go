package faultfs

import (
	"fmt"
	"strings"
)

// Kind is what an operation does, named as in the trace.
type Kind string

// The kinds of operation: one for each method of durable.FS and durable.File.
const (
	OpCreate    Kind = "create"
	OpOpen      Kind = "open"
	OpOpenWrite Kind = "openwrite"
	OpMkdir     Kind = "mkdir"
	OpReadDir   Kind = "readdir"
	OpRemove    Kind = "remove"
	OpSyncDir   Kind = "syncdir"
	OpTouch     Kind = "touch"
	OpSpace     Kind = "space"
	OpRead      Kind = "read"
	OpWrite     Kind = "write"
	OpSync      Kind = "sync"
	OpSize      Kind = "size"
	OpClose     Kind = "close"
)

// Changes reports whether an operation of the kind changes what the disk
// holds, now or after a power cut. For the others it makes no difference
// whether they fail before or after they are applied.
func (k Kind) Changes() bool {
	switch k {
	case OpCreate, OpMkdir, OpRemove, OpSyncDir, OpWrite, OpSync:
		return true
	default:
		return false
	}
}

// Op is one operation of the trace.
type Op struct {
	// Index numbers the operations of a machine from 0.
	Index int
	Kind  Kind
	// Name is the path that was operated on, cleaned.
	Name string
	// Offset and Length are set on reads and writes, in bytes.
	Offset int64
	Length int
	// Fault names the fault that was injected, or is empty.
	Fault string
	// Err is what the call returned.
	Err error
}

// String writes the operation on one line.
func (op Op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#%-4d %-9s %s", op.Index, op.Kind, op.Name)
	if op.Kind == OpRead || op.Kind == OpWrite {
		fmt.Fprintf(&b, " [%d,+%d)", op.Offset, op.Length)
	}
	if op.Fault != "" {
		fmt.Fprintf(&b, " !%s", op.Fault)
	}
	if op.Err != nil {
		fmt.Fprintf(&b, " -> %v", op.Err)
	}
	return b.String()
}

// Trace is the operations of a machine in order.
type Trace []Op

// String writes one operation a line.
func (t Trace) String() string {
	var b strings.Builder
	for _, op := range t {
		b.WriteString(op.String())
		b.WriteByte('\n')
	}
	return b.String()
}
