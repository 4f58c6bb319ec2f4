package carry

import (
	"errors"
	"fmt"
	"strings"
)

// NoOrigin says that no origin may take the request. Nothing was sent.
type NoOrigin struct { //nolint:errname // reads carry.NoOrigin: it is one of the ways in which a call ends
	// Key is the field Idempotency-Key of the request; empty where it has none.
	Key string
}

// Error implements error.
func (e *NoOrigin) Error() string { return "no origin is there to take the request" }

// Attempt is a request that no origin answered.
type Attempt struct { //nolint:errname // as NoOrigin
	// Origin is the one that may have the request or, where Sent is false, the
	// last that could not be reached.
	Origin string
	// Sent says that the request may have been executed. Where it is false it
	// surely was not.
	Sent bool
	// Status is that of an answer that settled nothing, such as a bare 502; 0
	// where there was none.
	Status int
	// Key is the field Idempotency-Key of the request, sent by the client or
	// minted; empty where it has none.
	Key string
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *Attempt) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("origin %s: answered %d", e.Origin, e.Status)
	}
	return fmt.Sprintf("origin %s: %v", e.Origin, e.Err)
}

// Unwrap implements errors.Unwrap.
func (e *Attempt) Unwrap() error { return e.Err }

// Body is a request whose body could not be read: the client's doing. What was
// sent of it is no whole request, so that it was not executed.
type Body struct { //nolint:errname // as NoOrigin
	// Key is the field Idempotency-Key of the request; empty where it has none.
	Key string
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *Body) Error() string { return "read request body: " + e.Err.Error() }

// Unwrap implements errors.Unwrap.
func (e *Body) Unwrap() error { return e.Err }

// Silent is a lookup that found nothing although some origins could not be
// asked, any of which may hold the message. Its answer is complete:false.
type Silent struct { //nolint:errname // as NoOrigin
	// Origins are those that gave no answer.
	Origins []string
}

// Error implements error.
func (e *Silent) Error() string {
	return "the origins that answered do not hold the message, but no answer came from " + strings.Join(e.Origins, ", ")
}

var (
	// errRepeat: the transport wanted to send again what may have arrived.
	errRepeat = errors.New("the connection ended after something of the request was sent")
	// errOver: another attempt answered first.
	errOver = errors.New("another attempt has answered")
	// errClosed: the carrier was closed.
	errClosed = errors.New("the door is closing")
	// errNoAddress: the origin is new or gone, and has no target.
	errNoAddress = errors.New("no address")
	// errSlow: an attempt took longer than ResponseTimeout.
	errSlow = errors.New("no whole answer within response_timeout")
)

// dialError: no connection to the origin could be opened.
type dialError struct {
	err   error
	fault dialFault
}

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// bodyError: the client's body could not be read.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "read request body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }
