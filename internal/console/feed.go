package console

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Feed is the hub as the console watches it.
type Feed interface {
	// Follow calls fn for each message as it arrives in the hub, until ctx ends
	// or the hub fails. Its first call begins with the messages that arrive
	// from then on, or a little earlier. It is called again, by and by, after
	// an error, and may then repeat what fn has seen: the page shows a record
	// once.
	Follow(ctx context.Context, fn func(Message) error) error
}

// Message is a message in the hub.
type Message struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Time      time.Time `json:"time"`  // when it was accepted, or else when it came to the hub
	Stamp     string    `json:"stamp"` // that accepted it, if the record says so
	Key       *string   `json:"key"`   // nil where it has none
	Value     string    `json:"value"`
	// ValueBase64 says that Value is base64 of bytes that are no text.
	ValueBase64 bool   `json:"base64,omitempty"`
	ID          string `json:"id"` // dedupe id, which the classic call answers as correlationId
}

const (
	// settled is how long Follow must have lasted after a failure before the
	// hub counts as reachable though no message came.
	settled      = 3 * time.Second
	pingInterval = 2 * time.Second
	pingTimeout  = 2 * time.Second
	retryFirst   = 500 * time.Millisecond
	retryMost    = 15 * time.Second
)

// follow keeps Feed running until ctx ends.
func (c *Console) follow(ctx context.Context) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = retryFirst, retryMost
	for {
		err := c.followOnce(ctx, wait)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("the hub's messages ended")
		}
		c.judge(sourceFeed, err)
		t := time.NewTimer(wait.NextBackOff())
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

func (c *Console) followOnce(ctx context.Context, wait *backoff.ExponentialBackOff) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	quiet := time.AfterFunc(settled, func() {
		if ctx.Err() == nil {
			c.judge(sourceFeed, nil)
		}
	})
	defer quiet.Stop()
	first := true
	return c.feed.Follow(ctx, func(m Message) error {
		if first {
			first = false
			quiet.Stop()
			wait.Reset()
			c.judge(sourceFeed, nil)
		}
		c.recent.add(m)
		return nil
	})
}

// keepPinging asks the hub how it is until ctx ends.
func (c *Console) keepPinging(ctx context.Context) {
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, pingTimeout)
		err := c.ping(one)
		cancel()
		if ctx.Err() != nil {
			return
		}
		c.judge(sourcePing, err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// judge takes the word of one source on whether the hub can be reached.
func (c *Console) judge(source int, err error) {
	state, changed := c.recent.judge(source, err)
	switch {
	case !changed:
	case state.State == hubUp:
		c.log.Info("hub is reachable")
	default:
		c.log.Warn("hub is unreachable", "err", err)
	}
}
