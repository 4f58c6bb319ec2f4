package app

import (
	"context"
	"slices"

	"postroad/internal/forward"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// tracker answers the gateway's questions about stored messages: the queue
// knows what is kept and how far its saved progress goes, the forwarder's board
// knows what happened since, and where in the hub.
type tracker struct {
	queue *queue.Queue
	// board is nil in a gateway alone, which learns of forwarding only from
	// saved progress.
	board *forward.Board
}

// Await without a board answers at once that nothing is known: progress is saved
// every few seconds, so waiting would mostly be for nothing.
func (t tracker) Await(ctx context.Context, first message.Place, n int) []message.Outcome {
	if t.board == nil {
		return slices.Repeat([]message.Outcome{{State: message.StateQueued}}, n)
	}
	return t.board.Await(ctx, first, n)
}

func (t tracker) Locate(ctx context.Context, r message.Receipt) (message.Outcome, error) {
	o, err := t.queue.Locate(ctx, r) // also checks that the id is this message's
	if err != nil {
		return message.Outcome{}, err
	}
	return t.latest(r.Place, o), nil
}

func (t tracker) Scan(ctx context.Context, id message.ID) (message.Receipt, message.Outcome, error) {
	r, o, err := t.queue.Scan(ctx, id)
	if err != nil {
		return message.Receipt{}, message.Outcome{}, err
	}
	return r, t.latest(r.Place, o), nil
}

func (t tracker) latest(p message.Place, saved message.Outcome) message.Outcome {
	if t.board == nil {
		return saved
	}
	if o, ok := t.board.Outcome(p); ok {
		return o
	}
	return saved
}

// source lets the forwarder claim the queue's chains.
type source struct{ queue *queue.Queue }

func (s source) Claim(ctx context.Context) (forward.Chain, error) {
	c, err := s.queue.Claim(ctx)
	if err != nil {
		return nil, err // not c: a nil *queue.Claim is not a nil Chain
	}
	return c, nil
}

// Waiting implements forward's wish to know whether a chain waits for a place.
func (s source) Waiting() bool { return s.queue.Waiting() }
