package app

import (
	"context"

	"postroad/internal/forward"
	"postroad/internal/kafka"
)

// transactor lets the forwarder deliver exactly once, by the sink's transactions.
type transactor struct{ sink *kafka.Sink }

func (t transactor) Transact(ctx context.Context, o forward.Transacting) (forward.Session, error) {
	s, err := t.sink.Transact(ctx, kafka.TransactOptions{
		Chain: o.Chain, Hub: o.Hub, Topic: o.Topic, Interval: o.Interval, Messages: o.Messages,
		Lanes: o.Lanes, From: o.Record, Confirm: o.Confirm, Ended: o.Ended, Stale: o.Stale,
	})
	if err != nil {
		return nil, err // not s: a nil *kafka.Session is not a nil Session
	}
	return s, nil
}
