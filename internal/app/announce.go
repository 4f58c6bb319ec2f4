package app

import (
	"errors"
	"math"
	"sync/atomic"
	"time"

	"postroad/internal/gateway"
	"postroad/internal/kafka"
	"postroad/internal/message"
)

// said is what a stamp was like when its flow was last looked at, for those who ask
// every second and are to be answered at once. Safe for concurrent use.
type said struct {
	fill      atomic.Uint64 // bits of a float64
	throttled atomic.Bool
}

// throttledShare is how much of the last minute the hub must have made a stamp wait
// for it to count as throttled, and throttledFor how long ago at the most.
const (
	throttledShare = 0.02
	throttledFor   = 15 * time.Second
)

// announce says how the stamp is, to front doors.
func (s *stamp) announce() gateway.Announcement {
	a := gateway.Announcement{
		Drain: s.draining.Load(), Fill: math.Float64frombits(s.said.fill.Load()), Throttled: s.said.throttled.Load(),
	}
	if errors.Is(s.queue.Ready(), message.ErrFull) {
		a.Fill = 1
	}
	return a
}

// lookAround takes note of what the stamp announces; fill is that of its queue.
func (s *stamp) lookAround(fill float64) {
	s.said.fill.Store(math.Float64bits(math.Round(fill*1000) / 1000))
	s.said.throttled.Store(s.isThrottled(time.Now()))
}

// isThrottled reports whether the hub makes the stamp wait because of a quota, or is
// not sent to because it does not answer. A gateway alone does not know.
func (s *stamp) isThrottled(now time.Time) bool {
	if !s.drains() {
		return false
	}
	if s.forward.Status().Breaker.State != "closed" {
		return true
	}
	sink, ok := s.sink.(*kafka.Sink)
	if !ok {
		return false
	}
	a := sink.Answers()
	return now.Sub(a.ThrottledAt) < throttledFor && a.Throttled.Seconds() > throttledShare*time.Minute.Seconds()
}
