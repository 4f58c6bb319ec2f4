package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// kinds are the faults, and at which calls they make sense.
var kinds = []struct {
	do    string
	calls []string
}{
	{"error=EIO", []string{"pwrite64", "fdatasync", "fsync", "openat", "mkdirat", "unlinkat", "pread64", "getdents64", "statfs"}},
	{"error=ENOSPC", []string{"pwrite64", "fdatasync", "fsync", "openat", "mkdirat"}},
	{"signal=SIGKILL", []string{"pwrite64", "fdatasync", "fsync", "openat", "mkdirat", "unlinkat"}},
}

// samples is how many faults of each kind are tried at each system call.
const samples = 2

// The promise holds whatever call of the queue's fails, or is the last one: a
// sample. TestProofFaults… try them all.
func TestFaultAtACall(t *testing.T) {
	b := newBench(t)
	sounds := map[bool]trace{false: b.sound(script{}), true: b.sound(script{takeover: true})}
	tally := make(tally)
	for _, kind := range kinds {
		for _, name := range kind.calls {
			if testing.Short() && name != "fdatasync" {
				continue
			}
			numbers := sounds[reads(name)].numbers(name)
			if len(numbers) == 0 {
				t.Errorf("the script makes no %s", name)
				continue
			}
			for range samples {
				b.hit(tally, injection{call: name, do: kind.do}, numbers)
			}
		}
	}
	t.Log(tally)
}

// reads tells the call that a stamp makes for certain only where it goes on with
// what another has left: what it wrote itself it hands to its forwarder in memory.
func reads(call string) bool { return call == "pread64" }

// sound is the trace of a run without a fault.
func (b *bench) sound(s script) trace {
	b.t.Helper()
	r, err := b.run(s)
	if err != nil {
		b.t.Fatal(err)
	}
	if !r.result.Verdict.OK() || r.told > 0 {
		b.t.Fatalf("without a fault, %d told unknown: %s", r.told, r.result)
	}
	return r.trace
}

// attempts is how often another number is tried where a fault missed the queue.
const attempts = 6

// hit runs the script until a fault has hit a file of the queue.
func (b *bench) hit(tally tally, inject injection, numbers []int) {
	b.t.Helper()
	for range attempts {
		inject.when = numbers[b.rng.IntN(len(numbers))]
		if b.once(tally, inject) {
			return
		}
		numbers = numbers[:(len(numbers)+1)/2] // lower ones are reached for certain
	}
	b.t.Errorf("%s:%s has hit no file of the queue in %d runs", inject.call, inject.do, attempts)
}

// once runs the script with a fault, judges, and tells whether the fault has hit
// a file of the queue.
func (b *bench) once(tally tally, inject injection) bool {
	b.t.Helper()
	return b.play(tally, script{inject: &inject, takeover: reads(inject.call)})
}

// play is once for any script with a fault.
func (b *bench) play(tally tally, s script) bool {
	b.t.Helper()
	r, err := b.run(s)
	inject := *s.inject
	if err != nil {
		b.t.Error(err)
		return true
	}
	hits := r.trace.hits(inject)
	if !r.result.Verdict.OK() {
		b.t.Errorf("run %d, %v, which hit %v:\n%s", b.runs, inject, hits, r.result)
	}
	for _, c := range hits {
		tally[inject.do+" "+c.String()]++
	}
	b.t.Logf("%v hit %v; %d told unknown", inject, hits, r.told)
	return len(hits) > 0
}

// tally counts faults by what they hit.
type tally map[string]int

// String lists them, one a line.
func (y tally) String() string {
	var b strings.Builder
	b.WriteString("faults by what they hit:\n")
	for _, what := range slices.Sorted(maps.Keys(y)) {
		fmt.Fprintf(&b, "%5d  %s\n", y[what], what)
	}
	return b.String()
}

// A sync that fails under requests is told to those who wait for it, once, and
// service goes on in a new lane that names the one it follows.
func TestFailedSync(t *testing.T) {
	b := newBench(t)
	numbers := b.sound(script{}).numbers("fdatasync")
	for _, do := range []string{"error=EIO", "error=ENOSPC"} {
		seen := false
		for n := 0; n < attempts && !seen; n++ {
			inject := injection{call: "fdatasync", do: do, when: numbers[len(numbers)/3+b.rng.IntN(len(numbers)/3)]}
			r, err := b.run(script{inject: &inject})
			if err != nil {
				t.Fatal(err)
			}
			if !r.result.Verdict.OK() {
				t.Fatalf("%v: %s", inject, r.result)
			}
			if r.told == 0 {
				continue // it was another file's, or nobody waited
			}
			seen = true
			lanes, err := r.lanes()
			if err != nil {
				t.Fatal(err)
			}
			follows := func(l lane) bool {
				return slices.ContainsFunc(lanes, func(p lane) bool { return p.Lane == l.Predecessor })
			}
			if !slices.ContainsFunc(lanes, follows) {
				t.Errorf("%v: no lane follows the one that failed: %+v", inject, lanes)
			}
			t.Logf("%v: %d told unknown, %d lanes", inject, r.told, len(lanes))
		}
		if !seen {
			t.Errorf("%s: nobody was told of a failed sync in %d runs", do, attempts)
		}
	}
}

// The same judge finds the loss where a stamp that was killed is answered for.
func TestFakedAnswersAreFound(t *testing.T) {
	b := newBench(t)
	b.binary.Late = time.Second // what was never stored does not come
	numbers := b.sound(script{}).numbers("pwrite64")
	inject := injection{call: "pwrite64", do: "signal=SIGKILL", when: numbers[len(numbers)/2]}
	for range 3 * attempts {
		r, err := b.run(script{inject: &inject, lie: true})
		switch {
		case err != nil:
			t.Fatal(err)
		case !r.trace.killed:
			inject.when = (inject.when + 1) / 2
		case r.result.Verdict.Lost.Count > 0:
			return
		default: // what was under way stood on the disk by then, and so nothing was lost
			t.Logf("killed at %d, nothing lost", inject.when)
			inject.when++
		}
	}
	t.Errorf("answers were faked in %d runs, and the judge never saw a loss", 3*attempts)
}
