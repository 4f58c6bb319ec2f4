package live

import "fmt"

// NewFlawed makes an engine that is wrong in one way, named as the field of flaws
// is; "" is none.
func NewFlawed(opts Options, deps Deps, flaw string) (*Engine, error) {
	var f flaws
	fields := map[string]*bool{
		"": new(bool), "noWindow": &f.noWindow, "replayHolds": &f.replayHolds, "alwaysSure": &f.alwaysSure,
		"noLookBack": &f.noLookBack, "noFloor": &f.noFloor, "noEnd": &f.noEnd, "noEpoch": &f.noEpoch,
		"noLastOffset": &f.noLastOffset, "ringHasAll": &f.ringHasAll, "stopAtScan": &f.stopAtScan, "noCaps": &f.noCaps,
		"compactedFine": &f.compactedFine, "foreignFine": &f.foreignFine, "silentGap": &f.silentGap,
		"silentChange": &f.silentChange, "latestOffset": &f.latestOffset, "readyAtOnce": &f.readyAtOnce,
		"cutStartIsFine": &f.cutStartIsFine,
	}
	if fields[flaw] == nil {
		return nil, fmt.Errorf("no flaw %q", flaw)
	}
	*fields[flaw] = true
	return newEngine(opts, deps, f)
}

// FirstSpan is how many offsets history in reverse reads first.
const FirstSpan = firstSpan
