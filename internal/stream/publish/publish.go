package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/auth"
	"postroad/internal/message"
)

// Message is what a client publishes.
type Message struct {
	// Principal is the name of the client.
	Principal string
	Topic     string
	// Key is empty for a message without one.
	Key   string
	Value []byte
	// Type is the value's: TypeJSON, TypeText or TypeBytes.
	Type string
	// TraceParent is the W3C trace context, where there is one.
	TraceParent string
}

// Types of values. A gateway reads some others as batches or events.
const (
	TypeJSON  = "application/json"
	TypeText  = "text/plain; charset=utf-8"
	TypeBytes = "application/octet-stream"
)

// Accepted is a message that is durable at a gateway.
type Accepted struct {
	// Receipt finds it again (GET /v1/messages/{receipt}), Stamp stored it.
	Receipt, Stamp string
	// Key is the idempotency key that was minted for it.
	Key string
	// Attempts is how many it took.
	Attempts int
}

// Deps are a publisher's collaborators.
type Deps struct {
	// Log is required.
	Log *slog.Logger
	// Registerer takes the metrics; nil registers none.
	Registerer prometheus.Registerer
	// Client talks to the gateways; nil is one of its own. It must not follow
	// redirects.
	Client *http.Client
	// mint makes idempotency keys; nil is message.MintKey.
	mint func() string
}

// Publisher publishes. It is safe for concurrent use.
type Publisher struct {
	opts     Options
	client   *http.Client
	gateways *gateways
	token    *auth.Secret // nil where no file is given
	slots    chan struct{}
	mint     func() string
	metrics  *metrics
	log      *slog.Logger
}

// New checks options and collaborators. It returns nil where no gateway is
// given: then nobody can publish, which a nil Publisher says.
func New(o Options, d Deps) (*Publisher, error) {
	err := o.Validate()
	if d.Log == nil {
		err = errors.Join(err, errors.New("publish: Deps.Log is nil"))
	}
	if err != nil || len(o.Gateways) == 0 {
		return nil, err
	}
	p := &Publisher{
		opts: o, client: d.Client, gateways: newGateways(o.Gateways, o.AttemptTimeout),
		slots: make(chan struct{}, o.Concurrent), mint: d.mint, metrics: newMetrics(), log: d.Log,
	}
	if o.TokenFile != "" {
		p.token = auth.NewSecret(o.TokenFile)
	}
	if p.client == nil {
		if p.client, err = newClient(o.CAFile); err != nil {
			return nil, err
		}
	}
	if p.mint == nil {
		p.mint = message.MintKey
	}
	return p, p.metrics.register(d.Registerer)
}

// Close gives up the connections that are kept for later messages.
func (p *Publisher) Close() {
	if p != nil {
		p.client.CloseIdleConnections()
	}
}

// Publish makes a message durable. It returns once a gateway has said so, or
// when its attempts or its time, or ctx, are at an end. Errors are *Error and
// match ErrDenied, ErrInvalid, ErrTooLarge, ErrUnavailable or ErrUnknown.
//
// One key is minted for the message, and every attempt carries it. Without that
// a message whose answer got lost would be another one at the next gateway, and
// readers would see it twice.
func (p *Publisher) Publish(ctx context.Context, m Message) (Accepted, error) {
	start := time.Now()
	a, err := p.publish(ctx, m)
	p.published(err, time.Since(start))
	return a, err
}

func (p *Publisher) publish(ctx context.Context, m Message) (Accepted, error) {
	if p == nil {
		return Accepted{}, &Error{Kind: ErrUnavailable, Detail: "this node has no gateway to publish to"}
	}
	if err := m.check(); err != nil {
		return Accepted{}, err
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		return Accepted{}, &Error{Kind: ErrUnavailable, Detail: fmt.Sprintf("%d messages are under way already", p.opts.Concurrent)}
	}
	ctx, cancel := context.WithTimeout(ctx, p.opts.GiveUp)
	defer cancel()
	t := &try{p: p, m: m, key: p.mint(), round: map[*peer]bool{}}
	return t.run(ctx)
}

// check refuses what no gateway takes, or would take for something else.
func (m Message) check() error {
	switch {
	case !message.ValidTopic(m.Topic):
		return &Error{Kind: ErrInvalid, Detail: fmt.Sprintf("topic %q is none", m.Topic)}
	case m.Type != TypeJSON && m.Type != TypeText && m.Type != TypeBytes:
		return &Error{Kind: ErrInvalid, Detail: fmt.Sprintf("values of type %q are not published", m.Type)}
	}
	if err := auth.CheckName(m.Principal); err != nil {
		return &Error{Kind: ErrInvalid, Detail: "the client's name: " + err.Error()}
	}
	return nil
}

// try is one message on its way.
type try struct {
	p   *Publisher
	m   Message
	key string
	// attempts were begun so far; unknown says that one of them may have been
	// stored.
	attempts int
	unknown  bool
	// round are the gateways that had their turn since the last pause.
	round  map[*peer]bool
	pauses int
	last   *Error
}

// run makes attempts until one counts.
func (t *try) run(ctx context.Context) (Accepted, error) {
	for {
		g := t.p.gateways.pick(t.round)
		if g == nil { // all have had their turn
			if !t.pause(ctx) {
				return Accepted{}, t.gaveUp(ctx)
			}
			continue
		}
		t.round[g] = true
		t.attempts++
		a, err := t.attempt(ctx, g)
		if err == nil || err.final { // if final the gateway is well: it is the message that is not
			if g.worked() {
				t.p.log.Info("gateway takes messages again", "gateway", g.url)
			}
		}
		if err == nil {
			return a, nil
		}
		t.last = err
		t.unknown = t.unknown || errors.Is(err, ErrUnknown)
		if err.final {
			return Accepted{}, t.gaveUp(ctx)
		}
		if g.failed(err.after, ctx.Err() == nil) {
			t.p.log.Warn("gateway takes no messages, others go first", "gateway", g.url, "status", err.Status, "err", err)
		}
		if ctx.Err() != nil || t.attempts >= t.p.opts.Attempts {
			return Accepted{}, t.gaveUp(ctx)
		}
	}
}

// Pauses between two rounds of all gateways.
const firstPause, longestPause = 100 * time.Millisecond, 2 * time.Second

// pause waits before the gateways get another turn, as long as one of them asked
// for, and not all callers alike. It reports whether there is time left.
func (t *try) pause(ctx context.Context) bool {
	wait := min(firstPause<<min(t.pauses, 10), longestPause)
	t.pauses++
	wait = wait/2 + rand.N(wait)
	if rest := t.p.gateways.rest(); rest > wait {
		wait = rest + rand.N(firstPause)
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		clear(t.round)
		return true
	}
}

// gaveUp is what is known of a message that was not accepted. One attempt whose
// outcome is unknown makes that of the message unknown, whatever a later one was
// told: the first may be stored all the same.
func (t *try) gaveUp(ctx context.Context) *Error {
	e := &Error{Kind: ErrUnavailable, Detail: "no gateway was asked", Key: t.key, Attempts: t.attempts}
	if t.last != nil {
		e.Kind, e.Detail, e.Status, e.Type = t.last.Kind, t.last.Detail, t.last.Status, t.last.Type
	} else if err := context.Cause(ctx); err != nil {
		e.Detail = err.Error()
	}
	if t.unknown {
		e.Kind = ErrUnknown
	}
	return e
}

// number is what the header Postroad-Attempt says.
func (t *try) number() string { return fmt.Sprint(min(t.attempts, 65535)) }

// trimmed is an address without the slash at its end.
func trimmed(base string) string { return strings.TrimRight(base, "/") }
