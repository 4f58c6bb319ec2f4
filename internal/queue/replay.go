package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postroad/internal/message"
	"postroad/internal/wal"
)

// ReplayFilter chooses what is replayed, of what is kept and was forwarded.
type ReplayFilter struct {
	// Topic and Lane, where set, are those of the message.
	Topic, Lane string
	// Since and Until, where set, bound the time at which it was accepted:
	// from Since, and before Until.
	Since, Until time.Time
}

func (f *ReplayFilter) chooses(m *message.Stored) bool {
	switch {
	case f.Topic != "" && f.Topic != m.Topic, f.Lane != "" && f.Lane != m.Lane && f.Lane != m.Stands().Lane:
		return false
	case !f.Since.IsZero() && m.Time.Before(f.Since), !f.Until.IsZero() && !m.Time.Before(f.Until):
		return false
	}
	return true
}

// Replayed is what a replay did.
type Replayed struct {
	Messages uint64 `json:"messages"`
	Bytes    int64  `json:"bytes"`
	// Waiting were not appended: a copy that an earlier replay made still
	// waits to be forwarded.
	Waiting uint64            `json:"waiting"`
	Topics  map[string]uint64 `json:"topics"`
	// Oldest and Newest are times of acceptance.
	Oldest time.Time `json:"oldest,omitzero"`
	Newest time.Time `json:"newest,omitzero"`
}

// Replay hands what is kept and was forwarded to put, some messages at a time and
// in order within each chain, as messages to be appended to another lane: with
// their identities, marked as a replay, and under the place that names them to
// the hub. With asNew they are new messages instead, each with an id of its own,
// accepted now.
//
// A message that was moved is replayed once, from where it went out: dead letters
// are not, nor what waits in a side lane. One of which an earlier replay's copy
// still waits is passed over, so that a replay that was cut short can be made
// again.
func (v *Inspector) Replay(ctx context.Context, f ReplayFilter, asNew bool, put func([]message.Message) error) (Replayed, error) {
	r := &replay{v: v, filter: f, asNew: asNew, put: put, now: time.Now().UTC().Truncate(time.Microsecond)}
	r.done.Topics = map[string]uint64{}
	if err := r.survey(ctx); err != nil {
		return r.done, fmt.Errorf("look for what was moved: %w", err)
	}
	for i := range r.lanes {
		if r.lanes[i].Kind == KindDead {
			continue
		}
		if err := r.lane(ctx, &r.lanes[i]); err != nil {
			return r.done, fmt.Errorf("replay lane %s: %w", r.lanes[i].Lane, err)
		}
	}
	return r.done, r.flush()
}

type replay struct {
	v      *Inspector
	filter ReplayFilter
	asNew  bool
	put    func([]message.Message) error
	now    time.Time
	lanes  []LaneView // oldest first
	kept   map[string]LaneView
	// elsewhere are the identities of messages that stand in a side or dead
	// lane; stuck those of them that are open dead letters, or not forwarded
	// from the side lane; waiting those of replayed copies that are not
	// forwarded yet.
	elsewhere, stuck, waiting map[message.Place]bool
	// sent are the identities of copies that were taken; a message that was
	// never moved stands in one place only.
	sent map[message.Place]bool
	some []message.Message
	size int
	done Replayed
}

// survey looks for messages that were moved, and for copies of earlier replays
// that still wait.
func (r *replay) survey(ctx context.Context) error {
	l, err := r.v.List(ctx)
	if err != nil {
		return err
	}
	r.lanes, r.kept = l.Lanes, make(map[string]LaneView, len(l.Lanes))
	r.elsewhere, r.stuck = map[message.Place]bool{}, map[message.Place]bool{}
	r.waiting, r.sent = map[message.Place]bool{}, map[message.Place]bool{}
	for _, lane := range l.Lanes {
		r.kept[lane.Lane] = lane
		if err := r.moved(ctx, lane); err != nil {
			return err
		}
	}
	return nil
}

