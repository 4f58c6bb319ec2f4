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
	"github.com/twmb/franz-go/pkg/kmsg"

	"postroad/internal/message"
)

// Describe says what a topic is now. The error matches message.ErrNotFound where
// the hub has no such topic; others have a class.
func (f *Feed) Describe(ctx context.Context, topic string) (FeedTopic, error) {
	var t FeedTopic
	err := f.try(ctx, func() (err error) {
		t, err = f.describe(ctx, topic)
		return err
	})
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return FeedTopic{}, fmt.Errorf("topic %q: %w", topic, message.ErrNotFound)
	case err != nil:
		return FeedTopic{}, f.link.classified(fmt.Sprintf("describe topic %q", topic), err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// Who follows a topic may ask what it is now, and must not by that turn scans
	// for those who still follow the old one into scans of the new one.
	if _, known := f.topics[topic]; !known || f.pinned[topic] == 0 {
		f.topics[topic] = t
	}
	return t, nil
}

// pin keeps what is remembered of a topic until it is called back.
func (f *Feed) pin(topic string) (release func()) {
	add := func(n int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.pinned[topic] += n; f.pinned[topic] == 0 {
			delete(f.pinned, topic)
		}
	}
	add(1)
	return func() { add(-1) }
}

func (f *Feed) describe(ctx context.Context, topic string) (FeedTopic, error) {
	found, cluster, err := topicIn(ctx, f.client, topic)
	if err != nil {
		return FeedTopic{}, err
	}
	t := FeedTopic{Partitions: int32(len(found.Partitions)), Cluster: cluster, ID: found.TopicID}
	t.Compacted, err = f.compacted(ctx, topic)
	return t, err
}

// compacted asks for the topic's cleanup.policy. Not every user may: then the
// topic passes for one that is not, and the log says so once.
func (f *Feed) compacted(ctx context.Context, topic string) (bool, error) {
	policy, err := topicSetting(ctx, f.client, topic, "cleanup.policy")
	switch {
	case err == nil:
		return strings.Contains(policy, "compact"), nil
	case ctx.Err() != nil, Classify(err) == ClassRetry && f.tellsSettings(ctx):
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.silent[topic] {
		f.silent[topic] = true
		f.deps.Log.Warn("the hub does not tell whether the topic is compacted, taking it for one that is not", "topic", topic, "err", err)
	}
	return false, nil
}

// tellsSettings reports whether the hub may know the question for settings at all:
// only where all brokers that answer say that they do not, it does not.
func (f *Feed) tellsSettings(ctx context.Context) bool {
	all, err := kadm.NewClient(f.client).ApiVersions(ctx)
	if err != nil || len(all) == 0 {
		return true
	}
	for _, broker := range all {
		if _, known := broker.KeyMaxVersion(int16(kmsg.DescribeConfigs)); known || broker.Err != nil {
			return true
		}
	}
	return false
}

// described is the topic as Describe found it last, which is called where it was
// not yet.
func (f *Feed) described(ctx context.Context, topic string) (FeedTopic, error) {
	f.mu.Lock()
	t, ok := f.topics[topic]
	f.mu.Unlock()
	if ok {
		return t, nil
	}
	return f.Describe(ctx, topic)
}

// same reports whether what the hub says of a topic now is of t. What one side
// does not say does not count.
func (t *FeedTopic) same(found *kmsg.MetadataResponseTopic, cluster string) error {
	none := [16]byte{}
	switch {
	case t.ID != none && found.TopicID != none && t.ID != found.TopicID:
		return fmt.Errorf("%w: it was made anew", ErrChanged)
	case t.Cluster != "" && cluster != "" && t.Cluster != cluster:
		return fmt.Errorf("%w: the cluster is another", ErrChanged)
	case int(t.Partitions) != len(found.Partitions):
		return fmt.Errorf("%w: it has %d partitions instead of %d", ErrChanged, len(found.Partitions), t.Partitions)
	}
	return nil
}

// Bounds returns, by partition, the first offset that the topic still holds and
// the end that readers of committed records see, asked of the hub now. The error
// matches ErrChanged where the topic is not the one that Describe found.
func (f *Feed) Bounds(ctx context.Context, topic string) ([]FeedBounds, error) {
	var out []FeedBounds
	err := f.asked(ctx, "ask for the bounds of", topic, func(t FeedTopic) (err error) {
		out, err = boundsOf(ctx, f.client, topic, t.Partitions, true)
		return err
	})
	return out, err
}

// OffsetsAt returns, by partition, the first offset whose record was produced at
// or after t, or the partition's end for readers of committed records.
func (f *Feed) OffsetsAt(ctx context.Context, topic string, at time.Time) ([]int64, error) {
	var out []int64
	err := f.asked(ctx, "look up a time in", topic, func(t FeedTopic) error {
		bounds, err := boundsOf(ctx, f.client, topic, t.Partitions, true)
		if err != nil {
			return err
		}
		times, err := kadm.NewClient(f.client).ListOffsetsAfterMilli(ctx, at.UnixMilli(), topic)
		if err != nil {
			return err
		}
		out = make([]int64, len(bounds))
		for p, b := range bounds {
			listed, ok := times.Lookup(topic, int32(p))
			switch {
			case !ok:
				return kerr.LeaderNotAvailable // the count is ahead of the offsets
			case listed.Err != nil:
				return fmt.Errorf("partition %d: %w", p, listed.Err)
			case listed.Offset < 0:
				listed.Offset = b.End
			}
			out[p] = min(max(listed.Offset, b.Start), b.End)
		}
		return nil
	})
	return out, err
}

// asked calls ask with the topic that Describe found, once the hub has said that
// it is still that.
func (f *Feed) asked(ctx context.Context, act, topic string, ask func(FeedTopic) error) error {
	t, err := f.described(ctx, topic)
	if err != nil {
		return err
	}
	err = f.try(ctx, func() error {
		found, cluster, err := topicIn(ctx, f.client, topic)
		if err == nil {
			err = t.same(&found, cluster)
		}
		if err != nil {
			return err
		}
		return ask(t)
	})
	if errors.Is(err, ErrChanged) {
		return fmt.Errorf("%s topic %q: %w", act, topic, err)
	}
	return f.link.classified(fmt.Sprintf("%s topic %q", act, topic), err)
}

// try calls ask until it succeeds, fails with what does not pass, or has failed
// for Options.RequestTimeout: an election is no answer.
func (f *Feed) try(ctx context.Context, ask func() error) error {
	began := time.Now()
	for fails := 1; ; fails++ {
		err := ask()
		if err == nil || errors.Is(err, ErrChanged) || Classify(err) != ClassRetry ||
			ctx.Err() != nil || time.Since(began) > f.opts.RequestTimeout {
			return err
		}
		if e := sleep(ctx, backoff(fails)); e != nil {
			return err
		}
	}
}

// boundsOf asks for the bounds of all partitions, with the end for readers of
// committed records, or else the end of all.
func boundsOf(ctx context.Context, client *kgo.Client, topic string, partitions int32, committed bool) ([]FeedBounds, error) {
	adm := kadm.NewClient(client)
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	list := adm.ListEndOffsets
	if committed {
		list = adm.ListCommittedOffsets
	}
	ends, err := list(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make([]FeedBounds, partitions)
	for p := range out {
		start, ok1 := starts.Lookup(topic, int32(p))
		end, ok2 := ends.Lookup(topic, int32(p))
		if !ok1 || !ok2 {
			return nil, kerr.LeaderNotAvailable // the count is ahead of the offsets
		}
		if err := errors.Join(start.Err, end.Err); err != nil {
			return nil, fmt.Errorf("partition %d: %w", p, err)
		}
		out[p] = FeedBounds{Start: start.Offset, End: max(start.Offset, end.Offset)}
	}
	return out, nil
}
