package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Announcement is what an origin says about itself in the body of its answer to
// a probe. The zero value says nothing.
type Announcement struct {
	// Weight is how much of its usual share it asks for, in percent, 0 to 100; nil
	// is the whole.
	Weight *int `json:"weight,omitempty"`
	// Drain asks for no further requests: it is about to stop.
	Drain bool `json:"drain,omitempty"`
	// Maintenance asks for none until it says otherwise.
	Maintenance bool `json:"maintenance,omitempty"`
	// Fill is how full its store is, 0 to 1.
	Fill float64 `json:"fill,omitempty"`
	// Throttled: what is behind it makes it wait.
	Throttled bool `json:"throttled,omitempty"`
}

// MaxAnnouncement is how much of a probe's body is looked at, in bytes.
const MaxAnnouncement = 4 << 10

// ErrAnnouncement is in every error of ParseAnnouncement.
var ErrAnnouncement = errors.New("not an announcement")

// ParseAnnouncement reads the body of an answer to a probe: a JSON object, of
// which weight, drain, maintenance, fill and throttled are looked at and anything
// else is passed over. A body that is no JSON object says nothing and is no
// error, for many origins answer "OK". A member with a value that it cannot have
// makes the whole an error and says nothing: half an announcement could take an
// origin out that did not ask for it.
func ParseAnnouncement(body []byte) (Announcement, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '{' {
		return Announcement{}, nil
	}
	if len(body) > MaxAnnouncement {
		return Announcement{}, fmt.Errorf("%w: %d bytes: must be at most %d", ErrAnnouncement, len(body), MaxAnnouncement)
	}
	var a Announcement
	if err := json.Unmarshal(body, &a); err != nil {
		return Announcement{}, fmt.Errorf("%w: %w", ErrAnnouncement, err)
	}
	if a.Weight != nil && (*a.Weight < 0 || *a.Weight > 100) {
		return Announcement{}, fmt.Errorf("%w: weight: %d: must be between 0 and 100", ErrAnnouncement, *a.Weight)
	}
	if a.Fill < 0 || a.Fill > 1 {
		return Announcement{}, fmt.Errorf("%w: fill: %v: must be between 0 and 1", ErrAnnouncement, a.Fill)
	}
	return a, nil
}

// leaves reports whether the origin asks to be left alone.
func (a Announcement) leaves() bool { return a.Drain || a.Maintenance }

// percent is the share that it asks for.
func (a Announcement) percent() int {
	if a.Weight == nil {
		return 100
	}
	return *a.Weight
}
