package queue

import (
	"math/rand/v2"
	"time"
)

// touchAfter is longer than the step of any server's clock.
const touchAfter = 1500 * time.Millisecond

// touchLater has a directory, in which this process has made a name that others
// look for, changed once more.
//
// A share's server may tell changes of a directory apart only by its clock's step,
// some milliseconds, or a second. A host that lists a directory between two changes
// within one step keeps a list without the second for as long as nothing else
// changes there: it would never see a lane that holds messages, or that a chain was
// claimed by a process that has died since. A host may go on believing its list over
// a change of its own, and take another's within the same step for that one; so this
// is done at random times, and three times. A process that dies before it does leaves
// it to the next that makes a name there.
func (q *Queue) touchLater(dir string) {
	q.mu.Lock()
	ctx := q.running.Load()
	if ctx == nil { // Open made it, or somebody who claims before Run
		q.untouched = append(q.untouched, dir)
	}
	q.mu.Unlock()
	if ctx == nil {
		return
	}
	q.tending.Go(func() {
		for after := touchAfter; after <= 16*touchAfter && pause(*ctx, after+rand.N(after)); after *= 4 {
			if err := q.deps.FS.Touch(dir); err != nil {
				q.deps.Log.Debug("directory not touched", "dir", dir, "err", err)
			}
		}
	})
}
