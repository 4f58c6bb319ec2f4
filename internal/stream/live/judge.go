package live

import (
	"time"

	"postroad/internal/message"
)

// judge decides about the records of one partition, given in order, by the one
// rule of message.Window. It reads a look-back before what it decides about, so
// that it decides as one that had read the log from its beginning.
type judge struct {
	window  *message.Window
	w       int64
	horizon time.Duration
	flaws   *flaws
	// sure is the offset from which on the look-back is whole.
	sure int64
	// cut says that the look-back below sure was cut short by the start of the
	// log; what is gone was produced at or before oldest.
	cut    bool
	oldest time.Time
	begun  bool
}

// ruling is what a judge says of a record.
type ruling struct {
	// live records are shown to whoever follows; they are history, too.
	live bool
	// past records are history only: a replay whose id the window does not hold.
	past bool
	// unsure says that a copy of it may have stood where the log was cut off.
	unsure bool
}

// newJudge returns a judge of the records from begin on, of a log that was seen
// to start at start at the time seen.
func newJudge(w int64, horizon time.Duration, f *flaws, begin, start int64, seen time.Time) *judge {
	j := &judge{w: w, horizon: horizon, flaws: f, window: message.NewWindow(int(w))}
	if f.noWindow {
		j.window = message.NewWindow(0)
	}
	j.begin(begin, start, seen)
	return j
}

// begin notes that what stands below begin is not known; it is called again where
// records were removed before they were read.
func (j *judge) begin(begin, start int64, seen time.Time) {
	j.begun, j.oldest = false, seen
	j.cut = begin <= start && begin > 0
	j.sure = begin + j.w
	if begin == 0 {
		j.sure = 0 // nothing ever stood below
	}
}

// decide rules about the next record. A record that is neither live nor past is a
// duplicate, or a replay of what is there.
func (j *judge) decide(r *Record) ruling {
	if !j.begun {
		j.begun = true
		// Whatever is gone was produced before the first record still held, and
		// before it was seen to be gone. The time of its being accepted would not
		// do: a record that lay in a queue for long may follow a fresh one.
		if r.Timestamp.Before(j.oldest) {
			j.oldest = r.Timestamp
		}
	}
	switch {
	case !r.HasID:
		return ruling{live: !r.Replay, past: r.Replay}
	case r.Replay && j.flaws.replayHolds:
		return ruling{live: !j.window.Seen(r.ID, r.Offset)}
	case r.Replay:
		return ruling{past: !j.window.Holds(r.ID, r.Offset), unsure: j.unsure(r)}
	case j.window.Seen(r.ID, r.Offset):
		return ruling{}
	}
	return ruling{live: true, unsure: j.unsure(r)}
}

// unsure reports whether a copy of r may have stood in what its look-back lacks.
// Two copies of a message are accepted within the horizon, so one that was
// produced more than that before r was accepted is none of r's.
func (j *judge) unsure(r *Record) bool {
	if r.Offset >= j.sure || j.flaws.alwaysSure {
		return false
	}
	return !j.cut || !j.oldest.Add(j.horizon).Before(r.Accepted)
}

// flaws make an engine wrong in one way, so that tests show that they would find
// out. All are false outside of tests.
type flaws struct {
	noWindow       bool // no dedupe
	replayHolds    bool // replays are like other records
	alwaysSure     bool // a look-back cut short counts as whole
	noLookBack     bool // scans and history begin where they show
	noFloor        bool // a position ahead of the node is not kept as a floor
	noEnd          bool // the hub's end is not asked about a position ahead
	noEpoch        bool // epochs are not compared
	noLastOffset   bool // a subject's last offset is not used
	ringHasAll     bool // a ring is taken to reach as far back as wanted
	stopAtScan     bool // what came in while the hub was read is left out
	noCaps         bool // what exceeds a bound is cut off instead of told
	compactedFine  bool // compacted topics are like others
	foreignFine    bool // foreign partitioning is not noticed
	silentGap      bool // a gap in what is read ends nothing
	silentChange   bool // a topic made anew ends nothing
	latestOffset   bool // the last value is the last in the log
	readyAtOnce    bool // ready before the look-back is done
	cutStartIsFine bool // records below the log's start are not missed
}
