package relay

import (
	"errors"
	"fmt"
	"net/http"
)

// The classes of errors, as the forwarder reads them.
const (
	classRetry = "retry"
	classHold  = "hold"
	classDead  = "dead"
)

// Error is an error of relaying with what is to be done about it.
type Error struct {
	class string
	wide  bool
	own   bool
	err   error
}

// Error implements error.
func (e *Error) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.err }

// Class is "retry", "hold" or "dead".
func (e *Error) Class() string { return e.class }

// HubWide reports whether nothing at all is taken, and not one topic's messages.
func (e *Error) HubWide() bool { return e.wide }

// Own reports whether the fault lies in this process.
func (e *Error) Own() bool { return e.own }

func retry(err error) error { return &Error{class: classRetry, err: err} }

// ErrClosed: the Sink was closed or reset before the answer came. Whether the
// message is stored is not known.
var ErrClosed = errors.New("the connection to the other stamp was given up")

var (
	errTurn    = errors.New("the stream waits, after an error, for what was sent before")
	errOther   = errors.New("another process of the other stamp answers now: what the last one has stored is looked for")
	errBehind  = errors.New("waits behind a message that the other stamp refused")
	errBadBody = errors.New("the other stamp's answer is none")
)

// statusError is an answer that is no success.
type statusError struct {
	status int
	// detail is what the answer says for people.
	detail string
	// ours says that a gateway gave it, and nothing on the way.
	ours bool
}

func (e *statusError) Error() string {
	if e.detail == "" {
		return fmt.Sprintf("the other stamp answers %d %s", e.status, http.StatusText(e.status))
	}
	return fmt.Sprintf("the other stamp answers %d: %s", e.status, e.detail)
}

func statusOf(err error) int {
	var s *statusError
	if errors.As(err, &s) {
		return s.status
	}
	return 0
}

// problemPrefix begins the types of a gateway's problems.
const problemPrefix = "urn:postroad:problem:"

// passing are the answers of a stamp, or of what stands before it, that are no
// lasting refusal. Each of these 5xx can also come from a proxy that had handed
// the request on.
func passing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusTooEarly, http.StatusMisdirectedRequest,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
		http.StatusInsufficientStorage:
		return true
	}
	return false
}

// classified gives an error of a request its class. An answer that will not
// change by itself (a token that is not known, a path that is not there because
// relaying is off, a method that a proxy does not let through) concerns whatever
// is sent: it holds everything, and a person must see it.
func classified(act string, err error) error {
	var own *Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	err = fmt.Errorf("%s: %w", act, err)
	if s := statusOf(err); s != 0 && !passing(s) {
		return &Error{class: classHold, wide: true, err: err}
	}
	return retry(err)
}
