package kafka

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Answers tell how the hub has been answering of late.
type Answers struct {
	// Last is when it answered anything; zero where it never did.
	Last time.Time
	// Throttled is how long it made this client wait, in all, for answers that
	// came within the last minute; and ThrottledAt when it last did so. A client
	// over its quota is slowed down by such waits and loses nothing.
	Throttled   time.Duration
	ThrottledAt time.Time
	// Trouble is what is wrong with the files that the settings name; empty where
	// they can be used.
	Trouble string
}

// Brokers are the addresses by which the hub is found, as the settings and their
// files say now.
func (s *Sink) Brokers() []string { return s.link.brokers(s.link.current()) }

// Answers tells how the hub has been answering this Sink.
func (s *Sink) Answers() Answers {
	a := s.answers.state(time.Now())
	if last := s.answers.last.Load(); last > 0 {
		a.Last = time.Unix(0, last)
	}
	s.link.mu.Lock()
	a.Trouble = s.link.trouble
	s.link.mu.Unlock()
	return a
}

// throttleWindow is how far back throttling counts as of late; it is kept by
// the second.
const throttleWindow = 60

// answers is what a Sink's clients have been told, over resets.
type answers struct {
	last  atomic.Int64 // in Unix nanoseconds; 0 for never
	total atomic.Int64 // of throttling, in nanoseconds

	mu      sync.Mutex
	at      time.Time                     // guarded by mu: of the last throttling
	seconds [throttleWindow]time.Duration // guarded by mu: by the second modulo the window
	filled  int64                         // guarded by mu: the Unix second up to which they are current
}

// OnBrokerThrottle implements kgo.HookBrokerThrottle. The client itself obeys.
func (a *answers) OnBrokerThrottle(_ kgo.BrokerMetadata, wait time.Duration, _ bool) {
	if wait > 0 {
		a.total.Add(int64(wait))
		a.throttled(time.Now(), wait)
	}
}

// register makes the metric; nil drops it.
func (a *answers) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	err := reg.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "postroad_kafka_sink_throttled_seconds_total", Help: "Time that the hub made this process wait, because of a quota.",
	}, func() float64 { return time.Duration(a.total.Load()).Seconds() }))
	if err != nil {
		return fmt.Errorf("kafka metrics: %w", err)
	}
	return nil
}

func (a *answers) throttled(now time.Time, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.roll(now)
	a.at = now
	a.seconds[now.Unix()%throttleWindow] += wait
}

func (a *answers) state(now time.Time) Answers {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.roll(now)
	out := Answers{ThrottledAt: a.at}
	for _, d := range a.seconds {
		out.Throttled += d
	}
	return out
}

// roll empties the seconds that have fallen out of the window. The caller holds
// mu.
func (a *answers) roll(now time.Time) {
	sec := now.Unix()
	for ; a.filled < sec; a.filled++ {
		if sec-a.filled > throttleWindow {
			a.filled = sec - throttleWindow
		}
		a.seconds[(a.filled+1)%throttleWindow] = 0
	}
}
