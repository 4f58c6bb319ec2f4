package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/message"
)

// Options are the settings of the forwarder.
type Options struct {
	// MaxInFlight is how many messages may wait in memory for the hub's answer,
	// of all chains together, 1 to 1000000; one of each chain always may. Chains
	// with something to send share it equally. Default 16384.
	MaxInFlight int `yaml:"max_in_flight"`
	// MaxInFlightBytes is how many bytes they may have together, shared like
	// max_in_flight. At least 1048576. Default 10485760 (10 MiB).
	MaxInFlightBytes int64 `yaml:"max_in_flight_bytes"`
	// Batch is how many messages are taken from the queue at a time, 1 to
	// 10000. Default 1000.
	Batch int `yaml:"batch"`
	// MaxChains is how many chains are drained at the same time, 1 to 1024: one
	// for each gateway process that runs, and those that dead ones left. Where
	// there are more, they take turns. Default 64.
	MaxChains int `yaml:"max_chains"`
	// SaveInterval is how often progress is saved, 100ms to 1m. Default 5s.
	SaveInterval time.Duration `yaml:"save_interval"`
	// SaveMessages is after how many forwarded messages progress is saved
	// without waiting for the interval; at least 1. Default 10000.
	SaveMessages int `yaml:"save_messages"`
	// DrainTimeout is how long stopping waits for answers of the hub, 0 to
	// 10m. What is not answered by then is sent again by the next process,
	// where it is not in the hub. Default 5s.
	DrainTimeout time.Duration `yaml:"drain_timeout"`
	// ProbeTimeout is how long the hub may take to answer a probe, 100ms to
	// 1m. Default 2s.
	ProbeTimeout time.Duration `yaml:"probe_timeout"`
	// ProbeInterval is the longest time between two probes of a hub that is
	// away, 10ms to 1m; the actual time is random below it. Default 3s.
	ProbeInterval time.Duration `yaml:"probe_interval"`
	// HoldInterval is the longest time between two tries where the hub refuses
	// messages until somebody changes something, 10ms to 1h. Default 60s.
	HoldInterval time.Duration `yaml:"hold_interval"`
	// HoldAfter is how long messages of a topic that the hub refuses wait in
	// memory before they move to a side lane on disk, 0 to 24h. They move sooner
	// where they fill max_in_flight, so that other topics never wait for them.
	// Default 10m.
	HoldAfter time.Duration `yaml:"hold_after"`
	// TakeoverWait is how long a chain is left alone after taking it over from a
	// process that may be alive, and messages after the connection to the hub was
	// replaced, so that requests still on their way land first and are not sent
	// again, 0 to 10m. At least the hub.request_timeout is wise. Default 10s.
	TakeoverWait time.Duration `yaml:"takeover_wait"`
	// DeadLetterTopic is a topic into which a copy of each message that the hub
	// refuses for good is sent, with the reason in its header postroad-reason. It
	// is a convenience: a copy that fails is counted and not tried again. The dead
	// letters are in the queue. Default "", none.
	DeadLetterTopic string `yaml:"dead_letter_topic"`
	// TripAfter is how many probes in a row must fail to open the breaker, 1 to
	// 100. Default 2.
	TripAfter int `yaml:"trip_after"`
	// TrialTimeout is how long the first batch after an outage may take, 100ms
	// to 10m. Default 10s.
	TrialTimeout time.Duration `yaml:"trial_timeout"`
	// RefreshAfter is how long messages may wait in the client for the hub's
	// answer before they are taken back, to be sent afresh when it answers
	// again: with their time of producing an hour old, the hub's retention
	// could remove them on arrival. Where late_after is shorter it counts instead.
	// 1s to 24h. Default 10m.
	RefreshAfter time.Duration `yaml:"refresh_after"`
	// LateAfter is how long after it was accepted a message is late: before it is
	// sent, what the hub was sent meanwhile is read, and the message is left out if
	// another stamp has sent it, too. Readers must not get more than hub.window
	// records of a partition in that time. 1s to 1h. Default 60s.
	LateAfter time.Duration `yaml:"late_after"`
	// LateIDs is how many ids of records are kept in memory for that, of those
	// marked as repeats and of others each, 32768 to 100000000, 24 bytes each. Where
	// it is not enough some late messages are marked postroad-late instead of being
	// left out. Default 1000000.
	LateIDs int `yaml:"late_ids"`
	// Delivery is how often a message may stand in its topic. default: at least
	// once; readers that go by the dedupe id see it once. exactly-once: once in the
	// topic itself, for readers that read committed records; by transactions, so
	// the hub must have them (Kafka 2.5 or later), and allow this user the
	// transactional ids that begin with postroad-. Where it cannot, nothing is sent
	// and the status says why. Default default.
	Delivery string `yaml:"delivery"`
	// ProgressTopic is the compacted topic in which exactly-once delivery keeps
	// what it has sent, in the same transactions. It is made where
	// hub.create_topics allows it. Default postroad-progress.
	ProgressTopic string `yaml:"progress_topic"`
	// CommitInterval is after how long a transaction of exactly-once delivery is
	// committed, 1ms to 1s: readers see a message that much later, at most.
	// Default 100ms.
	CommitInterval time.Duration `yaml:"commit_interval"`
	// CommitMessages is after how many messages a transaction is committed
	// without waiting for the interval, 1 to 100000. Default 5000.
	CommitMessages int `yaml:"commit_messages"`
	// BoardMessages is for how many recent messages of a lane the outcome with
	// partition and offset is kept in memory, 1024 to 16777216, rounded up to a
	// power of two. Default 65536.
	BoardMessages int `yaml:"board_messages"`
}

