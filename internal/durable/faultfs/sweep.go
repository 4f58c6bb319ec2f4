package faultfs

import (
	"fmt"
	"syscall"
	"testing"
)

// Sweep runs a script once for every operation it makes and every fault, on a
// fresh machine each time, and checks what is left under several outcomes. S
// is what the script knows at its end, such as what it took for durable.
type Sweep[S any] struct {
	Seed uint64
	// Prepare, where set, readies the disk; no fault meets it.
	Prepare func(disk *FS) error
	// Run is the script. It sees errors as a program would and returns what
	// it may count on; after ErrCrashed it just returns. It makes the same
	// calls in the same order until it meets the fault.
	Run func(disk *FS) S
	// Check judges the disk of a machine that was started anew. It may change
	// it: each gets its own.
	Check func(disk *FS, known S) error
	// Faults are tried at each operation; nil means Faults().
	Faults []Fault
	// Cuts is how many power cuts by chance are tried on each run, beside the
	// kill of the process and the power cut that loses all it may; 0 means 3.
	Cuts int
}

// Faults are the faults of a sweep: an error without effect, with part of it
// and with all of it, and the same for the end of the machine.
func Faults() []Fault {
	return []Fault{
		FailBefore(syscall.EIO), FailTorn(syscall.EIO), FailAfter(syscall.EIO),
		CrashBefore(), CrashTorn(), CrashAfter(),
	}
}

// Failure is one run that Check found fault with.
type Failure struct {
	Op      Op
	Outcome string
	Err     error
	Trace   Trace
}

// String tells what was done, what was left and the operations that led there.
func (f Failure) String() string {
	return fmt.Sprintf("%s, then %s: %v\n%s", f.Op, f.Outcome, f.Err, f.Trace)
}

// Test fails t for each failure, of which it prints the first few.
func (s Sweep[S]) Test(t *testing.T) {
	t.Helper()
	const shown = 3
	runs, failures := s.Find()
	if runs == 0 {
		t.Error("the script made no operation that changes anything")
	}
	for i, f := range failures {
		if i == shown {
			t.Fatalf("and %d more, seed %d", len(failures)-shown, s.Seed)
		}
		t.Errorf("seed %d: %v", s.Seed, f)
	}
}

// Find does the sweep and returns how many runs it took and those that failed.
func (s Sweep[S]) Find() (runs int, failures []Failure) {
	faults := s.Faults
	if faults == nil {
		faults = Faults()
	}
	whole, base, err := s.start()
	if err != nil {
		return 0, []Failure{{Outcome: "preparation", Err: err, Trace: whole.Trace()}}
	}
	s.outcomes(whole, Op{Kind: "no fault"}, s.Run(whole), &failures)
	for k := base; k < whole.Ops(); k++ {
		for _, fault := range faults {
			disk, _, err := s.start()
			if err != nil {
				return runs, append(failures, Failure{Outcome: "preparation", Err: err, Trace: disk.Trace()})
			}
			disk.At(k, fault)
			known := s.Run(disk)
			runs++
			trace := disk.Trace()
			if len(trace) <= k {
				failures = append(failures, Failure{
					Op: Op{Index: k}, Outcome: "not reached", Trace: trace,
					Err: fmt.Errorf("the script made only %d operations, not the same each time", len(trace)),
				})
				continue
			}
			s.outcomes(disk, trace[k], known, &failures)
		}
	}
	return runs, failures
}

func (s Sweep[S]) start() (disk *FS, ops int, err error) {
	disk = New(s.Seed)
	if s.Prepare != nil {
		err = s.Prepare(disk)
	}
	return disk, disk.Ops(), err
}

// outcomes checks what may be left of the disk after the run.
func (s Sweep[S]) outcomes(disk *FS, op Op, known S, failures *[]Failure) {
	judge := func(outcome string, left *FS) {
		if err := s.Check(left, known); err != nil {
			trace := append(disk.Trace(), left.Trace()...)
			*failures = append(*failures, Failure{Op: op, Outcome: outcome, Err: err, Trace: trace})
		}
	}
	judge("process killed", disk.Restart())
	judge("process killed, then power cut", disk.Restart().RebootBare())
	judge("power cut that loses all it may", disk.RebootBare())
	cuts := s.Cuts
	if cuts == 0 {
		cuts = 3
	}
	for i := range cuts {
		judge(fmt.Sprintf("power cut %d", i+1), disk.Reboot())
	}
}
