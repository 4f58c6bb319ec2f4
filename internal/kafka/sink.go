package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kprom"

	"postroad/internal/message"
)

// Deps are what a Sink or Reader is given beside its settings.
type Deps struct {
	// Log receives state changes and franz-go's warnings; nil drops them.
	Log *slog.Logger
	// Registerer takes the metrics of the Sink's or Feed's client; nil drops them.
	// Two Sinks need two, or one wrapped with a label.
	Registerer prometheus.Registerer
	// Stamp is the name of the stamp that accepted what the Sink sends; the
	// Reader does not need it.
	Stamp string
	// MayWrite, if not nil, is asked before each write of the Sink to the hub, and
	// keeps it from happening by an error: because the claims of this process may
	// be others' by now. It must be quick.
	MayWrite func() error
}

func (d *Deps) setDefaults() {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
}

// ErrClosed: the Sink was closed or reset before the hub answered. Whether the
// record is in the log is not known.
var ErrClosed = errors.New("the connection to the hub was given up")

// Sink sends messages to the hub. Its methods are safe for concurrent use.
type Sink struct {
	opts       Options
	deps       Deps
	attributes attributes
	link       *link
	stop       func() // ends watching the files

	health atomic.Pointer[func(error)]
	turn   atomic.Uint64 // counts the errors that shut a partition

	// mu is held for reading while a record is handed over, and for writing
	// where the client is replaced, so that none goes to a closed one.
	mu        sync.RWMutex
	producers []*producer    // guarded by mu; none once closed
	givenUp   time.Time      // guarded by mu: see GivenUp
	metrics   *kprom.Metrics // guarded by mu: of the present producers; nil without a Registerer
	limits    *limits

	parts sync.Map // partitionKey → *partition

	topicsMu sync.Mutex
	topics   map[string]known // guarded by topicsMu: as the present client met them
	spoilt   map[string]bool  // guarded by topicsMu: topics that it refuses, see meet
	ruined   error            // guarded by topicsMu: why it can send nothing any more

	answers answers
	wires   sync.Pool
}

type partitionKey struct {
	topic     string
	partition int32
}

// NewSink makes a Sink. It connects to nothing yet: the hub may be away.
func NewSink(opts Options, deps Deps) (*Sink, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	deps.setDefaults()
	link, err := newLink(opts, deps.Log)
	if err != nil {
		return nil, err
	}
	opts = link.opts
	s := &Sink{opts: opts, deps: deps, attributes: newAttributes(opts.CloudEvents), link: link, stop: func() {}}
	s.wires.New = func() any { return new(wire) }
	s.Watch(func(error) {})
	s.limits = newLimits(int32(opts.BatchMaxBytes))
	s.forgetTopics()
	first, err := s.newProducer(true)
	if err != nil {
		return nil, err
	}
	s.producers = []*producer{first}
	if err := s.answers.register(deps.Registerer); err != nil {
		first.client.Close()
		return nil, err
	}
	if link.changes() {
		s.watchFiles()
	}
	return s, nil
}

// watchFiles looks at the files of the settings until stop.
func (s *Sink) watchFiles() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.link.watch(ctx, func(brokers []string) {
			s.eachClient(func(client *kgo.Client) {
				if err := client.UpdateSeedBrokers(brokers...); err != nil {
					s.deps.Log.Warn("cannot go on with other brokers", "err", err)
				}
			})
		})
	}()
	s.stop = func() { cancel(); <-done }
}

// Watch makes report hear of every exchange with the hub: nil for an answer,
// else why there was none. It is called from many goroutines and must be
// quick. A later call replaces an earlier one.
func (s *Sink) Watch(report func(error)) { s.health.Store(&report) }

// newClient makes a client that asks for the limits of topics: the first of them, or
// one beside it. The caller holds mu, or is alone.
func (s *Sink) newClient(first bool, limit func(topic string) int32, dial kgo.Opt) (_ *kgo.Client, err error) {
	opts := append(s.producing(s.refused, limit),
		dial,
		kgo.ProducerOnDataLossDetected(func(topic string, partition int32) {
			s.deps.Log.Warn("hub lost its record of what was sent; going on", "topic", topic, "partition", partition)
			s.forgotten(topic, partition)
		}),
	)
	switch {
	case s.deps.Registerer == nil:
	case first:
		s.metrics = kprom.NewMetrics("postroad", kprom.Subsystem("kafka_sink"), kprom.Registerer(s.deps.Registerer))
		opts = append(opts, kgo.WithHooks(s.metrics))
	default:
		opts = append(opts, kgo.WithHooks(sharedHooks{s.metrics}))
	}
	defer func() {
		if r := recover(); r != nil { // kprom panics where names are taken
			err = fmt.Errorf("kafka client: %v", r)
		}
	}()
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	return client, nil
}

