package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"postroad/internal/message"
)

// Partitions returns how many partitions the topic has. A missing topic is
// created where the settings and the hub allow it, else the error is of class
// hold and says who can make it. Errors do not name the topic: the caller does.
//
// Where the topic is not the one of before, because it was deleted and made
// anew, the error says StaleClient and Remade, until Reset: the client never takes
// a new topic for the old one, and refuses everything that is produced to it. It
// says StaleClient alone where the client can produce nothing any more, because
// the hub has lost its producer, or once refused to give it one.
func (s *Sink) Partitions(ctx context.Context, topic string) (int32, error) {
	if !s.opts.Topics.Allows(topic) {
		return 0, &Error{class: ClassHold, err: errNotAllowed}
	}
	client, err := s.current()
	if err != nil {
		return 0, err
	}
	t, err := topicOf(ctx, client, topic)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		t, err = s.missing(ctx, client, topic)
	}
	if err != nil {
		return 0, s.link.classified("look the topic up", err)
	}
	n := int32(len(t.Partitions))
	grown, err := s.meet(topic, t.TopicID, n)
	if err != nil {
		return n, err
	}
	if grown { // else the clients learn of new partitions within a minute
		s.eachClient((*kgo.Client).ForceMetadataRefresh)
	}
	s.readLimit(ctx, client, topic)
	return n, nil
}

// missing makes a topic that the hub does not have, or says what keeps it from
// being made.
func (s *Sink) missing(ctx context.Context, client *kgo.Client, topic string) (kmsg.MetadataResponseTopic, error) {
	none := kmsg.MetadataResponseTopic{}
	switch {
	case s.opts.Dialect == dialectEventHubs:
		return none, advised(kerr.UnknownTopicOrPartition, "the namespace has no event hub of that name, and Kafka clients cannot make one: "+
			"somebody with rights on the namespace makes it in the Azure portal or by ARM")
	case !s.opts.CreateTopics:
		return none, advised(kerr.UnknownTopicOrPartition, "the hub has no such topic and hub.create_topics is false: "+
			"whoever administers the hub makes it, or create_topics is set")
	}
	t, err := s.createTopic(ctx, client, topic)
	return t, advised(err, creationAdvice(err, s.opts))
}

// creationAdvice says what is missing where the hub did not make a topic; "" of
// errors that pass.
func creationAdvice(err error, o Options) string {
	switch {
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return "the hub has no such topic and this user may not make it: whoever administers the hub makes it, " +
			"or grants the user Create on the topic or the cluster"
	case errors.Is(err, kerr.InvalidReplicationFactor):
		return fmt.Sprintf("the hub has no such topic and cannot make it with hub.replication %d: "+
			"it has fewer brokers; lower the setting, or have the topic made", o.Replication)
	case errors.Is(err, kerr.InvalidPartitions):
		return fmt.Sprintf("the hub has no such topic and does not make it with hub.partitions %d: "+
			"change the setting, or have the topic made", o.Partitions)
	case errors.Is(err, kerr.PolicyViolation):
		return fmt.Sprintf("the hub has no such topic and its policy refuses one with hub.partitions %d and hub.replication %d: "+
			"change the settings, or whoever administers the hub makes it", o.Partitions, o.Replication)
	case errors.Is(err, kerr.UnsupportedVersion), errors.Is(err, kerr.InvalidRequest):
		return "the hub has no such topic and does not let clients make one: whoever administers the hub makes it"
	}
	return ""
}

// advised puts what a person can do before the hub's error.
func advised(err error, advice string) error {
	if err == nil || advice == "" {
		return err
	}
	return fmt.Errorf("%s: %w", advice, err)
}

// known is a topic as the present client met it.
type known struct {
	id    [16]byte // zero where the hub has no topic ids
	count int32
}

// meet compares a topic with what was known of it. A client whose knowledge is
// of a deleted topic is to be given up: taking the topic out of it alone
// (PurgeTopicsFromProducing) makes it begin again at sequence 0 under the same
// producer epoch, and where a batch of before has got into the new topic the hub
// takes the next one for its copy, acknowledges it, and drops it.
//
// grown says that the topic has another number of partitions than before.
func (s *Sink) meet(topic string, id [16]byte, count int32) (grown bool, err error) {
	s.topicsMu.Lock()
	defer s.topicsMu.Unlock()
	if s.ruined != nil {
		return false, &Error{class: ClassRetry, stale: true, err: fmt.Errorf("the client is to be replaced: %w", s.ruined)}
	}
	was, met := s.topics[topic]
	none := [16]byte{}
	if s.spoilt[topic] || met && was.id != none && id != none && was.id != id {
		s.deps.Log.Warn("topic was deleted and made anew", "topic", topic)
		s.spoilt[topic] = true
		return false, &Error{class: ClassRetry, stale: true, remade: true, err: errRemade}
	}
	s.topics[topic] = known{id, count}
	return met && was.count != count, nil
}

var errRemade = errors.New("the topic was deleted and made anew")

// spoil notes that the client refuses a topic until it is replaced.
func (s *Sink) spoil(topic string) {
	s.topicsMu.Lock()
	defer s.topicsMu.Unlock()
	s.spoilt[topic] = true
}

