package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// until asks until there is an answer, for at most limit, and then says what was
// wrong with the last.
func until(ctx context.Context, limit time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(ctx)
		var final *finalError
		if err == nil || errors.As(err, &final) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// finalError is one that no waiting mends.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// waitReady waits until each of the nodes says that just they are the brokers of
// the cluster, and the controllers have a leader among them.
func (c *cluster) waitReady(ctx context.Context, nodes []*node) error {
	var want []int32
	for _, n := range nodes {
		want = append(want, n.id())
	}
	err := until(ctx, startLimit, func(ctx context.Context) error {
		for _, n := range nodes {
			if !n.p.alive() {
				return &finalError{fmt.Errorf("node %d ended: %w", n.index, n.p.err)}
			}
			if err := n.knows(ctx, want); err != nil {
				return fmt.Errorf("node %d: %w", n.index, err)
			}
		}
		leader, err := c.controller(ctx)
		if err == nil && !slices.Contains(want, leader) {
			err = fmt.Errorf("the controller is %d, which does not run", leader)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("start Kafka: %w\n%s", err, c.logs())
	}
	return nil
}

// askLimit bounds one question to one node.
const askLimit = 5 * time.Second

// knows is nil once the node answers, and says that these are the brokers.
func (n *node) knows(ctx context.Context, want []int32) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	answer, err := n.ask.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return err
	}
	var ids []int32
	for _, b := range answer.(*kmsg.MetadataResponse).Brokers {
		ids = append(ids, b.NodeID)
	}
	slices.Sort(ids)
	if !slices.Equal(ids, want) {
		return fmt.Errorf("it knows the brokers %v, not %v", ids, want)
	}
	return nil
}

// whoLeads is the question for the controllers' leader.
func whoLeads() *kmsg.DescribeQuorumRequest {
	req := kmsg.NewPtrDescribeQuorumRequest()
	rt, rp := kmsg.NewDescribeQuorumRequestTopic(), kmsg.NewDescribeQuorumRequestTopicPartition()
	rt.Topic = "__cluster_metadata"
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// controller is the id of the controllers' leader, by the word of any node.
func (c *cluster) controller(ctx context.Context) (int32, error) {
	var errs []error
	for _, n := range c.up() {
		ctx, cancel := context.WithTimeout(ctx, askLimit)
		// A client may still be at work on a question that it was given up on.
		answer, err := n.ask.SeedBrokers()[0].Request(ctx, whoLeads())
		cancel()
		if err == nil {
			var leader int32
			if leader, err = leaderIn(answer.(*kmsg.DescribeQuorumResponse)); err == nil {
				return leader, nil
			}
		}
		errs = append(errs, fmt.Errorf("ask node %d for the controller: %w", n.index, err))
	}
	return -1, errors.Join(errs...)
}

func leaderIn(r *kmsg.DescribeQuorumResponse) (int32, error) {
	if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
		return -1, err
	}
	if len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		return -1, errors.New("no answer for the partition")
	}
	p := r.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
		return -1, err
	}
	if p.LeaderID < 1 {
		return -1, errors.New("there is none")
	}
	return p.LeaderID, nil
}

// leader is the id of the broker that leads a partition.
func (c *cluster) leader(ctx context.Context, topic string, partition int32) (int32, error) {
	found, err := c.admin.Metadata(ctx, topic)
	if err != nil {
		return -1, fmt.Errorf("leader of %s/%d: %w", topic, partition, err)
	}
	p, ok := found.Topics[topic].Partitions[partition]
	switch {
	case !ok:
		return -1, fmt.Errorf("leader of %s/%d: no such partition", topic, partition)
	case p.Leader < 1:
		return -1, fmt.Errorf("leader of %s/%d: there is none", topic, partition)
	}
	return p.Leader, nil
}

// inSync is nil once all replicas of the topics, all topics where none is given,
// are in sync.
func (c *cluster) inSync(ctx context.Context, topics ...string) error {
	found, err := c.admin.Metadata(ctx, topics...)
	if err != nil {
		return err
	}
	for _, t := range found.Topics {
		if t.Err != nil {
			return fmt.Errorf("topic %s: %w", t.Topic, t.Err)
		}
		for _, p := range t.Partitions {
			if len(p.ISR) < len(p.Replicas) {
				return fmt.Errorf("%s/%d: of the replicas %v only %v are in sync", t.Topic, p.Partition, p.Replicas, p.ISR)
			}
		}
	}
	return nil
}

// logs are the ends of the logs of all nodes.
func (c *cluster) logs() string {
	var b strings.Builder
	for _, n := range c.nodes {
		fmt.Fprintf(&b, "the log of node %d ends:\n%s\n", n.index, tailOf(n.log(), 4<<10))
	}
	return b.String()
}