// DefaultOptions returns the settings that apply where none are given.
func DefaultOptions() Options {
	return Options{
		MaxInFlight:      16384,
		MaxInFlightBytes: 10 << 20,
		Batch:            1000,
		MaxChains:        64,
		SaveInterval:     5 * time.Second,
		SaveMessages:     10000,
		DrainTimeout:     5 * time.Second,
		ProbeTimeout:     2 * time.Second,
		ProbeInterval:    3 * time.Second,
		HoldInterval:     time.Minute,
		HoldAfter:        10 * time.Minute,
		TakeoverWait:     10 * time.Second,
		TripAfter:        2,
		TrialTimeout:     10 * time.Second,
		RefreshAfter:     10 * time.Minute,
		LateAfter:        time.Minute,
		LateIDs:          1000000,
		Delivery:         DeliveryDefault,
		ProgressTopic:    "postroad-progress",
		CommitInterval:   100 * time.Millisecond,
		CommitMessages:   5000,
		BoardMessages:    65536,
	}
}

// Validate returns every problem of the settings, joined.
func (o Options) Validate() error {
	var errs []error
	between := func(field string, v, low, high int64) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%s: %d: must be between %d and %d", field, v, low, high))
		}
	}
	lasting := func(field string, v, low, high time.Duration) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%s: %v: must be between %v and %v", field, v, low, high))
		}
	}
	between("max_in_flight", int64(o.MaxInFlight), 1, 1000000)
	between("max_in_flight_bytes", o.MaxInFlightBytes, 1<<20, 1<<40)
	between("batch", int64(o.Batch), 1, 10000)
	between("max_chains", int64(o.MaxChains), 1, 1024)
	lasting("save_interval", o.SaveInterval, 100*time.Millisecond, time.Minute)
	between("save_messages", int64(o.SaveMessages), 1, 1<<40)
	lasting("drain_timeout", o.DrainTimeout, 0, 10*time.Minute)
	lasting("probe_timeout", o.ProbeTimeout, 100*time.Millisecond, time.Minute)
	lasting("probe_interval", o.ProbeInterval, 10*time.Millisecond, time.Minute)
	lasting("hold_interval", o.HoldInterval, 10*time.Millisecond, time.Hour)
	lasting("hold_after", o.HoldAfter, 0, 24*time.Hour)
	lasting("takeover_wait", o.TakeoverWait, 0, 10*time.Minute)
	if o.DeadLetterTopic != "" && !message.ValidTopic(o.DeadLetterTopic) {
		errs = append(errs, fmt.Errorf("dead_letter_topic: %q: must be empty or a topic's name, 1 to %d of [A-Za-z0-9._-]", o.DeadLetterTopic, message.MaxTopicLen))
	}
	between("trip_after", int64(o.TripAfter), 1, 100)
	lasting("trial_timeout", o.TrialTimeout, 100*time.Millisecond, 10*time.Minute)
	lasting("refresh_after", o.RefreshAfter, time.Second, 24*time.Hour)
	lasting("late_after", o.LateAfter, time.Second, time.Hour)
	between("late_ids", int64(o.LateIDs), idBlockSize, 100000000)
	if o.Delivery != DeliveryDefault && o.Delivery != DeliveryExactlyOnce {
		errs = append(errs, fmt.Errorf("delivery: %q: must be %s or %s", o.Delivery, DeliveryDefault, DeliveryExactlyOnce))
	}
	if !message.ValidTopic(o.ProgressTopic) {
		errs = append(errs, fmt.Errorf("progress_topic: %q: must be a topic's name, 1 to %d of [A-Za-z0-9._-]", o.ProgressTopic, message.MaxTopicLen))
	}
	lasting("commit_interval", o.CommitInterval, time.Millisecond, time.Second)
	between("commit_messages", int64(o.CommitMessages), 1, 100000)
	if o.Delivery == DeliveryExactlyOnce && o.MaxInFlight > maxExactInFlight {
		errs = append(errs, fmt.Errorf("max_in_flight: %d: must be at most %d with delivery %s: the record in the hub says of each which is sent", o.MaxInFlight, maxExactInFlight, DeliveryExactlyOnce))
	}
	between("board_messages", int64(o.BoardMessages), 1024, 16<<20)
	return errors.Join(errs...)
}

