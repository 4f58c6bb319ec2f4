package kafka

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kslog"
)

func codecs() map[string]kgo.CompressionCodec {
	return map[string]kgo.CompressionCodec{
		"none":   kgo.NoCompression(),
		"gzip":   kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(),
		"lz4":    kgo.Lz4Compression(),
		"zstd":   kgo.ZstdCompression(),
	}
}

// maxBackoff bounds how long a client waits between two attempts, so that
// draining goes on within a second of the hub's return.
const maxBackoff = time.Second

// common are the settings of every client. may, if not nil, is asked before
// each write.
func (l *link) common(log *slog.Logger, refused func(string, int32), may func() error) []kgo.Opt {
	o, a := l.opts, l.current()
	opts := append(o.dialectOpts(),
		kgo.SeedBrokers(l.brokers(a)...),
		kgo.Dialer(l.dial(may)),
		kgo.WithHooks(l),
		kgo.ClientID(o.ClientID),
		kgo.WithLogger(newQuietLogger(log, refused)),
		kgo.RequestTimeoutOverhead(o.RequestTimeout),
		kgo.RetryBackoffFn(backoff),
		kgo.MetadataMinAge(250*time.Millisecond),
		kgo.DisableClientMetrics(), // would hold up Close
	)
	if a.mechanism != "" {
		opts = append(opts, kgo.SASL(mechanism{l}))
	}
	return opts
}

func backoff(fails int) time.Duration {
	d := 50 * time.Millisecond << min(max(fails-1, 0), 5)
	return jitter(min(d, maxBackoff))
}

// quietLogger hands franz-go's warnings to slog through kslog, each text at
// most once in quietFor: an absent hub says the same thing many times a second,
// and the forwarder's breaker says it once.
type quietLogger struct {
	next kgo.Logger
	// refused, if not nil, is called before the records of a refused batch,
	// and all behind it in the partition, are given back.
	refused func(topic string, partition int32)

	mu   sync.Mutex
	last map[string]time.Time // guarded by mu; texts are constants of franz-go
	lost map[string]int       // guarded by mu
}

const quietFor = 30 * time.Second

func newQuietLogger(log *slog.Logger, refused func(string, int32)) kgo.Logger {
	return &quietLogger{next: kslog.New(log), refused: refused, last: map[string]time.Time{}, lost: map[string]int{}}
}

// Level implements kgo.Logger: what franz-go calls informative, such as each
// connection that fails, is for its own developers. A Sink hears it for the
// one line that it needs, see Log.
func (l *quietLogger) Level() kgo.LogLevel {
	if l.refused != nil {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

// refusedText is what franz-go logs, on the goroutine that handles the answer
// and with the partition locked, when the hub refuses a batch. Nothing else
// tells us before the partition takes new records again; the callbacks of the
// records come later, and what is given meanwhile would overtake them.
// TestOrderOverErrors fails if the text should change.
const refusedText = "batch in a produce request failed"

// Log implements kgo.Logger.
func (l *quietLogger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	if msg == refusedText && l.refused != nil {
		l.tellRefused(keyvals)
	}
	if level > kgo.LogLevelWarn || !l.admit(msg, &keyvals) {
		return
	}
	l.next.Log(level, msg, keyvals...)
}

func (l *quietLogger) tellRefused(keyvals []any) {
	var topic string
	partition := int32(-1)
	for i := 0; i+1 < len(keyvals); i += 2 {
		switch keyvals[i] {
		case "topic":
			topic, _ = keyvals[i+1].(string)
		case "partition":
			partition, _ = keyvals[i+1].(int32)
		}
	}
	if topic != "" && partition >= 0 {
		l.refused(topic, partition)
	}
}

// admit reports whether the text may be written again, and adds how often it
// was left out.
func (l *quietLogger) admit(msg string, keyvals *[]any) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.last[msg]) < quietFor {
		l.lost[msg]++
		return false
	}
	if len(l.last) < 1000 {
		l.last[msg] = now
	}
	if left := l.lost[msg]; left > 0 {
		*keyvals = append(*keyvals, "left_out", left)
		delete(l.lost, msg)
	}
	return true
}

// healthHook turns what happens on connections into calls of report: nil for
// an answer, else why there was none. Retries without limit would hide that
// the hub is away; here it shows.
type healthHook struct{ report func(error) }

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (h healthHook) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err != nil {
		h.report(err)
	}
}

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (h healthHook) OnBrokerE2E(_ kgo.BrokerMetadata, _ int16, e2e kgo.BrokerE2E) {
	h.report(e2e.Err())
}

// sleep waits for d or until ctx ends, then with its error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
