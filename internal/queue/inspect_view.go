package queue

import (
	"maps"
	"slices"
	"time"
)

// Listing is what a queue directory holds, at one time.
type Listing struct {
	Dir  string    `json:"dir"`
	Time time.Time `json:"time"`
	// Lanes are in order of their ids, which is that of their creation.
	Lanes []LaneView `json:"lanes"`
	// Claims are one for each chain that was ever claimed and is kept.
	Claims []ClaimView `json:"claims"`
	// Quarantine is what could not be read and was set aside.
	Quarantine []SetAside `json:"quarantine"`
	// Others are names among the lanes that are none and are left alone.
	Others []string `json:"others,omitempty"`
	// Unforwarded is how many messages are durable and not settled, as far as
	// heartbeats and saved progress say.
	Unforwarded uint64 `json:"unforwarded_messages"`
	// OpenLetters is how many dead letters are neither released nor discarded.
	OpenLetters uint64 `json:"open_dead_letters"`
	// Bytes is what all segments take.
	Bytes int64 `json:"bytes"`
}

// The states of a lane.
const (
	// LaneLive: its fence is empty, so that its writer may go on.
	LaneLive = "live"
	// LaneSealed: its fence is filled; nothing is acknowledged there any more.
	LaneSealed = "sealed"
	// LaneUnfinished: it was cut short while it was made or removed: the fence
	// is missing or too short, or the lane's file is.
	LaneUnfinished = "unfinished"
)

// The kinds of lanes as they are shown.
const (
	KindAccepted = "accepted"
	KindSide     = kindSide
	KindDead     = kindDead
)

// LaneView is what is known of a lane without reading its messages.
type LaneView struct {
	Lane string `json:"lane"`
	// Kind is KindAccepted, KindSide or KindDead.
	Kind  string `json:"kind"`
	Topic string `json:"topic,omitempty"` // of a side lane
	// Chain is the chain whose claim covers the lane; of a dead lane the
	// process that wrote it.
	Chain       string    `json:"chain"`
	Predecessor string    `json:"predecessor,omitempty"`
	Stamp       string    `json:"stamp,omitempty"`
	Owner       OwnerView `json:"owner"`
	State       string    `json:"state"`
	// Ended is what the fence says.
	Ended    string    `json:"ended,omitempty"`
	Created  time.Time `json:"created,omitzero"`
	Segments int       `json:"segments"`
	Bytes    int64     `json:"bytes"`
	// FirstSeq is that of the oldest message that is kept; 0 where its
	// segment's header cannot be read or there is none.
	FirstSeq uint64 `json:"first_seq"`
	// DurableSeq is as the heartbeat says, which may be a few seconds old.
	DurableSeq uint64 `json:"durable_seq"`
	// SettledBelow is the seq below which all is settled, by the chain's newest
	// sound progress; 0 for dead lanes.
	SettledBelow uint64 `json:"settled_below,omitempty"`
	Unforwarded  uint64 `json:"unforwarded_messages"`
	// OpenLetters is, of a dead lane, how many are not marked.
	OpenLetters uint64 `json:"open_dead_letters,omitempty"`
	// Trouble says what of the lane's small files could not be read.
	Trouble []string `json:"trouble,omitempty"`
}

// settle takes the chain's progress into account; nil where it has no claim.
func (l *LaneView) settle(c *chainView) {
	if l.Kind == KindDead {
		return
	}
	l.SettledBelow = 1
	if c != nil {
		l.SettledBelow = max(1, c.settled[l.Lane])
	}
	l.Unforwarded = max(l.DurableSeq+1, l.SettledBelow) - l.SettledBelow
}

// The states of an owner.
const (
	OwnerRunning = "running" // a process of this machine
	OwnerGone    = "gone"    // was one of this machine
	OwnerUnknown = "unknown" // of another machine, boot or container
)

// OwnerView is a process that wrote something.
type OwnerView struct {
	Process string `json:"process"`
	Host    string `json:"host,omitempty"`
	PID     int    `json:"pid,omitempty"`
	// State is OwnerRunning, OwnerGone or OwnerUnknown.
	State string `json:"state"`
}

// The states of a claim.
const (
	ClaimHeld       = "held"
	ClaimUnfinished = "unfinished" // cut short while it was made
	// Any other is the first word of what its revocation says: "released",
	// "drained", "revoked", ….
)

// ClaimView is the newest claim of a chain.
type ClaimView struct {
	Chain   string    `json:"chain"`
	Epoch   uint64    `json:"epoch"`
	State   string    `json:"state"`
	Note    string    `json:"note,omitempty"` // what its revocation says
	Claimed time.Time `json:"claimed,omitzero"`
	Owner   OwnerView `json:"owner"`
	// ProgressEpoch is the epoch whose progress counts; 0 where none is sound.
	ProgressEpoch uint64 `json:"progress_epoch"`
}

// chainView is a claim with the progress that counts.
type chainView struct {
	ClaimView
	settled map[string]uint64 // by lane: the seq below which all is settled
}

// SetAside is a report in quarantine/.
type SetAside struct {
	Lane     string    `json:"lane"`
	Segment  uint64    `json:"segment"`
	Offset   int64     `json:"offset"`
	Bytes    int       `json:"bytes"`
	FirstSeq uint64    `json:"first_seq"`
	LastSeq  uint64    `json:"last_seq"`
	Kind     string    `json:"kind"` // "damage" or "undecidable tail"
	Reason   string    `json:"reason"`
	Found    time.Time `json:"found"`
}

func sortedIDs[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
