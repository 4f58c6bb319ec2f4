package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/message"
)

// Store makes messages durable.
type Store interface {
	// Append makes all messages durable as one group, all or none, and returns
	// the place of the first; the others follow with consecutive seqs.
	// Errors match message.ErrNotStored, ErrFull, ErrTooLarge or
	// ErrOutcomeUnknown; any other error is treated as ErrOutcomeUnknown.
	// ctx ending while the group is being written does not undo it: the error
	// is then ErrOutcomeUnknown.
	//
	// The gateway owns the memory of msgs, bytes included, and uses it again
	// for the next request: Append reads it only until it returns and keeps no
	// part of it. After ErrOutcomeUnknown the gateway leaves that memory alone,
	// so a write that is still under way may go on reading it.
	Append(ctx context.Context, msgs []message.Message) (message.Place, error)
}

// Tracker tells what became of stored messages.
type Tracker interface {
	// Await returns the outcome of n messages from first on, once all are
	// settled or ctx has ended (then with what is known; unsettled ones are
	// StateQueued).
	Await(ctx context.Context, first message.Place, n int) []message.Outcome
	// Locate tells what became of a receipt; message.ErrNotFound where the
	// lane does not hold it or no longer does.
	Locate(ctx context.Context, r message.Receipt) (message.Outcome, error)
	// Scan looks for a dedupe id through all kept lanes; ErrNotFound where it
	// is in none.
	Scan(ctx context.Context, id message.ID) (message.Receipt, message.Outcome, error)
}

// KeySource knows the idempotency keys of requests that earlier processes of the
// stamp have acknowledged.
type KeySource interface {
	// Keys hands out those that were accepted since a time, about newest
	// first. An error of yield ends it and is returned. Any other error says
	// that keys may be missing; those that were handed out are right.
	Keys(ctx context.Context, since time.Time, yield func(StoredKey) error) error
}

// StoredKey is the idempotency key of a request that is stored.
type StoredKey struct {
	// Hash is that of the key: Message.KeyHash. Digest identifies the request:
	// message.GroupDigest of its messages.
	Hash, Digest message.Hash
	// ID is the dedupe id of the first message, First its place.
	ID    message.ID
	First message.Place
	// Time is when the request was accepted: Message.Time.
	Time time.Time
}

// Observer is told how far each POST of messages has come, so that a drill can
// count the requests that are durable and not yet answered when it kills the
// process. Its methods are called from many goroutines and must not block.
type Observer interface {
	// RequestStarted: a POST of messages came in.
	RequestStarted()
	// Synced: its messages are durable, and no byte of the answer is written.
	Synced()
	// Answered: the handler has written the answer to the HTTP server, which
	// sends it when the handler returns, right after. synced says whether
	// Synced was called for this request.
	Answered(status int, synced bool)
}

// Identity says which stamp and machine answers.
type Identity struct {
	// Stamp is the name of the stamp, "onprem", "cloud-green", ….
	Stamp string
	// Region and Zone say where it runs; either may be empty.
	Region, Zone string
	// Hostname is the name of the machine or pod.
	Hostname string
	// Version is the version of the program.
	Version string
}

// Deps are the gateway's collaborators.
type Deps struct {
	// Store and Tracker are required.
	Store   Store
	Tracker Tracker
	// Keys is read by LoadKeys; nil where there are none.
	Keys KeySource
	// Relay is asked where gateway.relay.stamps names any; nil refuses them all.
	Relay RelayStore
	// Callers are asked who sends where gateway.auth is enabled, and required
	// then.
	Callers Callers
	// Identity is required; its Stamp must not be empty.
	Identity Identity
	// IPs are the machine's addresses, the one to show first. May be empty.
	IPs []string
	// Retain is how long forwarded messages can still be found; it stands in
	// the text of a 404. Zero leaves the time out.
	Retain time.Duration
	// Ready says why the stamp cannot take messages now, or nil; it decides
	// /healthz and must answer at once. A nil Ready is always ready.
	Ready func() error
	// Announce says how the stamp is, for /healthz, and must answer at once; Weight
	// and Maintenance are those of the options. Nil announces no more than these.
	Announce func() Announcement
	// Log is required.
	Log *slog.Logger
	// Registerer takes the gateway's metrics; nil registers none.
	Registerer prometheus.Registerer
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Observer may be nil.
	Observer Observer
}

func (d Deps) validate() error {
	var errs []error
	if d.Store == nil {
		errs = append(errs, errors.New("gateway: Deps.Store is nil"))
	}
	if d.Tracker == nil {
		errs = append(errs, errors.New("gateway: Deps.Tracker is nil"))
	}
	if d.Log == nil {
		errs = append(errs, errors.New("gateway: Deps.Log is nil"))
	}
	if d.Identity.Stamp == "" {
		errs = append(errs, errors.New("gateway: Deps.Identity.Stamp is empty"))
	}
	return errors.Join(errs...)
}