// forgetTopics is for a new client, which knows none.
func (s *Sink) forgetTopics() {
	s.topicsMu.Lock()
	defer s.topicsMu.Unlock()
	s.topics, s.spoilt, s.ruined = map[string]known{}, map[string]bool{}, nil
}

// keptByClient reports whether the client answers with this error for ever, once
// the hub has: it asks for a producer id only once, and what it is refused then it
// keeps, although the right may have been granted since; and a producer that the
// hub takes for another's never becomes ours again.
func keptByClient(err error) bool {
	for _, e := range []*kerr.Error{
		kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed, kerr.InvalidProducerIDMapping,
		kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.UnknownProducerID, kerr.OutOfOrderSequenceNumber,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// ruin notes that the client can send nothing any more until it is replaced.
func (s *Sink) ruin(err error) {
	s.topicsMu.Lock()
	defer s.topicsMu.Unlock()
	if s.ruined == nil {
		s.ruined = err
	}
}

// maxForgotten is how often in a row the hub may have lost its memory of our
// producer, in a partition, before the client is given up.
const maxForgotten = 3

var errForgotten = errors.New("the hub does not know this client's producer, again and again")

// forgotten hears that the hub does not know our producer any more. The client
// mends that with a new epoch of the same producer. Where the hub has lost the
// producer itself (INVALID_PRODUCER_ID_MAPPING of Event Hubs) that does not help,
// and the client would try for ever.
func (s *Sink) forgotten(topic string, id int32) {
	p := s.partition(topic, id)
	p.mu.Lock()
	p.lost++
	given := p.lost >= maxForgotten
	p.mu.Unlock()
	if given {
		s.ruin(errForgotten)
		s.refused(topic, id)
	}
}

// createTopic makes the topic and waits until the hub knows it.
func (s *Sink) createTopic(ctx context.Context, client *kgo.Client, topic string) (kmsg.MetadataResponseTopic, error) {
	_, err := kadm.NewClient(client).CreateTopic(ctx, int32(s.opts.Partitions), int16(s.opts.Replication), nil, topic)
	switch {
	case errors.Is(err, kerr.TopicAlreadyExists): // another stamp was faster
	case err != nil:
		return kmsg.MetadataResponseTopic{}, fmt.Errorf("create it: %w", err)
	default:
		s.deps.Log.Info("created a topic in the hub", "topic", topic)
	}
	for {
		t, err := topicOf(ctx, client, topic)
		if !errors.Is(err, kerr.UnknownTopicOrPartition) && !errors.Is(err, kerr.LeaderNotAvailable) {
			return t, err
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return kmsg.MetadataResponseTopic{}, err
		}
	}
}

// topicOf asks the hub itself, past every cache. Its id is zero where the hub
// knows none.
func topicOf(ctx context.Context, client *kgo.Client, topic string) (kmsg.MetadataResponseTopic, error) {
	t, _, err := topicIn(ctx, client, topic)
	return t, err
}

// topicIn is topicOf with the id of the cluster, empty where the hub tells none.
func topicIn(ctx context.Context, client *kgo.Client, topic string) (_ kmsg.MetadataResponseTopic, cluster string, err error) {
	none := kmsg.MetadataResponseTopic{}
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return none, "", err
	}
	if resp.ClusterID != nil {
		cluster = *resp.ClusterID
	}
	if len(resp.Topics) != 1 {
		return none, "", fmt.Errorf("the hub answered for %d topics instead of one", len(resp.Topics))
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return none, "", err
	}
	if len(resp.Topics[0].Partitions) == 0 {
		return none, "", kerr.LeaderNotAvailable
	}
	return resp.Topics[0], cluster, nil
}

// Ends returns the marks with the offset at which the next record of each
// partition will stand; the offsets given are not looked at.
func (s *Sink) Ends(ctx context.Context, of []message.Mark) ([]message.Mark, error) {
	client, err := s.current()
	if err != nil {
		return nil, err
	}
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topicsOf(of)...)
	if err != nil {
		return nil, s.link.classified("list the ends of partitions", err)
	}
	out := make([]message.Mark, len(of))
	for i, m := range of {
		end, ok := ends.Lookup(m.Topic, m.Partition)
		if !ok {
			end.Err = kerr.UnknownTopicOrPartition
		}
		if end.Err != nil {
			return nil, s.link.classified(fmt.Sprintf("end of %s/%d", m.Topic, m.Partition), end.Err)
		}
		out[i] = message.Mark{Topic: m.Topic, Partition: m.Partition, Offset: end.Offset}
	}
	return out, nil
}

// topicsOf returns each topic of the marks once.
func topicsOf(marks []message.Mark) []string {
	var topics []string
	seen := map[string]bool{}
	for _, m := range marks {
		if !seen[m.Topic] {
			seen[m.Topic] = true
			topics = append(topics, m.Topic)
		}
	}
	return topics
}

// topicSetting reads one setting of a topic, which takes the right to describe its
// configuration.
func topicSetting(ctx context.Context, client *kgo.Client, topic, name string) (string, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, []string{name}
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return "", err
	}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return "", err
		}
		for _, c := range r.Configs {
			if c.Name == name && c.Value != nil {
				return *c.Value, nil
			}
		}
	}
	return "", &Error{class: ClassHold, err: fmt.Errorf("the hub does not tell %s", name)}
}
