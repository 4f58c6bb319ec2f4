package kafka

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Class says what is to be done about an error of the hub.
type Class string

// The classes. An operator reads them in logs and in the status.
const (
	// ClassRetry passes by itself: send again, soon.
	ClassRetry Class = "retry"
	// ClassHold lasts until somebody changes something: wait, say why, and
	// try now and then.
	ClassHold Class = "hold"
	// ClassDead lies in the record: it will never be taken as it is.
	ClassDead Class = "dead"
)

// Error is an error of the hub with its class.
type Error struct {
	class Class
	err   error
	stale bool
	// remade: see Remade.
	remade bool
	own    bool
	wide   bool // see HubWide
}

// Error implements error.
func (e *Error) Error() string { return e.err.Error() }

// Unwrap gives the hub's or the client's error.
func (e *Error) Unwrap() error { return e.err }

// Class returns "retry", "hold" or "dead". Packages that must not know this
// one find it with errors.As for interface{ Class() string }.
func (e *Error) Class() string { return string(e.class) }

// StaleClient reports that the Sink must be Reset before the topic can be sent
// to.
func (e *Error) StaleClient() bool { return e.stale }

// Remade reports that the topic was deleted and made anew.
func (e *Error) Remade() bool { return e.remade }

// Own reports that it lies in this process, and the hub was not asked.
func (e *Error) Own() bool { return e.own }

// Temporary tells franz-go whether to try again what this error kept from
// happening: a connection.
func (e *Error) Temporary() bool { return e.class == ClassRetry }

// refusedAccess is an error that keeps this process from the whole hub until
// somebody changes something, and for which the protocol has no code.
func refusedAccess(err error) error { return &Error{class: ClassHold, wide: true, err: err} }

// HubWide reports whether the hub refuses everything we could send, and not only
// what concerns one topic: an account, a credential, a protocol. No topic is
// better off than another then, so none is moved aside because of it.
func (e *Error) HubWide() bool {
	row, ok := rowOf(e.err)
	return ok && row.wide || e.wide || refusedByTLS(e.err)
}

// classified wraps err, naming the act, with its class; nil stays nil.
func classified(act string, err error) error {
	if err == nil {
		return nil
	}
	if refusedByPeer(err) {
		err = fmt.Errorf("the hub does not accept the certificate of this process, or how it speaks TLS: %w", err)
	}
	e := &Error{class: Classify(err), err: fmt.Errorf("%s: %w", act, err)}
	var inner *Error
	if errors.As(err, &inner) {
		e.stale, e.remade, e.own, e.wide = inner.stale, inner.remade, inner.own, inner.wide
	}
	return e
}

// Classify returns the class of an error of the hub.
//
// An error that is not of the Kafka protocol comes from the network, from a
// context that ended, or from the client having been closed, and says nothing
// about the record: retry; but where one side of a connection does not trust
// the other, hold. A protocol code that the table does not know is
// newer than this program: hold, so that a person sees it and nothing is lost.
func Classify(err error) Class {
	var own *Error
	if errors.As(err, &own) {
		return own.class
	}
	var ke *kerr.Error
	if !errors.As(err, &ke) {
		if refusedByTLS(err) {
			return ClassHold
		}
		return ClassRetry
	}
	if row, ok := rowOf(err); ok {
		return row.class
	}
	return ClassHold
}

// rowOf finds the row of the table that an error of the protocol is in.
func rowOf(err error) (row errorRow, ok bool) {
	var ke *kerr.Error
	if !errors.As(err, &ke) {
		return row, false
	}
	for _, row := range errorTable() {
		for _, e := range row.errs {
			if e.Code == ke.Code {
				return row, true
			}
		}
	}
	return row, false
}
