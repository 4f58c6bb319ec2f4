package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// link is how the clients of a Sink or Reader reach the hub. The files that say
// it are read again for each connection that is made, so a new connection
// always uses what they hold now; where they cannot be read, what they held
// before is used, and the log says so. Connections that exist live on.
type link struct {
	given  Options // as they were set
	opts   Options // with what files and the dialect say
	log    *slog.Logger
	tokens *tokens
	every  time.Duration // between two looks of watch

	mu      sync.Mutex
	now     *access // guarded by mu
	trouble string  // guarded by mu: what is wrong with the files, as it was logged
	refusal error   // guarded by mu: why the hub refused the last connection
}

// lookEvery is how often files are looked at while no connection is made: a
// mistake in a new one is to show when it is made, and not at the next
// connection, days later. Contents are compared, because a mounted secret is
// changed by a symbolic link far above it.
const lookEvery = 10 * time.Second

// newLink reads the files. It connects to nothing.
func newLink(o Options, log *slog.Logger) (*link, error) {
	if o.Dialect == dialectPostroad {
		return nil, errors.New("hub: dialect postroad is no hub of Kafka's protocol")
	}
	a, err := o.readAccess()
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	l := &link{given: o, log: log, now: a, tokens: &tokens{timeout: o.RequestTimeout, fetch: fetchToken}, every: lookEvery}
	o.Brokers = a.brokers
	def := DefaultOptions()
	if o.ClientID == def.ClientID && a.clientID != "" {
		o.ClientID = a.clientID
	}
	if o.Compression == def.Compression && a.compression != "" {
		o.Compression = a.compression
	}
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("hub, with what its files say: %w", err)
	}
	l.opts = o.forDialect()
	for _, r := range a.remarks {
		log.Warn("remark on how the hub is reached", "remark", r)
	}
	return l, nil
}

// current returns what was read last.
func (l *link) current() *access {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// look returns what the files say now.
func (l *link) look() *access {
	was := l.current()
	if was.same() {
		l.troubled("")
		return was
	}
	a, err := l.given.readAccess()
	if err != nil {
		if l.troubled(err.Error()) {
			l.log.Warn("files of the hub's settings cannot be used, going on with what they held before", "err", err)
		}
		return was
	}
	l.troubled("")
	l.mu.Lock()
	l.now = a
	l.mu.Unlock()
	l.log.Info("files of the hub's settings changed", "files", slices.Sorted(maps.Keys(a.files)))
	return a
}

// troubled notes what is wrong with the files, and reports whether that is new.
func (l *link) troubled(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed := l.trouble != text
	l.trouble = text
	return changed
}

// brokers are the seeds, as the client takes them.
func (l *link) brokers(a *access) []string {
	o := l.opts
	o.Brokers = a.brokers
	return o.forDialect().Brokers
}

// watch looks at the files until ctx ends, keeps the token fresh, and calls
// moved where the brokers are others.
func (l *link) watch(ctx context.Context, moved func(brokers []string)) {
	t := time.NewTicker(l.every)
	defer t.Stop()
	said := "" // of the token, while it cannot be renewed
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		was := l.current()
		a := l.look()
		if !slices.Equal(was.brokers, a.brokers) {
			moved(l.brokers(a))
		}
		if l.tokens.kept(a.oauth) != nil { // somebody connects by tokens
			_, _, err := l.tokens.get(ctx, a)
			switch {
			case err == nil:
				said = ""
			case ctx.Err() == nil && said != err.Error():
				said = err.Error()
				l.log.Warn("cannot renew the token for the hub", "err", err)
			}
		}
	}
}

// changes reports whether there is anything for watch to see.
func (l *link) changes() bool {
	return len(l.current().files) > 0 || l.current().mechanism == mechanismOAuth
}

// dial makes connections: TCP, in it the proxy's tunnel, in it TLS. may, if not
// nil, is asked before each write at the TCP connection, see gatedConn.
func (l *link) dial(may func() error) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, l.opts.DialTimeout)
		defer cancel()
		a := l.look()
		target := addr
		if a.proxy != nil {
			target = a.proxy.addr
		}
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, network, target)
		if err != nil {
			return nil, err
		}
		if may != nil {
			conn = gatedConn{conn, may}
		}
		return wrapped(ctx, conn, a, addr)
	}
}

// wrapped lays the proxy's tunnel and TLS over a TCP connection, within ctx. On
// an error the connection is closed.
func wrapped(ctx context.Context, tcp net.Conn, a *access, addr string) (net.Conn, error) {
	// A connection that cannot be given a deadline is closed, and ends as well.
	stop := context.AfterFunc(ctx, func() {
		if tcp.SetDeadline(time.Unix(1, 0)) != nil {
			tcp.Close()
		}
	})
	conn, err := layers(ctx, tcp, a, addr)
	if !stop() && err == nil {
		err = ctx.Err() // the deadline is set, or about to be
	}
	if err != nil {
		tcp.Close()
		return nil, err
	}
	return conn, nil
}

func layers(ctx context.Context, conn net.Conn, a *access, addr string) (_ net.Conn, err error) {
	if a.proxy != nil {
		if conn, err = a.tunnel(ctx, conn, addr); err != nil {
			// As of any dial that fails: the client tries other brokers.
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("by proxy %s: %w", a.proxy.addr, err)}
		}
	}
	config := a.tlsFor(addr)
	if config == nil {
		return conn, nil
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS with %s: %w", addr, err)
	}
	return secured, nil
}

// OnBrokerConnect implements kgo.HookBrokerConnect. A refusal is remembered
// until a connection succeeds: those that exist may answer for long, and hide
// that no new one can be made.
func (l *link) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if errors.Is(err, kerr.SaslAuthenticationFailed) {
		l.tokens.refuseAll()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.refusal = nil
	case Classify(err) == ClassHold:
		l.refusal = err
	}
}

// refused returns why the hub refused the last connection that was tried, or
// nil.
func (l *link) refused() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refusal
}

// recheck asks whether new connections are still refused, where the last was. A
// client's old connections do not tell. It is an error only where every broker
// refuses.
func (l *link) recheck(ctx context.Context, client *kgo.Client) error {
	if l.refused() == nil {
		return nil
	}
	err := client.EnsureProduceConnectionIsOpen(ctx)
	var each interface{ Unwrap() []error }
	if errors.As(err, &each) && len(each.Unwrap()) < len(client.DiscoveredBrokers()) {
		return nil
	}
	return err
}