// producing are the settings of every client that sends. limit is how large a batch
// of a topic may be; refused, if not nil, hears of refused batches before anybody.
func (s *Sink) producing(refused func(topic string, partition int32), limit func(topic string) int32) []kgo.Opt {
	return append(s.link.common(s.deps.Log, refused, s.deps.MayWrite),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs()[s.opts.Compression]),
		kgo.ProducerBatchMaxBytesFn(limit),
		kgo.ProducerLinger(s.opts.Linger),
		kgo.ProduceRequestTimeout(s.opts.RequestTimeout),
		// No timer and no count drops a record. The limits in flight are the
		// forwarder's: this one must not block it.
		kgo.RecordRetries(math.MaxInt64),
		kgo.RecordDeliveryTimeout(0),
		kgo.MaxBufferedRecords(math.MaxInt32),
		// Some tries are left for a topic that was just created; after those
		// the record comes back, and the topic is looked for or made again.
		kgo.UnknownTopicRetries(8),
		kgo.WithHooks(healthHook{s.heard}, &s.answers),
	)
}

// heard is told of every exchange with the hub.
func (s *Sink) heard(err error) {
	if err == nil {
		s.answers.last.Store(time.Now().UnixNano())
	}
	(*s.health.Load())(err)
}

// current returns the client, or ErrClosed.
func (s *Sink) current() (*kgo.Client, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.producers) == 0 {
		return nil, ErrClosed
	}
	return s.producers[0].client, nil
}

// Probe asks the hub for a sign of life: nil as soon as one broker answers.
func (s *Sink) Probe(ctx context.Context) error {
	client, err := s.current()
	if err != nil {
		return err
	}
	if s.deps.MayWrite != nil {
		// Else the hub would be blamed for what this process may not send.
		if err := s.deps.MayWrite(); err != nil {
			return &Error{class: ClassRetry, own: true, err: fmt.Errorf("may not write to the hub: %w", err)}
		}
	}
	err = client.Ping(ctx)
	if err == nil {
		err = s.link.recheck(ctx, client)
	}
	return s.link.classified("probe the hub", err)
}

// Reset gives up everything under way and begins with a new client. Callbacks
// of records not yet answered get ErrClosed, before or soon after Reset
// returns; their partitions refuse the turns of before from the moment that the
// new client takes records. It never waits for the hub.
func (s *Sink) Reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.producers) == 0 {
		return ErrClosed
	}
	s.closeProducers()
	// The callbacks, which tell of the failures, come later; until then the
	// next record of a partition would overtake what was taken back.
	s.parts.Range(func(key, _ any) bool {
		k := key.(partitionKey)
		s.refused(k.topic, k.partition)
		return true
	})
	s.forgetTopics()
	first, err := s.newProducer(true)
	if err != nil {
		return err
	}
	s.producers = []*producer{first}
	return nil
}

// Close gives up everything under way, as Reset does, for good. It never waits
// for the hub.
func (s *Sink) Close() {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeProducers()
}

// Partition returns which of n partitions the message belongs to; see the
// function of that name.
func (s *Sink) Partition(m *message.Message, n int32) int32 { return Partition(m, n) }

// Turn returns the number that Produce asks for. Take a new one only when all
// that was given to Produce has been answered.
func (s *Sink) Turn() uint64 { return s.turn.Load() }

// Produce sends m to a partition of its topic and returns at once. done is
// called exactly once, from another goroutine, with the offset (-1 where the
// hub did not say) or with an error that has a Class; where Produce returns an
// error, which is of class retry, done is not called.
//
// Messages of a partition are appended in the order of the calls, and an error
// does not let later ones overtake: with it all that was given to the partition
// and not answered fails too, and Produce refuses the partition to everybody
// whose turn is older than the error. So a caller that is refused or hears of
// an error waits for its other answers, takes a new turn, and sends again, in
// order, what failed.
//
// m and what it refers to must not change until done is called.
func (s *Sink) Produce(m *message.Stored, partition int32, turn uint64, done func(offset int64, err error)) error {
	for {
		given, apart, err := s.give(m, partition, turn, done)
		if given || err != nil {
			return err
		}
		if err := s.moreProducers(apart); err != nil {
			return err
		}
	}
}

// give gives m to a producer that makes batches of the right size; given is false
// where there is none, among those that are apart or the others. The error is of
// class retry.
func (s *Sink) give(m *message.Stored, partition int32, turn uint64, done func(int64, error)) (given, apart bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.producers) == 0 {
		return false, false, &Error{class: ClassRetry, err: ErrClosed}
	}
	p := s.partition(m.Topic, partition)
	w := s.wires.Get().(*wire)
	w.sink, w.part, w.done = s, p, done
	w.hdrs, w.buf = appendHeaders(w.hdrs[:0], w.buf[:0], m, &s.attributes, s.deps.Stamp)
	w.rec = kgo.Record{
		Topic: m.Topic, Partition: partition, Key: m.Key, Value: m.Value, Headers: w.hdrs,
		Timestamp: time.Now(), // of producing: an accept time days ago could be past the hub's retention
		Context:   w,
	}
	ctx, by := p.enter(turn, func() *producer {
		apart = p.isApart()
		return s.pick(m.Topic, s.limits.wanted(m.Topic, batchBytes(&w.rec)), apart)
	})
	if ctx == nil || by == nil {
		w.rec, w.done, w.part = kgo.Record{}, nil, nil
		clear(w.hdrs)
		s.wires.Put(w)
		if ctx == nil {
			return false, false, &Error{class: ClassRetry, err: errTurn}
		}
		return false, apart, nil
	}
	by.client.Produce(ctx, &w.rec, settled)
	return true, apart, nil
}