// maxExactInFlight keeps the record of a chain below what any hub takes: at worst
// a byte for each message.
const maxExactInFlight = 262144

// Source hands out chains of lanes.
type Source interface {
	// Claim blocks until a chain of lanes wants a forwarder and takes the
	// exclusive right to drain it. Returns ctx.Err() when ctx ends. A chain
	// that is still written to is handed out before those that have ended, and
	// one that was released unsettled again, after the others.
	//
	// A Source may have a method Waiting() bool that says whether chains wait for
	// being claimed: where none do, none has to give its place up.
	Claim(ctx context.Context) (Chain, error)
}

// Chain is a claimed chain of lanes, with the side lanes of its held topics. Next,
// NextHeld, Divert, Bury and Save may run beside each other, each of them one at a
// time (NextHeld, Divert and Bury: one at a time for each topic); the other methods
// are called one at a time. An error that is message.ErrClaimLost, of any of them,
// ends draining at once.
type Chain interface {
	// ID names the chain in logs and status.
	ID() string
	// Progress is as the last holder saved it; without marks for a fresh chain,
	// else with every lane of the chain that there is, side lanes too.
	Progress() message.Progress
	// Doubtful reports that the last holder fell because its heartbeat stood
	// still, and may be alive: what it sent may still be on its way to the hub. A
	// holder that gives the chain up without a Save has not waited for that, and
	// leaves the doubt to the next.
	Doubtful() bool
	// Next returns the next messages of the chain's own lanes in order, 1..limit
	// of them, waiting for the first; io.EOF after the last message of a chain
	// that has ended. Seqs ascend but may have gaps (damage is set aside by the
	// queue). Messages own their memory. After an error nothing was taken.
	Next(ctx context.Context, limit int) ([]message.Stored, error)
	// Held lists the topics of which messages stood unsettled in side lanes when
	// the chain was claimed.
	Held() []string
	// Divert moves messages, all of one topic and in order, to that topic's side
	// lane. It is durable when it returns; the messages are settled then as far
	// as the chain's own lanes go, and come again from NextHeld. After an error
	// any of them may have been moved. A message that stands in the side lanes
	// already, where a holder died between Divert and Save, should not be moved
	// twice; what stands there twice is sent once by one holder.
	Divert(ctx context.Context, topic string, msgs []message.Stored) error
	// NextHeld returns the next messages of a topic's side lanes in order,
	// 1..limit of them; io.EOF where all that was moved so far has been returned.
	// A later Divert makes more.
	NextHeld(ctx context.Context, topic string, limit int) ([]message.Stored, error)
	// Bury makes dead letters of messages, each with its Reason. It is durable
	// when it returns.
	Bury(ctx context.Context, msgs []message.Stored) error
	// Save makes progress durable before it returns. It names side lanes like
	// others, by where their messages stand.
	Save(ctx context.Context, p message.Progress) error
	// Release gives the claim up, after a last Save or without one where the
	// claim is lost.
	Release(ctx context.Context) error
}

