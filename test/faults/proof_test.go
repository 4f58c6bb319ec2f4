//go:build proof

package faults

import (
	"slices"
	"testing"
)

// Each fault at each number that a thread counts to, and then until every call
// on every kind of file has been hit.
func TestProofFaultsEIO(t *testing.T)     { everyCall(t, "error=EIO") }
func TestProofFaultsENOSPC(t *testing.T)  { everyCall(t, "error=ENOSPC") }
func TestProofFaultsSIGKILL(t *testing.T) { everyCall(t, "signal=SIGKILL") }

// furtherRuns is how often a call on a kind of file is tried for that no run
// has hit yet.
const furtherRuns = 30

func everyCall(t *testing.T, do string) {
	b := newBench(t)
	tally := make(tally)
	for _, kind := range kinds {
		if kind.do != do {
			continue
		}
		for _, name := range kind.calls {
			numbers := b.sound().numbers(name)
			for when := 1; when <= slices.Max(numbers); when++ {
				b.once(tally, injection{name, do, when})
			}
			b.rest(tally, name, do)
		}
	}
	t.Logf("%d runs; %s", b.runs, tally)
}

// rest goes for the kinds of files that have not been hit at a call.
func (b *bench) rest(tally tally, name, do string) {
	for n := 0; ; n++ {
		sound := b.sound()
		i := slices.IndexFunc(sound.calls, func(c *call) bool {
			return c.name == name && c.file != "" && tally[do+" "+c.String()] == 0
		})
		if i < 0 {
			return
		}
		if n == furtherRuns {
			b.t.Errorf("%s has not hit %s in %d further runs", do, sound.calls[i], n)
			return
		}
		b.once(tally, injection{name, do, sound.calls[i].nth})
	}
}
