package centrifugo

import (
	"context"

	"postroad/internal/stream/live"
)

// noEngine answers nothing.
type noEngine struct{}

func (noEngine) Subscribe(context.Context, live.Request) (*live.Subscription, error) {
	return nil, live.ErrNotReady
}

func (noEngine) History(context.Context, live.HistoryRequest) (*live.History, error) {
	return nil, live.ErrNotReady
}