// moved takes note of what stands in a lane and was moved there.
func (r *replay) moved(ctx context.Context, lane LaneView) error {
	if lane.Kind == KindAccepted {
		return r.v.scan(ctx, lane.Lane, lane.SettledBelow, func(_ *wal.Group, m message.Stored) error {
			if m.Replay {
				r.waiting[m.Place] = true
			}
			return nil
		})
	}
	var files laneFiles
	if lane.Kind == KindDead {
		var err error
		if files, err = r.v.laneFiles(lane.Lane); err != nil && !missing(err) {
			return err
		}
	}
	return r.v.scan(ctx, lane.Lane, 1, func(_ *wal.Group, m message.Stored) error {
		r.elsewhere[m.Place] = true
		seq := m.Stands().Seq
		if lane.Kind == KindDead && stateOf(files.marks, seq) == LetterOpen || lane.Kind == KindSide && seq >= lane.SettledBelow {
			r.stuck[m.Place] = true
		}
		return nil
	})
}

// lane takes what of one lane was forwarded.
func (r *replay) lane(ctx context.Context, lane *LaneView) error {
	return r.v.scan(ctx, lane.Lane, 1, func(_ *wal.Group, m message.Stored) error {
		if m.Stands().Seq >= lane.SettledBelow {
			return errEnough
		}
		if !r.filter.chooses(&m) || !r.wanted(&m) {
			return nil
		}
		if r.waiting[m.Place] && !r.asNew {
			r.done.Waiting++
			return nil
		}
		return r.take(m.Message, m.Place)
	})
}

// wanted reports whether the message is replayed from where it stands.
func (r *replay) wanted(m *message.Stored) bool {
	if m.Moved == nil {
		return !r.elsewhere[m.Place]
	}
	if r.sent[m.Place] || r.stuck[m.Place] {
		return false
	}
	// A copy of an earlier replay stands for a message that is gone.
	if original, ok := r.kept[m.Place.Lane]; m.Replay && ok && original.FirstSeq > 0 && m.Seq >= original.FirstSeq {
		return false
	}
	r.sent[m.Place] = true
	return true
}

// How much is appended at once.
const (
	replayMessages = 1000
	replayBytes    = 4 << 20
)

func (r *replay) take(m message.Message, place message.Place) error {
	r.done.Messages++
	r.done.Bytes += int64(m.Size())
	r.done.Topics[m.Topic]++
	if r.done.Oldest.IsZero() || m.Time.Before(r.done.Oldest) {
		r.done.Oldest = m.Time
	}
	if m.Time.After(r.done.Newest) {
		r.done.Newest = m.Time
	}
	if r.asNew {
		m = anew(m, r.now)
	} else {
		m.Moved, m.Replay = &place, true
	}
	r.some = append(r.some, m)
	if r.size += m.Size(); len(r.some) < replayMessages && r.size < replayBytes {
		return nil
	}
	return r.flush()
}

// anew makes a new message of an old one, as a gateway does that is sent it under
// a key of its own making.
func anew(m message.Message, now time.Time) message.Message {
	m.ID = message.DeriveID(m.Principal, m.Topic, message.MintKey(), m.Digest, 0)
	m.Time = now
	m.KeyHash, m.Repeat = message.Hash{}, false
	m.Moved, m.Origin, m.Replay = nil, nil, false
	return m
}

func (r *replay) flush() error {
	if len(r.some) == 0 {
		return nil
	}
	err := r.put(r.some)
	r.some, r.size = nil, 0
	return err
}

// Stamp is the name of the stamp that the directory is of, by its newest lane;
// empty where that is not known.
func (v *Inspector) Stamp() (string, error) {
	ids, _, err := v.laneIDs()
	if err != nil {
		return "", err
	}
	for i := len(ids) - 1; i >= 0; i-- {
		info, err := v.readInfo(ids[i])
		if err == nil && info.Stamp != "" {
			return info.Stamp, nil
		}
		if err != nil && !missing(err) && !errors.Is(err, message.ErrDamaged) {
			return "", err
		}
	}
	return "", nil
}
