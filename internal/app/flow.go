package app

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/message"
	"postroad/internal/queue"
)

// flowEvery is how often a stamp's flow is looked at, flowLooks of how many looks
// the rates are: those of the last half minute.
const (
	flowEvery = 5 * time.Second
	flowLooks = 7
)

// laggingAfter is the age of the oldest message from which on a backlog is worth
// a forecast: below it messages are only on their way.
const laggingAfter = 5 * time.Second

// flow measures what goes through a stamp of late. Its methods are safe for
// concurrent use.
type flow struct {
	accepted, acceptedBytes atomic.Int64 // by this process

	mu    sync.Mutex
	looks []look // guarded by mu; oldest first
}

// look is what was counted at one time.
type look struct {
	at                    time.Time
	in, inBytes           int64
	out, outBytes         int64
	waiting, waitingBytes int64
}

// flowStatus is the flow of the last half minute.
type flowStatus struct {
	// In is what was accepted, in messages and bytes a second. A forwarder alone
	// knows it from what it sent and how the backlog changed.
	InPerSecond      float64 `json:"in_per_second"`
	InBytesPerSecond float64 `json:"in_bytes_per_second"`
	// Out is what the hub took of this process.
	OutPerSecond      float64 `json:"out_per_second"`
	OutBytesPerSecond float64 `json:"out_bytes_per_second"`
	// GrowthPerSecond is how the backlog changed; negative where it shrinks.
	GrowthPerSecond float64 `json:"growth_per_second"`
	// DrainSeconds is how long the backlog lasts at this rate, where there is one
	// whose oldest message has waited for more than five seconds. It is absent,
	// and NeverDrains is true, where the backlog does not shrink.
	DrainSeconds float64 `json:"drain_seconds,omitempty"`
	NeverDrains  bool    `json:"never_drains,omitempty"`
}

// appender is the queue as a gateway uses it.
type appender interface {
	Append(ctx context.Context, msgs []message.Message) (message.Place, error)
}

// counted counts what is stored.
type counted struct {
	appender
	flow *flow
}

// Append counts a group once it is durable.
func (c counted) Append(ctx context.Context, msgs []message.Message) (message.Place, error) {
	at, err := c.appender.Append(ctx, msgs)
	if err == nil {
		size := 0
		for i := range msgs {
			size += msgs[i].Size()
		}
		c.flow.accepted.Add(int64(len(msgs)))
		c.flow.acceptedBytes.Add(int64(size))
	}
	return at, err
}

// take adds a look. One at a backlog that is still being found says nothing of
// how it changes.
func (f *flow) take(l look, q queue.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.Listing || q.UnreadLanes > 0 {
		f.looks = nil
		return
	}
	f.looks = append(f.looks, l)
	if extra := len(f.looks) - flowLooks; extra > 0 {
		f.looks = append(f.looks[:0], f.looks[extra:]...)
	}
}

// status returns the flow; nil before it is known. writes says that this process
// knows what is accepted.
func (f *flow) status(q queue.Status, writes bool) *flowStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.looks) < 2 {
		return nil
	}
	a, b := f.looks[0], f.looks[len(f.looks)-1]
	span := b.at.Sub(a.at).Seconds()
	if span <= 0 {
		return nil
	}
	per := func(from, to int64) float64 { return float64(to-from) / span }
	s := &flowStatus{
		InPerSecond: per(a.in, b.in), InBytesPerSecond: per(a.inBytes, b.inBytes),
		OutPerSecond: per(a.out, b.out), OutBytesPerSecond: per(a.outBytes, b.outBytes),
		GrowthPerSecond: per(a.waiting, b.waiting),
	}
	if !writes {
		s.InPerSecond = max(0, s.OutPerSecond+s.GrowthPerSecond)
		s.InBytesPerSecond = max(0, s.OutBytesPerSecond+per(a.waitingBytes, b.waitingBytes))
	}
	lagging := q.UnforwardedMessages > 0 && q.OldestAgeSeconds > laggingAfter.Seconds()
	switch {
	case lagging && s.GrowthPerSecond < 0:
		s.DrainSeconds = float64(q.UnforwardedMessages) / -s.GrowthPerSecond
	case lagging:
		s.NeverDrains = true
	}
	return s
}

// measure looks at the flow until ctx ends.
func (s *stamp) measure(ctx context.Context) error {
	tick := time.NewTicker(flowEvery)
	defer tick.Stop()
	for {
		q := s.queue.Status()
		s.flow.take(s.lookAt(q), q)
		s.lookAround(q.Fill)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *stamp) lookAt(q queue.Status) look {
	l := look{
		at: time.Now(), in: s.flow.accepted.Load(), inBytes: s.flow.acceptedBytes.Load(),
		waiting: int64(q.UnforwardedMessages), waitingBytes: q.UnforwardedBytes,
	}
	if s.drains() {
		l.out, l.outBytes = s.forward.Forwarded()
	}
	return l
}
