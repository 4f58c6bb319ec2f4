package queue

import (
	"context"
	"errors"
	"fmt"
	"io"

	"postroad/internal/message"
)

// Locate tells what became of the message a receipt names, as far as the
// queue's saved progress goes. message.ErrNotFound where the lane does not hold
// it, or no longer does.
func (q *Queue) Locate(ctx context.Context, r message.Receipt) (message.Outcome, error) {
	for _, l := range q.lanes() {
		if l.id != r.Lane {
			continue
		}
		m, err := q.read(ctx, l, r.Seq)
		if err != nil {
			return message.Outcome{}, err
		}
		if m.ID != r.ID {
			return message.Outcome{}, fmt.Errorf("message %d of lane %s has another id: %w", r.Seq, r.Lane, message.ErrNotFound)
		}
		return l.outcome(r.Seq), nil
	}
	return message.Outcome{}, fmt.Errorf("lane %s: %w", r.Lane, message.ErrNotFound)
}

func (l *lane) outcome(seq uint64) message.Outcome {
	if seq < l.settled.Load() {
		return message.Outcome{State: message.StateForwarded}
	}
	return message.Outcome{State: message.StateQueued}
}

// read returns one message of a lane. It reads from the nearest index entry.
func (q *Queue) read(ctx context.Context, l *lane, seq uint64) (message.Message, error) {
	gone := fmt.Errorf("message %d of lane %s: %w", seq, l.id, message.ErrNotFound)
	if seq > l.durable.Load() {
		return message.Message{}, gone
	}
	r := newLookup(l, seq)
	defer r.close()
	for ctx.Err() == nil {
		msgs, err := r.messages()
		if errors.Is(err, errNothingYet) || errors.Is(err, io.EOF) {
			return message.Message{}, gone
		}
		if err != nil {
			return message.Message{}, err
		}
		if at := msgs[0].Stands().Seq; at == seq {
			return msgs[0].Message, nil
		} else if at > seq {
			return message.Message{}, gone
		}
	}
	return message.Message{}, ctx.Err()
}

// Scan looks for a dedupe id in all kept lanes, newest first. It reads them
// whole: seconds for each gigabyte.
func (q *Queue) Scan(ctx context.Context, id message.ID) (message.Receipt, message.Outcome, error) {
	lanes := q.lanes()
	for i := range lanes {
		l := lanes[len(lanes)-1-i]
		r := newLookup(l, 1)
		found, err := r.find(ctx, id)
		r.close()
		if err != nil || found.Seq != 0 {
			return message.Receipt{ID: id, Place: found}, l.outcome(found.Seq), err
		}
	}
	return message.Receipt{}, message.Outcome{}, fmt.Errorf("id %s: %w", id, message.ErrNotFound)
}

func (r *laneReader) find(ctx context.Context, id message.ID) (message.Place, error) {
	for ctx.Err() == nil {
		msgs, err := r.messages()
		if errors.Is(err, errNothingYet) || errors.Is(err, io.EOF) {
			return message.Place{}, nil
		}
		if err != nil {
			return message.Place{}, err
		}
		for _, m := range msgs {
			if m.ID == id {
				return m.Stands(), nil
			}
		}
	}
	return message.Place{}, ctx.Err()
}
