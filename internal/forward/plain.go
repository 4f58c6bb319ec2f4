package forward

import (
	"context"
	"errors"
	"fmt"
	"io"

	"postroad/internal/message"
)

// PlainChain is a chain without side lanes and dead letters.
type PlainChain interface {
	ID() string
	Progress() message.Progress
	Next(ctx context.Context, limit int) ([]message.Stored, error)
	Save(ctx context.Context, p message.Progress) error
	Release(ctx context.Context) error
}

// Plain makes a Chain of one that has neither: messages of a held topic wait in
// memory, and one that the hub refuses for good holds its topic.
func Plain(c PlainChain) Chain { return plainChain{c} }

type plainChain struct{ PlainChain }

// Doubtful is the chain's own, where it can tell.
func (c plainChain) Doubtful() bool {
	d, ok := c.PlainChain.(interface{ Doubtful() bool })
	return ok && d.Doubtful()
}

func (plainChain) Held() []string { return nil }

func (plainChain) Divert(context.Context, string, []message.Stored) error {
	return fmt.Errorf("side lanes: %w", errors.ErrUnsupported)
}

func (plainChain) NextHeld(context.Context, string, int) ([]message.Stored, error) {
	return nil, io.EOF
}

func (plainChain) Bury(context.Context, []message.Stored) error {
	return fmt.Errorf("dead letters: %w", errors.ErrUnsupported)
}
