package message

import "errors"

// Sentinels by which every layer classifies a failure to accept a message.
// One table maps them to HTTP problem types; errors.Is finds them under any
// wrapping.
var (
	// ErrInvalid: the caller's input is wrong; the text says what and where.
	ErrInvalid = errors.New("invalid")
	// ErrTooLarge: over a limit that the text names.
	ErrTooLarge = errors.New("too large")
	// ErrNotStored: surely not stored; safe to send again anywhere.
	ErrNotStored = errors.New("not stored")
	// ErrFull: surely not stored, because the disk or quota is full.
	ErrFull = errors.New("no space left in the queue")
	// ErrOutcomeUnknown: may be stored. Sending again with the same
	// idempotency key is safe: readers see it once.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrNotFound: no such message here, or it is past retention.
	ErrNotFound = errors.New("not found")
	// ErrClaimLost: another process drains these lanes now; stop sending.
	ErrClaimLost = errors.New("the claim was revoked")
	// ErrDamaged: stored bytes do not pass their checksum.
	ErrDamaged = errors.New("damaged")
)