// wire is one record under way with everything it needs, reused. It is its own
// record's context, which is how settled finds it without a closure a record.
// As a context it never ends and reads no field, because franz-go may look at
// it after the record was answered; the context that ends is Produce's.
type wire struct {
	rec  kgo.Record
	hdrs []kgo.RecordHeader
	buf  []byte
	sink *Sink
	part *partition
	done func(int64, error)
}

func (*wire) Deadline() (time.Time, bool) { return time.Time{}, false }
func (*wire) Done() <-chan struct{}       { return nil }
func (*wire) Err() error                  { return nil }
func (*wire) Value(any) any               { return nil }

// settled is the promise of every record.
func settled(r *kgo.Record, err error) {
	w := r.Context.(*wire)
	done, offset, part := w.done, r.Offset, w.part
	if err == nil {
		s := w.sink
		w.rec, w.done, w.part = kgo.Record{}, nil, nil
		clear(w.hdrs)
		s.wires.Put(w)
		part.leave(true)
		done(offset, nil)
		return
	}
	w.sink.refused(r.Topic, r.Partition)
	if errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.InconsistentTopicID) {
		w.sink.spoil(r.Topic)
	}
	if keptByClient(err) {
		w.sink.ruin(err)
	}
	if errors.Is(err, kerr.MessageTooLarge) {
		part.tooLarge(w.sink, r)
	}
	if by, bytes := part.leave(false); bytes > 0 {
		w.sink.limits.refused(r.Topic, w.sink.toldTo(by, r.Topic), bytes)
	}
	// Not reused: a request that is being given up may still be writing it.
	if errors.Is(err, kgo.ErrClientClosed) {
		err = ErrClosed
	}
	done(-1, w.sink.link.classified(fmt.Sprintf("produce to partition %d", r.Partition), err))
}

var errTurn = errors.New("the partition waits, after an error, for what was sent before")

func (s *Sink) partition(topic string, id int32) *partition {
	key := partitionKey{topic, id}
	if p, ok := s.parts.Load(key); ok {
		return p.(*partition)
	}
	p, _ := s.parts.LoadOrStore(key, &partition{})
	return p.(*partition)
}

// partition keeps order over an error: the first one takes back all that is
// buffered behind it (by ending the context of those records), and shuts the
// door until the last of them has been answered, and to everybody who does not
// know of the error yet.
type partition struct {
	mu     sync.Mutex
	turn   uint64             // guarded by mu: turns below are refused
	inside int                // guarded by mu: records not yet answered
	lost   int                // guarded by mu: see Sink.forgotten
	failed bool               // guarded by mu: one of them failed
	ctx    context.Context    // guarded by mu: of the records inside
	cancel context.CancelFunc // guarded by mu

	by         *producer // guarded by mu: has all records inside
	apart      time.Time // guarded by mu: until when it keeps apart, see Withdraw
	large      int       // guarded by mu: of those inside, how many were too large, or in a batch that was
	largeBytes int       // guarded by mu: and how much that was
}

// enter returns the context for one more record, or nil while the door is shut, and
// the producer that takes it, or nil where pick has none. Only where nothing is
// inside is another one picked.
func (p *partition) enter(turn uint64, pick func() *producer) (context.Context, *producer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed || turn < p.turn {
		return nil, nil
	}
	if p.ctx == nil {
		p.ctx, p.cancel = context.WithCancel(context.Background())
	}
	if p.inside == 0 {
		if p.by = pick(); p.by == nil {
			return p.ctx, nil
		}
	}
	p.inside++
	return p.ctx, p.by
}

// tooLarge counts a record, still inside, that came back as too large, unless it was
// the client that found it so.
func (p *partition) tooLarge(s *Sink, r *kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if size := batchBytes(r); size <= int(s.toldTo(p.by, r.Topic)) {
		p.large++
		p.largeBytes += size
	}
}

// leave takes a record out. Where it was the last after a refusal, bytes is how
// large the batches were that the hub did not take from that producer, if they were
// of several records.
func (p *partition) leave(ok bool) (by *producer, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inside--
	if ok {
		p.lost = 0
	}
	if p.failed && p.inside == 0 {
		if p.large > 1 {
			by, bytes = p.by, p.largeBytes
		}
		p.failed, p.ctx, p.cancel, p.large, p.largeBytes = false, nil, nil, 0, 0
	}
	return by, bytes
}

// refused shuts the partition's door after an error. It is called before
// anybody else hears of the error, and again for each record that fails.
func (s *Sink) refused(topic string, id int32) {
	p := s.partition(topic, id)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inside > 0 && !p.failed {
		p.failed = true
		p.turn = s.turn.Add(1)
		p.cancel()
	}
}

// jitter returns a random time in the upper half of d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
