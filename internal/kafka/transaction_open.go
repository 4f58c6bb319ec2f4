package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/message"
)

// openTimeout bounds taking a transactional id over and reading the record. A
// transaction that another left open in the record's partition is waited for until
// the hub aborts it.
const openTimeout = time.Minute

// open takes the transactional id and reads the record.
//
// The order matters. The hub lets nobody write under the id who had it before, and
// ends what was open, before it answers InitProducerID; so what is read after that
// is all there will ever be of what others sent.
func (x *Session) open(ctx context.Context) (known bool, err error) {
	if x.opts.Confirm != nil {
		if err := x.opts.Confirm(ctx); err != nil {
			return false, fmt.Errorf("before taking the transactional id: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	admin, err := x.sink.current()
	if err != nil {
		return false, err
	}
	by := x.newTeller()
	client, err := kgo.NewClient(x.sink.transactional(x.id, by.limit)...)
	if err != nil {
		return false, fmt.Errorf("kafka client: %w", err)
	}
	defer func() {
		if err != nil {
			client.Close()
		}
	}()
	id, _, err := client.ProducerID(ctx)
	if err == nil && id < 0 { // the client would go on without
		err = kerr.UnsupportedVersion
	}
	if err != nil {
		return false, x.refusal(err)
	}
	// Not before: nobody should have to make a topic to learn that the hub has no
	// transactions.
	n, err := x.sink.progressTopic(ctx, admin, x.opts.Topic)
	if err != nil {
		return false, x.sink.link.classified(fmt.Sprintf("topic %q, in which exactly-once delivery keeps its progress", x.opts.Topic), err)
	}
	home := Partition(&message.Message{Key: []byte(x.key())}, n)
	state, at, err := x.readRecord(ctx, admin, home, n)
	if err != nil {
		return false, x.sink.link.classified("read the chain's progress in the hub", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return false, &Error{class: ClassRetry, err: ErrClosed}
	}
	state.join(x.floorsOnly())
	x.state, x.at, x.home, x.client, x.by = state, at, home, client, by
	return at.Topic != "", nil
}

// refusal says what is missing where the hub does not give the id.
func (x *Session) refusal(err error) error {
	act := fmt.Sprintf("take transactional id %q", x.id)
	switch {
	case errors.Is(err, kerr.UnsupportedVersion), errors.Is(err, kerr.InvalidRequest):
		return &Error{class: ClassHold, err: fmt.Errorf(
			"%s: the hub has no transactions, and forward.delivery exactly-once needs them: choose default delivery, or another hub: %w", act, err)}
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return &Error{class: ClassHold, err: fmt.Errorf(
			"%s: whoever administers the hub has to allow Write and Describe on transactional ids that begin with %q: %w", act, "postroad-", err)}
	case errors.Is(err, kerr.InvalidTransactionTimeout):
		return &Error{class: ClassHold, err: fmt.Errorf(
			"%s: the hub does not allow transactions of %v (transaction.max.timeout.ms): %w", act, transactionTimeout, err)}
	}
	return x.sink.link.classified(act, err)
}

// key is the key of the chain's record.
func (x *Session) key() string {
	if x.opts.Hub == "" {
		return x.opts.Chain
	}
	return x.opts.Chain + "@" + x.opts.Hub
}

// floorsOnly is what the queue's own progress says. The caller holds mu.
func (x *Session) floorsOnly() inHub {
	h := inHub{}
	for _, l := range x.opts.Lanes {
		h.raise(l.Lane, l.Next)
	}
	for _, l := range x.floors {
		h.raise(l.Lane, l.Next)
	}
	return h
}

// readRecord reads the chain's newest record, from where one was known on. Its
// partition follows from the key; where the topic has got more partitions an older
// record may stand in another.
func (x *Session) readRecord(ctx context.Context, admin *kgo.Client, home, n int32) (inHub, message.Mark, error) {
	x.mu.Lock()
	hint := x.at
	x.mu.Unlock()
	if hint.Topic == "" {
		hint = x.opts.From
	}
	from := []message.Mark{{Topic: x.opts.Topic, Partition: home, Offset: -1}}
	switch {
	case hint.Topic != x.opts.Topic || hint.Partition >= n:
	case hint.Partition == home:
		from[0] = hint
	default:
		from = append(from, hint)
	}
	sp, _, err := spansOf(ctx, admin, from)
	if err != nil {
		return nil, message.Mark{}, err
	}
	newest := map[int32]*kgo.Record{}
	if _, err := x.sink.link.readSpans(ctx, x.sink.deps, admin, sp, func(r *kgo.Record) {
		if string(r.Key) == x.key() {
			newest[r.Partition] = r
		}
	}); err != nil {
		return nil, message.Mark{}, err
	}
	state, at := inHub{}, message.Mark{}
	for _, m := range from {
		r := newest[m.Partition]
		if r == nil || len(r.Value) == 0 {
			continue
		}
		h, err := decodeInHub(r.Value)
		if err != nil {
			return nil, at, &Error{class: ClassHold, err: fmt.Errorf("%s/%d at offset %d: %w", r.Topic, r.Partition, r.Offset, err)}
		}
		state.join(h)
		if at.Topic == "" {
			at = message.Mark{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
		}
	}
	return state, at, nil
}

// transactional are the settings of a session's client.
func (s *Sink) transactional(id string, limit func(topic string) int32) []kgo.Opt {
	return append(s.producing(nil, limit),
		kgo.TransactionalID(id),
		kgo.TransactionTimeout(transactionTimeout),
		// The hub still writes the marks of the last transaction when the next one
		// begins, for some milliseconds, and asks to be tried again.
		kgo.ConcurrentTransactionsBackoff(5*time.Millisecond),
		kgo.RetryBackoffFn(func(fails int) time.Duration {
			return jitter(min(5*time.Millisecond<<min(max(fails-1, 0), 8), maxBackoff))
		}),
	)
}

// progressTopic looks the topic of records up, making it where that is allowed,
// and returns how many partitions it has. One that is not compacted would lose the
// record of a chain that rests.
func (s *Sink) progressTopic(ctx context.Context, client *kgo.Client, topic string) (int32, error) {
	t, err := topicOf(ctx, client, topic)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		if s.opts.Dialect == dialectEventHubs {
			return 0, &Error{class: ClassHold, err: fmt.Errorf(
				"it is missing, and Kafka clients cannot make one: somebody with rights on the namespace makes an event hub of that name with cleanup policy Compact: %w", err)}
		}
		if !s.opts.CreateTopics {
			return 0, &Error{class: ClassHold, err: fmt.Errorf(
				"it is missing and hub.create_topics is false: make it with cleanup.policy=compact, or name another in forward.progress_topic: %w", err)}
		}
		if err := s.createProgressTopic(ctx, client, topic); err != nil {
			return 0, err
		}
		t, err = topicOf(ctx, client, topic)
	}
	if err != nil {
		return 0, err
	}
	return int32(len(t.Partitions)), s.checkCompacted(ctx, client, topic)
}

func (s *Sink) createProgressTopic(ctx context.Context, client *kgo.Client, topic string) error {
	set := func(v string) *string { return &v }
	_, err := kadm.NewClient(client).CreateTopic(ctx, int32(s.opts.Partitions), int16(s.opts.Replication), map[string]*string{
		"cleanup.policy": set("compact"),
		// Small segments, cleaned early: a chain writes a few records a second and
		// only its newest counts.
		"segment.bytes":             set("16777216"),
		"min.cleanable.dirty.ratio": set("0.1"),
	}, topic)
	switch {
	case errors.Is(err, kerr.TopicAlreadyExists): // another stamp was faster
	case err != nil:
		return fmt.Errorf("it is missing and could not be made; make it with cleanup.policy=compact, or name another in forward.progress_topic: %w", err)
	default:
		s.deps.Log.Info("created a topic for the progress of exactly-once delivery", "topic", topic)
	}
	for {
		_, err := topicOf(ctx, client, topic)
		if !errors.Is(err, kerr.UnknownTopicOrPartition) && !errors.Is(err, kerr.LeaderNotAvailable) {
			return err
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// checkCompacted reports a topic that is known not to be compacted. Who may not
// look at its configuration is believed.
func (s *Sink) checkCompacted(ctx context.Context, client *kgo.Client, topic string) error {
	policy, err := topicSetting(ctx, client, topic, "cleanup.policy")
	if err != nil {
		return nil //nolint:nilerr // the right to look is not needed for the rest
	}
	if !strings.Contains(policy, "compact") {
		return &Error{class: ClassHold, err: fmt.Errorf(
			"its cleanup.policy is %s and must be compact: retention would remove the record of a chain that rests", policy)}
	}
	return nil
}
