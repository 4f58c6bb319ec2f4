package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"postroad/internal/config"
	"postroad/internal/kafka"
	"postroad/internal/message"
	"postroad/internal/telemetry"
)

type tailCommand struct {
	settingsFlags

	Topic string `arg:"" optional:"" help:"Topic to follow (${default})." default:"messages"`

	Hub      []string `help:"Some brokers of the hub (127.0.0.1:9092); they go before what --config and --set say in hub.brokers." env:"POSTROAD_HUB_BROKERS" placeholder:"HOST:PORT"`
	From     string   `help:"Where to begin: beginning, end, a duration ago such as 15m, or a time such as 2026-01-02T15:04:05Z (by default end, with --until-end beginning)." placeholder:"WHERE"`
	Key      *string  `help:"Show only messages with this key." short:"k"`
	Count    int      `help:"Stop after this many messages." short:"n" placeholder:"N"`
	UntilEnd bool     `help:"Stop where the topic ended when the command began."`
	JSON     bool     `help:"One JSON object a line, with everything."`
}

// Help says what is shown once.
func (c *tailCommand) Help() string {
	return `Shows each message once, although the topic itself may hold a message twice: by the same rule, and the same look-back, as every reader of Postroad's. Messages that others wrote to the topic are shown as they are. Where the hub wants more than an address (a password, TLS, dialect eventhubs), --config takes the settings of the stamp, of which the section hub counts. What a replay appended is shown with --from beginning or a time, where the topic no longer holds the message that it is a copy of, and never while it arrives.`
}

// dialTimeout is how long the first connection to the hub may take.
const dialTimeout = 5 * time.Second

// errEnough ends following after --count messages.
var errEnough = errors.New("enough messages")

// Run follows a topic.
func (c *tailCommand) Run(ctx context.Context, std streams) error {
	from, err := c.from(time.Now())
	if err != nil {
		return err
	}
	if c.Count < 0 {
		return usagef("--count: %d: must not be negative", c.Count)
	}
	if !message.ValidTopic(c.Topic) {
		return usagef("topic %q: must be 1 to %d of A-Z, a-z, 0-9, '.', '_' and '-'", c.Topic, message.MaxTopicLen)
	}
	opts, err := c.hub()
	if err != nil {
		return err
	}
	log, err := telemetry.NewLogger(std.err, telemetry.LogOptions{Level: "warn", Format: "auto"})
	if err != nil {
		return err
	}
	if err := reach(ctx, opts); err != nil {
		return err
	}
	return c.follow(ctx, std, opts, from, log)
}

// hub is how the hub is reached: by default on this machine, without security.
func (c *tailCommand) hub() (kafka.Options, error) {
	opts := kafka.DefaultOptions()
	told := func(entry string) bool { return strings.HasPrefix(entry, config.EnvPrefix+"HUB_") }
	if c.Config != "" || len(c.Set) > 0 || slices.ContainsFunc(os.Environ(), told) {
		// A stamp must have a name and a queue, and here they count for nothing.
		settings, _, err := c.loadStamp("stamp.name=tail", "queue.dir=none")
		if err != nil {
			return opts, err
		}
		opts = settings.Hub
	}
	if len(c.Hub) > 0 {
		opts.Brokers = c.Hub
	}
	if err := opts.Validate(); err != nil {
		return opts, usagef("--hub: %w", err)
	}
	return opts, nil
}

func (c *tailCommand) follow(ctx context.Context, std streams, opts kafka.Options, from kafka.From, log *slog.Logger) error {
	reader, err := kafka.NewReader(opts, kafka.Deps{Log: log})
	if err != nil {
		return fmt.Errorf("read the hub: %w", err)
	}
	out := newLineWriter(std.out)
	show := c.shower(std.out)
	shown := 0
	err = reader.Follow(ctx, kafka.FollowOptions{Topic: c.Topic, From: from, UntilEnd: c.UntilEnd}, func(r kafka.Record) error {
		if c.Key != nil && (r.Key == nil || string(r.Key) != *c.Key) {
			return nil
		}
		line, err := show(&r)
		if err != nil {
			return err
		}
		if err := out.writeLine(line); err != nil {
			return fmt.Errorf("show messages: %w", err)
		}
		if shown++; shown == c.Count {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return cmp.Or(err, out.close())
}

// shower returns how a message becomes a line.
func (c *tailCommand) shower(w io.Writer) func(*kafka.Record) ([]byte, error) {
	if c.JSON {
		return recordJSON
	}
	view := recordView{terminal: terminalOf(w)}
	return func(r *kafka.Record) ([]byte, error) { return []byte(view.line(r, time.Now())), nil }
}

// from reads --from.
func (c *tailCommand) from(now time.Time) (kafka.From, error) {
	where := c.From
	if where == "" {
		where = "end"
		if c.UntilEnd {
			where = "beginning"
		}
	}
	switch where {
	case "beginning":
		return kafka.FromBeginning(), nil
	case "end":
		return kafka.FromEnd(), nil
	}
	if ago, err := time.ParseDuration(where); err == nil && ago >= 0 {
		return kafka.FromTime(now.Add(-ago).UTC()), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, where, now.Location()); err == nil {
			return kafka.FromTime(at.UTC()), nil
		}
	}
	return kafka.From{}, usagef("--from: %q: must be beginning, end, a duration such as 15m, or a time such as %s", where, now.UTC().Format(time.RFC3339))
}

// reach fails where no broker takes a connection. Later on the hub may go away
// and come back; at the beginning an address is more likely wrong. Where more than
// addresses says how the hub is reached, nothing is tried.
func reach(ctx context.Context, o kafka.Options) error {
	if o.Dialect == "eventhubs" || o.Proxy != "" || o.ClientPropertiesFile != "" {
		return nil
	}
	var first error
	for _, b := range o.Brokers {
		d := net.Dialer{Timeout: dialTimeout}
		conn, err := d.DialContext(ctx, "tcp", b)
		if err == nil {
			return conn.Close()
		}
		if first == nil {
			first = err
		}
	}
	return fmt.Errorf("reach the hub at %s: %w (--hub names another)", strings.Join(o.Brokers, ","), first)
}

// flushEvery is how long a line may stay unwritten while more come in.
const flushEvery = 100 * time.Millisecond

// lineWriter writes lines through a buffer, and what is in it within
// flushEvery, so that a full topic goes fast and a quiet one shows at once.
type lineWriter struct {
	mu    sync.Mutex
	buf   *bufio.Writer // guarded by mu
	timer *time.Timer   // guarded by mu; set while the buffer holds something
	err   error         // guarded by mu
}

func newLineWriter(w io.Writer) *lineWriter {
	return &lineWriter{buf: bufio.NewWriterSize(w, 64<<10)}
}

func (l *lineWriter) writeLine(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if _, err := l.buf.Write(append(line, '\n')); err != nil {
		return err
	}
	if l.timer == nil {
		l.timer = time.AfterFunc(flushEvery, l.flush)
	}
	return nil
}

func (l *lineWriter) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = nil
	if err := l.buf.Flush(); err != nil {
		l.err = err
	}
}

// close writes what is left.
func (l *lineWriter) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	return cmp.Or(l.err, l.buf.Flush())
}
