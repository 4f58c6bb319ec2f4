package app

import (
	"context"
	"time"

	"postroad/internal/gateway"
	"postroad/internal/queue"
)

// keys lets the gateway read the idempotency keys of earlier processes.
type keys struct{ queue *queue.Queue }

func (k keys) Keys(ctx context.Context, since time.Time, yield func(gateway.StoredKey) error) error {
	return k.queue.Keys(ctx, since, func(key queue.Key) error { return yield(gateway.StoredKey(key)) })
}
