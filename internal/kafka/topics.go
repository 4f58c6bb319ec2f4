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
// created where the settings allow it, else the error is of class hold.
func (s *Sink) Partitions(ctx context.Context, topic string) (int32, error) {
	client, err := s.current()
	if err != nil {
		return 0, err
	}
	n, err := partitionCount(ctx, client, topic)
	if s.opts.CreateTopics && errors.Is(err, kerr.UnknownTopicOrPartition) {
		n, err = s.createTopic(ctx, client, topic)
	}
	return n, classified(fmt.Sprintf("look up topic %q", topic), err)
}

// createTopic makes the topic and waits until the hub knows it.
func (s *Sink) createTopic(ctx context.Context, client *kgo.Client, topic string) (int32, error) {
	_, err := kadm.NewClient(client).CreateTopic(ctx, int32(s.opts.Partitions), int16(s.opts.Replication), nil, topic)
	switch {
	case errors.Is(err, kerr.TopicAlreadyExists): // another stamp was faster
	case err != nil:
		return 0, fmt.Errorf("create it: %w", err)
	default:
		s.deps.Log.Info("created a topic in the hub", "topic", topic)
	}
	for {
		n, err := partitionCount(ctx, client, topic)
		if !errors.Is(err, kerr.UnknownTopicOrPartition) && !errors.Is(err, kerr.LeaderNotAvailable) {
			return n, err
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

func partitionCount(ctx context.Context, client *kgo.Client, topic string) (int32, error) {
	t, err := topicOf(ctx, client, topic)
	return int32(len(t.Partitions)), err
}

// topicOf asks the hub itself, past every cache. Its id is zero where the hub
// knows none.
func topicOf(ctx context.Context, client *kgo.Client, topic string) (kmsg.MetadataResponseTopic, error) {
	none := kmsg.MetadataResponseTopic{}
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return none, err
	}
	if len(resp.Topics) != 1 {
		return none, fmt.Errorf("the hub answered for %d topics instead of one", len(resp.Topics))
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return none, err
	}
	if len(resp.Topics[0].Partitions) == 0 {
		return none, kerr.LeaderNotAvailable
	}
	return resp.Topics[0], nil
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
		return nil, classified("list the ends of partitions", err)
	}
	out := make([]message.Mark, len(of))
	for i, m := range of {
		end, ok := ends.Lookup(m.Topic, m.Partition)
		if !ok {
			end.Err = kerr.UnknownTopicOrPartition
		}
		if end.Err != nil {
			return nil, classified(fmt.Sprintf("end of %s/%d", m.Topic, m.Partition), end.Err)
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
