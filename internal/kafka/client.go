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

// common are the settings of every client.
func (o Options) common(log *slog.Logger) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(o.Brokers...),
		kgo.ClientID(o.ClientID),
		kgo.WithLogger(newQuietLogger(log)),
		kgo.DialTimeout(o.DialTimeout),
		kgo.RequestTimeoutOverhead(o.RequestTimeout),
		kgo.RetryBackoffFn(backoff),
		// Seen within this time: a new partition, a leader that moved, a topic
		// that was created.
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.MetadataMaxAge(time.Minute),
		kgo.DisableClientMetrics(), // would hold up Close
	}
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
	mu   sync.Mutex
	last map[string]time.Time // guarded by mu; texts are constants of franz-go
	lost map[string]int       // guarded by mu
}

const quietFor = 30 * time.Second

func newQuietLogger(log *slog.Logger) kgo.Logger {
	return &quietLogger{next: kslog.New(log), last: map[string]time.Time{}, lost: map[string]int{}}
}

// Level implements kgo.Logger: what franz-go calls informative, such as each
// connection that fails, is for its own developers.
func (l *quietLogger) Level() kgo.LogLevel { return min(l.next.Level(), kgo.LogLevelWarn) }

// Log implements kgo.Logger.
func (l *quietLogger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	if level > l.Level() {
		return
	}
	l.mu.Lock()
	if now := time.Now(); now.Sub(l.last[msg]) < quietFor {
		l.lost[msg]++
		l.mu.Unlock()
		return
	} else if len(l.last) < 1000 {
		l.last[msg] = now
	}
	left := l.lost[msg]
	delete(l.lost, msg)
	l.mu.Unlock()
	if left > 0 {
		keyvals = append(keyvals, "left_out", left)
	}
	l.next.Log(level, msg, keyvals...)
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
