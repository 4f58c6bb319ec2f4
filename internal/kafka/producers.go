package kafka

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"
)

// producer is one of the Sink's clients. A client asks for a topic's limit once,
// when it first hears of the topic, and keeps it. Where another limit is wanted
// than a client was told, another client sends: partition by partition, each when
// all that was sent to it before has been answered, so that nothing of it is under
// way under two producer ids.
type producer struct {
	client *kgo.Client
	sent   *underway
	told   map[string]int32 // guarded by limits.mu: what it was told, or will be
	apart  bool             // of partitions of which something was taken back, see Withdraw
}

// maxProducers bounds the clients of a Sink. Beyond the first there is one for each
// time that the limit of any one topic has changed, and at most eighteen for
// records above their topics' limits.
const maxProducers = 32

var errLimits = errors.New("the limits of topics have changed too often for this client")

// newProducer makes a client that knows no topic yet.
func (s *Sink) newProducer(first bool) (*producer, error) {
	p := &producer{told: map[string]int32{}, sent: &underway{}}
	var err error
	p.client, err = s.newClient(first, p.limit(s.limits), kgo.Dialer(p.sent.watch(s.link.dial(s.deps.MayWrite))))
	return p, err
}

// limit answers the client's question.
func (p *producer) limit(l *limits) func(string) int32 {
	return func(topic string) int32 {
		if topic == "" { // of the settings as a whole
			return l.most
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		n, met := p.told[topic]
		if !met {
			n = l.lockedOf(topic)
			p.told[topic] = n
		}
		return n
	}
}

// pick returns a producer that makes batches of a topic up to the limit, among those
// that are apart or the others, or nil. The caller holds mu for reading.
func (s *Sink) pick(topic string, limit int32, apart bool) *producer {
	s.limits.mu.Lock()
	defer s.limits.mu.Unlock()
	for _, p := range s.producers {
		if p.apart != apart {
			continue
		}
		told, met := p.told[topic]
		if !met {
			p.told[topic] = limit
			return p
		}
		if told == limit {
			return p
		}
	}
	return nil
}

// toldTo returns what a producer was told of a topic.
func (s *Sink) toldTo(p *producer, topic string) int32 {
	s.limits.mu.Lock()
	defer s.limits.mu.Unlock()
	return p.told[topic]
}

// moreProducers makes another one, unless there are too many: those are given up
// together. The error is of class retry.
func (s *Sink) moreProducers(apart bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.producers) == 0:
		return &Error{class: ClassRetry, err: ErrClosed}
	case len(s.producers) >= maxProducers:
		s.ruin(errLimits)
		return &Error{class: ClassRetry, err: errLimits}
	}
	p, err := s.newProducer(false)
	if err != nil {
		return &Error{class: ClassRetry, err: err}
	}
	p.apart = apart
	s.producers = append(s.producers, p)
	return nil
}

// closeProducers gives up all there are. The caller holds mu.
func (s *Sink) closeProducers() {
	s.closeAll(s.producers)
	s.producers = nil
}

// closeAll gives producers up. The caller holds mu.
func (s *Sink) closeAll(of []*producer) {
	for _, p := range of {
		if at := p.sent.until(); at.After(s.givenUp) {
			s.givenUp = at
		}
		p.client.Close()
	}
}

// eachClient calls do with all clients there are.
func (s *Sink) eachClient(do func(*kgo.Client)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.producers {
		do(p.client)
	}
}

// sharedHooks have a client counted in the metrics of another, which alone registers
// them.
type sharedHooks struct{ hooksToShare }

type hooksToShare interface {
	kgo.HookBrokerConnect
	kgo.HookBrokerDisconnect
	kgo.HookBrokerThrottle
	kgo.HookBrokerRead
	kgo.HookBrokerWrite
	kgo.HookBrokerE2E
	kgo.HookProduceBatchWritten
}
