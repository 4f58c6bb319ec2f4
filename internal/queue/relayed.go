package queue

import (
	"context"
	"errors"
	"fmt"
	"io"

	"postroad/internal/message"
)

// Group returns the messages of a group from a place on, of any process's lane.
// message.ErrNotFound where nothing is at that place, or it was removed.
func (q *Queue) Group(ctx context.Context, first message.Place) ([]message.Stored, error) {
	gone := fmt.Errorf("group at %d of lane %s: %w", first.Seq, first.Lane, message.ErrNotFound)
	if first.Seq == 0 {
		return nil, gone
	}
	l, err := q.laneOf(first.Lane)
	if err != nil {
		return nil, err
	}
	r := newLookup(l, first.Seq)
	defer r.close()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	msgs, err := r.messages()
	switch {
	case errors.Is(err, errNothingYet) || errors.Is(err, io.EOF) || missing(err):
		return nil, gone
	case err != nil:
		return nil, err
	case msgs[0].Stands() != first:
		return nil, gone
	}
	return msgs, nil
}

// OtherWriters reports whether there are lanes of accepted messages that other
// processes have begun and nobody has ended: something may still be acknowledged
// in them. ended remembers, between calls, those of which that is over for good.
func (q *Queue) OtherWriters(ctx context.Context, ended map[string]bool) (bool, error) {
	names, err := q.laneNames()
	if err != nil {
		return false, err
	}
	for name := range names {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if !message.ValidLane(name) || ended[name] || q.keys.isOwn(name) {
			continue
		}
		over, err := q.cannotAcknowledge(name)
		if err != nil || !over {
			return true, err
		}
		ended[name] = true
	}
	return false, nil
}

// cannotAcknowledge reports whether nothing will be acknowledged in a lane by
// another process any more.
func (q *Queue) cannotAcknowledge(name string) (bool, error) {
	l, err := q.loadLane(name)
	if err != nil {
		return false, err
	}
	if !l.nameless && (l.info.Kind != "" || l.info.Owner.Process == q.self.Process) {
		return true, nil // a forwarder's; or our own, still empty
	}
	fenced, gone, err := q.isFenced(name)
	if gone { // begun half, or removed half
		return !l.nameless, nil
	}
	return fenced, err
}

// Tails hands out the groups at the ends of other processes' lanes that are valid
// and not known to be acknowledged: behind the durable seq that a lane's heartbeat
// tells. They will be drained, and their callers may have heard of it: a process
// that dies takes its last heartbeat's time of acknowledgements with it.
func (q *Queue) Tails(ctx context.Context, yield func([]message.Stored)) error {
	names, err := q.laneNames()
	if err != nil {
		return err
	}
	for name := range names {
		if !message.ValidLane(name) || q.keys.isOwn(name) {
			continue
		}
		if err := q.tail(ctx, name, yield); err != nil {
			return fmt.Errorf("end of lane %s: %w", name, err)
		}
	}
	return nil
}

func (q *Queue) tail(ctx context.Context, name string, yield func([]message.Stored)) error {
	l, err := q.laneOf(name)
	if errors.Is(err, message.ErrNotFound) { // a forwarder's, or being made
		return nil
	}
	if err != nil || l.own {
		return err
	}
	b, err := readHeartbeat(q.deps.FS, q.at.laneFile(name, heartbeatFileName))
	if err != nil {
		return err
	}
	known, _ := decodeHeartbeat(b)
	r := newLookup(l, known.durable+1)
	defer r.close()
	for ctx.Err() == nil {
		msgs, err := r.messages()
		if errors.Is(err, errNothingYet) || errors.Is(err, io.EOF) || missing(err) {
			return nil
		}
		if err != nil {
			return err
		}
		yield(msgs)
	}
	return ctx.Err()
}
