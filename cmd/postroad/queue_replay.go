package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"postroad/internal/message"
	"postroad/internal/queue"
)

type queueReplay struct {
	queueDir
	writeFlags

	Topic  string `help:"Only messages of this topic." short:"t"`
	Since  string `help:"Only messages accepted at or after this: a time such as 2026-01-02T15:04:05Z, or a duration ago such as 2h." placeholder:"WHEN"`
	Until  string `help:"Only messages accepted before this." placeholder:"WHEN"`
	Lane   string `help:"Only messages of this lane." placeholder:"LANE"`
	AsNew  bool   `help:"As new messages, with ids of their own, that every reader shows."`
	DryRun bool   `help:"Say what would be replayed, and do nothing." short:"n"`
	JSON   bool   `help:"One JSON object with what was done."`
}

// Help says what a replay is for.
func (c *queueReplay) Help() string {
	return `For a hub that lost data: what is still kept here and was forwarded is appended to a lane of this command's own, and a forwarder sends it once more. The records carry the identities they had and are marked as a replay: readers show them as history where the hub no longer holds the original, and not to those who follow live.`
}

// Run replays.
func (c *queueReplay) Run(ctx context.Context, std streams) (err error) {
	f, err := c.filter(time.Now())
	if err != nil {
		return err
	}
	v, err := c.inspect()
	if err != nil {
		return err
	}
	to := c.store(c.Dir, std)
	defer func() { err = errors.Join(err, to.close()) }()
	appended := uint64(0)
	r, err := v.Replay(ctx, f, c.AsNew, func(msgs []message.Message) error {
		if c.DryRun {
			return nil
		}
		if _, err := to.Append(ctx, msgs); err != nil {
			return fmt.Errorf("append: %w", err)
		}
		appended += uint64(len(msgs))
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w; %s appended before, and running it again appends the rest", err, messages(int64(appended)))
	}
	if c.JSON {
		return printLine(std.out, struct {
			queue.Replayed
			DryRun bool `json:"dry_run,omitempty"`
		}{r, c.DryRun})
	}
	fmt.Fprintln(std.out, replayText(r, c.DryRun))
	return nil
}

func (c *queueReplay) filter(now time.Time) (f queue.ReplayFilter, err error) {
	f = queue.ReplayFilter{Topic: c.Topic, Lane: c.Lane}
	if c.Topic != "" && !message.ValidTopic(c.Topic) {
		return f, usagef("--topic: %q: must be 1 to %d of A-Z, a-z, 0-9, '.', '_' and '-'", c.Topic, message.MaxTopicLen)
	}
	if c.Lane != "" && !message.ValidLane(c.Lane) {
		return f, usagef("--lane: %q: not a lane id", c.Lane)
	}
	if f.Since, err = pointInTime("--since", c.Since, now); err != nil {
		return f, err
	}
	f.Until, err = pointInTime("--until", c.Until, now)
	return f, err
}

// pointInTime reads a time, or a duration before now; zero where the text is empty.
func pointInTime(flag, where string, now time.Time) (time.Time, error) {
	if where == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(where); err == nil && ago >= 0 {
		return now.Add(-ago).UTC(), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, where, now.Location()); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, usagef("%s: %q: must be a duration such as 15m, or a time such as %s", flag, where, now.UTC().Format(time.RFC3339))
}

func replayText(r queue.Replayed, dry bool) string {
	did := "replayed "
	if dry {
		did = "would replay "
	}
	line := did + messages(int64(r.Messages)) + ", " + size(r.Bytes)
	if r.Messages > 0 {
		var topics []string
		for _, name := range slices.Sorted(maps.Keys(r.Topics)) {
			topics = append(topics, fmt.Sprintf("%s of %s", count(int64(r.Topics[name])), name))
		}
		line += ": " + strings.Join(topics, ", ") + "; accepted " + when(r.Oldest) + " to " + when(r.Newest)
	}
	if r.Waiting > 0 {
		line += fmt.Sprintf("\n%s not, since copies of an earlier replay still wait", messages(int64(r.Waiting)))
	}
	return line
}
