package publish

import (
	"errors"
	"fmt"
	"time"
)

// What became of a message that was not accepted; each error of Publish matches
// one.
var (
	// ErrDenied: the client may not publish there. Not stored.
	ErrDenied = errors.New("publishing is denied")
	// ErrInvalid: a gateway will not take the message as it is. Not stored.
	ErrInvalid = errors.New("the message is refused")
	// ErrTooLarge: the message is over a limit. Not stored.
	ErrTooLarge = errors.New("the message is too large")
	// ErrUnavailable: no gateway takes it now. Surely not stored.
	ErrUnavailable = errors.New("publishing is not available now")
	// ErrUnknown: it may be stored. Sent again under Error.Key, readers see it
	// once.
	ErrUnknown = errors.New("whether the message is stored is unknown")
)

// Error is why a message was not accepted.
type Error struct {
	// Kind is one of the sentinels above.
	Kind error
	// Detail is what a person should know; a gateway's own words where it gave
	// any.
	Detail string
	// Key is the idempotency key that all attempts had; empty where there was
	// none.
	Key string
	// Status and Type are those of the gateway's last answer, 0 and "" without
	// one.
	Status int
	Type   string
	// Attempts is how many were made.
	Attempts int

	// final says that no other gateway would answer otherwise, after when this
	// one wants to be asked again.
	final bool
	after time.Duration
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Kind.Error()
	}
	return fmt.Sprintf("%v: %s", e.Kind, e.Detail)
}

// Unwrap returns Kind.
func (e *Error) Unwrap() error { return e.Kind }
