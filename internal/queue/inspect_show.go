package queue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"postroad/internal/message"
	"postroad/internal/wal"
)

// Lane reads one lane through, as Check does. message.ErrNotFound where there is
// none of that id.
func (v *Inspector) Lane(ctx context.Context, id string, want Want) (*LaneDetail, error) {
	if !message.ValidLane(id) {
		return nil, fmt.Errorf("lane %q: not a lane id: %w", id, message.ErrInvalid)
	}
	d, err := v.verifyLane(ctx, id, &want)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, fmt.Errorf("lane %s: %w", id, message.ErrNotFound)
	}
	return d, nil
}

// What became of a message, beside the states of a dead letter.
const (
	FateUnacknowledged = "unacknowledged" // written, and not known to be durable
	FateQueued         = "queued"
	FateHeld           = "held" // in a side lane: the hub refuses its topic for now
	FateForwarded      = "forwarded"
	FateDead           = "dead"
)

// Found is a message as it stands in a lane.
type Found struct {
	message.Stored
	// Kind is that of the lane it stands in.
	Kind string
	// Written is when its group was.
	Written time.Time
	// Fate is what became of it, as far as saved progress says: one of the
	// Fate constants, LetterReleased or LetterDiscarded.
	Fate string
	// Elsewhere is where it was moved to, a side lane or a dead one; zero
	// where it was not.
	Elsewhere message.Place
	// Why is the reason of a dead letter.
	Why string
}

// Message returns the message at a place, first stored there or moved there.
// message.ErrNotFound where the lane does not hold it or no longer does.
func (v *Inspector) Message(ctx context.Context, at message.Place) (Found, error) {
	gone := fmt.Errorf("message %d of lane %s: %w", at.Seq, at.Lane, message.ErrNotFound)
	if !message.ValidLane(at.Lane) {
		return Found{}, fmt.Errorf("lane %q: not a lane id: %w", at.Lane, message.ErrInvalid)
	}
	view, err := v.settledLane(at.Lane)
	if err != nil {
		return Found{}, err
	}
	if view.Lane == "" {
		return Found{}, gone
	}
	f := Found{Kind: view.Kind}
	err = v.scan(ctx, at.Lane, at.Seq, func(g *wal.Group, m message.Stored) error {
		if m.Stands() == at {
			f.Stored, f.Written = m, g.Written
			view.DurableSeq = max(view.DurableSeq, g.Durable)
		}
		return errEnough
	})
	if err != nil {
		return Found{}, err
	}
	if f.Topic == "" {
		return Found{}, gone
	}
	return f, v.fate(ctx, &f, view)
}

// settledLane is a lane's view with its chain's progress; its Lane is empty
// where it is gone.
func (v *Inspector) settledLane(id string) (LaneView, error) {
	view, err := v.laneView(id)
	if err != nil || view.Lane == "" {
		return view, err
	}
	c, err := v.chainView(view.Chain)
	if err != nil {
		return view, err
	}
	view.settle(c)
	return view, nil
}

// fate finds out what became of a message. One that progress counts as settled
// may have been moved to a side lane, or to a dead one.
func (v *Inspector) fate(ctx context.Context, f *Found, in LaneView) error {
	at := f.Stands()
	switch {
	case in.Kind == KindDead:
		files, err := v.laneFiles(at.Lane)
		if err != nil {
			return err
		}
		f.Fate, f.Why = letterFate(stateOf(files.marks, at.Seq)), f.Reason
		return nil
	case in.State != LaneSealed && at.Seq > in.DurableSeq:
		f.Fate = FateUnacknowledged
		return nil
	case at.Seq >= in.SettledBelow && in.Kind == KindSide:
		f.Fate = FateHeld
		return nil
	case at.Seq >= in.SettledBelow:
		f.Fate = FateQueued
		return nil
	}
	f.Fate = FateForwarded
	return v.movedTo(ctx, f, in)
}

func letterFate(state string) string {
	if state == LetterOpen {
		return FateDead
	}
	return state
}

// movedTo looks for a settled message among the dead letters, and in the side
// lanes of its chain.
func (v *Inspector) movedTo(ctx context.Context, f *Found, in LaneView) error {
	ids, _, err := v.laneIDs()
	if err != nil {
		return err
	}
	// The newest first: a letter that was released may have come back as another.
	for _, id := range slices.Backward(ids) {
		info, err := v.readInfo(id)
		if err != nil || info.Kind != kindDead && (info.Kind != kindSide || info.Of != in.Chain || in.Kind == KindSide) {
			continue
		}
		err = v.scan(ctx, id, 1, func(_ *wal.Group, m message.Stored) error {
			if m.Place != f.Place || m.ID != f.ID {
				return nil
			}
			f.Elsewhere, f.Why = m.Stands(), m.Reason
			return nil
		})
		if err != nil {
			return err
		}
		if f.Elsewhere.Lane == id {
			return v.fateThere(f, id)
		}
	}
	return nil
}

// fateThere is the fate of a message that was moved.
func (v *Inspector) fateThere(f *Found, id string) error {
	view, err := v.settledLane(id)
	if err != nil {
		return err
	}
	if view.Kind != KindDead {
		if f.Elsewhere.Seq >= view.SettledBelow {
			f.Fate = FateHeld
		}
		return nil
	}
	files, err := v.laneFiles(id)
	if err != nil {
		return err
	}
	f.Fate = letterFate(stateOf(files.marks, f.Elsewhere.Seq))
	return nil
}
