package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"postroad/internal/message"
)

// Locate tells what became of the message a receipt names, as far as the
// queue's saved progress goes. message.ErrNotFound where the lane does not hold
// it, or no longer does.
func (q *Queue) Locate(ctx context.Context, r message.Receipt) (message.Outcome, error) {
	l, err := q.laneOf(r.Lane)
	if err != nil {
		return message.Outcome{}, err
	}
	m, err := q.read(ctx, l, r.Seq)
	if err != nil {
		return message.Outcome{}, err
	}
	if m.ID != r.ID {
		return message.Outcome{}, fmt.Errorf("message %d of lane %s has another id: %w", r.Seq, r.Lane, message.ErrNotFound)
	}
	return q.became(ctx, l, r.Seq, m.Topic)
}

// became tells what became of a message that is kept.
func (q *Queue) became(ctx context.Context, l *lane, seq uint64, topic string) (message.Outcome, error) {
	q.showProgress(l.chain)
	o := l.outcome(seq)
	if o.State == message.StateQueued {
		return o, nil
	}
	aside, ok, err := q.asideOutcome(ctx, l, message.Place{Lane: l.id, Seq: seq}, topic)
	if err != nil || ok {
		return aside, err
	}
	return o, nil
}

// laneOf returns a lane of accepted messages by its id. One that this process has
// not met yet is looked for on disk.
func (q *Queue) laneOf(id string) (*lane, error) {
	l := q.known.lane(id)
	if l == nil && message.ValidLane(id) {
		found, err := q.loadLane(id)
		if err != nil {
			return nil, err
		}
		if !found.nameless {
			l = found
			l.chain = newChain(q, l.info.Owner.Process)
			l.chain.lanes = []*lane{l}
			l.watched, l.sealed = true, true // for looking: nothing is concluded, or set aside
			if b, err := readHeartbeat(q.deps.FS, q.at.laneFile(id, heartbeatFileName)); err == nil {
				l.learnHeartbeat(b)
			}
		}
	}
	if l == nil || l.info.Kind != "" {
		return nil, fmt.Errorf("lane %s: %w", id, message.ErrNotFound)
	}
	return l, nil
}

func (l *lane) outcome(seq uint64) message.Outcome {
	if seq < max(l.settled.Load(), l.shown.Load()) {
		return message.Outcome{State: message.StateForwarded}
	}
	return message.Outcome{State: message.StateQueued}
}

// read returns one message of a lane. It reads from the nearest index entry.
func (q *Queue) read(ctx context.Context, l *lane, seq uint64) (message.Message, error) {
	gone := fmt.Errorf("message %d of lane %s: %w", seq, l.id, message.ErrNotFound)
	if l.own && seq > l.durable.Load() {
		return message.Message{}, gone
	}
	r := newLookup(l, seq)
	defer r.close()
	for ctx.Err() == nil {
		msgs, err := r.messages()
		if errors.Is(err, errNothingYet) || errors.Is(err, io.EOF) || missing(err) { // removed by another process
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
	entries, err := q.deps.FS.ReadDir(q.at.lanes())
	if err != nil {
		return message.Receipt{}, message.Outcome{}, fmt.Errorf("list lanes: %w", err)
	}
	for _, e := range slices.Backward(entries) {
		l, err := q.laneOf(e.Name())
		if errors.Is(err, message.ErrNotFound) {
			continue
		}
		if err != nil {
			return message.Receipt{}, message.Outcome{}, err
		}
		r := newLookup(l, 1)
		found, err := r.find(ctx, id)
		r.close()
		if err != nil {
			return message.Receipt{}, message.Outcome{}, err
		}
		if at := found.Stands(); at.Seq != 0 {
			o, err := q.became(ctx, l, at.Seq, found.Topic)
			return message.Receipt{ID: id, Place: at}, o, err
		}
	}
	return message.Receipt{}, message.Outcome{}, fmt.Errorf("id %s: %w", id, message.ErrNotFound)
}

func (r *laneReader) find(ctx context.Context, id message.ID) (message.Stored, error) {
	for ctx.Err() == nil {
		msgs, err := r.messages()
		if errors.Is(err, errNothingYet) || errors.Is(err, io.EOF) {
			return message.Stored{}, nil
		}
		if err != nil {
			return message.Stored{}, err
		}
		for _, m := range msgs {
			if m.ID == id {
				return m, nil
			}
		}
	}
	return message.Stored{}, ctx.Err()
}