// Sink is the hub. An error may have a method Class() string: "retry" passes
// by itself, "hold" lasts until somebody changes something, "dead" lies in the
// message. Without it an error counts as retry. A method HubWide() bool that says
// true tells that it is not one topic's: nothing that is sent will be taken; one
// Own() bool, that it lies in this process and the hub was not asked; and one
// StaleClient() bool, of Partitions, that Reset must come before anything is sent
// to the topic; with Remade() bool, because it was made anew. Errors of Partitions
// do not name the topic.
//
// A Sink may have a method Identity() string that names its hub: what was saved
// under another name says nothing about this one. It may have GivenUp() time.Time,
// which tells when any connection was last open on which a client sent that Reset
// has given up; zero where there was none. Without it that is when Reset was called.
// It may have Withdraw(of []message.Mark) error, which is a Reset for some partitions
// and disturbs the others as little as it can.
type Sink interface {
	// Watch makes report hear of every exchange with the hub: nil for an
	// answer, else why there was none.
	Watch(report func(error))
	// Probe asks for a sign of life.
	Probe(ctx context.Context) error
	// Partitions returns how many partitions a topic has, making it where that
	// is allowed.
	Partitions(ctx context.Context, topic string) (int32, error)
	// Partition maps a message to one of n partitions.
	Partition(m *message.Message, n int32) int32
	// Ends returns the marks with the offset at which the next record of each
	// partition will stand.
	Ends(ctx context.Context, of []message.Mark) ([]message.Mark, error)
	// ReadBack reads the partitions from their marks to their present ends and
	// reports the place of each message there at the stamp that sent it, where it
	// was first stored. lost are marks out of range, with the offset at which reading began instead.
	ReadBack(ctx context.Context, from []message.Mark, found func(message.Place, message.Mark)) (lost []message.Mark, err error)
	// Turn and Produce: messages of a partition are appended in the order of
	// the calls. done is called once, from another goroutine, with the offset
	// (or -1) or an error; not where Produce itself returns one. After an error
	// the partition refuses everybody whose turn is older, so that nothing
	// overtakes: wait for all answers, take a new turn, send again in order.
	Turn() uint64
	Produce(m *message.Stored, partition int32, turn uint64, done func(offset int64, err error)) error
	// Reset answers everything under way with an error, soon, and goes on with
	// a new connection; Close does so for good. Neither waits for the hub.
	Reset() error
	Close()
}

// Deps are what the forwarder is given beside its settings.
type Deps struct {
	// Source and Sink are required. Run closes the Sink.
	Source Source
	Sink   Sink
	// Transactor is required for exactly-once delivery.
	Transactor Transactor
	// Twins is the hub's log, by which copies that other stamps have sent are
	// found; nil where there is none to read.
	Twins Log
	// Log receives state changes; nil drops them.
	Log *slog.Logger
	// Registerer takes the metrics; nil drops them.
	Registerer prometheus.Registerer
	// InFlight, if not nil, hears how many more messages are in flight
	// (positive) or have been answered (negative). It must be quick.
	InFlight func(delta int)
}

const (
	classRetry = "retry"
	classHold  = "hold"
	classDead  = "dead"
)

func classOf(err error) string {
	var c interface{ Class() string }
	if errors.As(err, &c) {
		return c.Class()
	}
	return classRetry
}

// ownFault reports whether an error lies in this process, and not in the hub.
func ownFault(err error) bool {
	var o interface{ Own() bool }
	return errors.As(err, &o) && o.Own()
}

// staleClient reports whether the sink must be reset before it takes messages of
// a topic again.
func staleClient(err error) bool {
	var s interface{ StaleClient() bool }
	return errors.As(err, &s) && s.StaleClient()
}

// identityOf names the hub that a sink sends to; empty where it has no name.
func identityOf(s Sink) string {
	if i, ok := s.(interface{ Identity() string }); ok {
		return i.Identity()
	}
	return ""
}

// hubWide reports whether an error concerns the hub as a whole.
func hubWide(err error) bool {
	var w interface{ HubWide() bool }
	return errors.As(err, &w) && w.HubWide() && classOf(err) == classHold
}
