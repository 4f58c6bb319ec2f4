//go:build proof

package faults

import (
	"slices"
	"testing"
)

// TestProofFaultsTakeover tries every fault at the first call of each kind on
// each file that a killed process has left.
func TestProofFaultsTakeover(t *testing.T) {
	b := newBench(t)
	tally := make(tally)
	for _, s := range b.takeoverFaults() {
		if !b.play(tally, s) {
			t.Errorf("%v has not hit %s", s.inject, s.inject.path)
		}
	}
	t.Logf("%d runs; %s", b.runs, tally)
}

// Each fault at each number that a thread counts to, and then some more at the
// calls on kinds of files that have not been hit.
func TestProofFaultsEIO(t *testing.T)     { everyCall(t, "error=EIO") }
func TestProofFaultsENOSPC(t *testing.T)  { everyCall(t, "error=ENOSPC") }
func TestProofFaultsSIGKILL(t *testing.T) { everyCall(t, "signal=SIGKILL") }

// furtherRuns is how many runs go for the kinds of files that have not been hit.
const furtherRuns = 60

func everyCall(t *testing.T, do string) {
	b := newBench(t)
	tally := make(tally)
	for _, kind := range kinds {
		if kind.do != do {
			continue
		}
		for _, name := range kind.calls {
			most := b.sound(script{takeover: reads(name)}).most(name)
			for when := 1; when <= most; when++ {
				b.once(tally, injection{call: name, do: do, when: when})
			}
			b.rest(tally, name, do)
		}
	}
	t.Logf("%d runs; %s", b.runs, tally)
}

// rest goes for the kinds of files that have not been hit at a call. A kill
// comes to rare ones only by chance, since some thread counts to any number on
// the frequent ones before; TestProofFaultsTakeover hits them for certain.
func (b *bench) rest(tally tally, name, do string) {
	left := func(c *call) bool { return c.name == name && c.file != "" && tally[do+" "+c.String()] == 0 }
	for n := 0; ; n++ {
		sound := b.sound(script{takeover: reads(name)})
		i := slices.IndexFunc(sound.calls, left)
		if i < 0 {
			return
		}
		if n == furtherRuns/len(kinds) {
			b.t.Logf("%s has not hit %s in %d further runs", do, sound.calls[i], n)
			return
		}
		b.once(tally, injection{call: name, do: do, when: sound.calls[i].nth})
	}
}
