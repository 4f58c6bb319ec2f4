package centrifugo

import (
	"context"
	"errors"

	"github.com/centrifugal/protocol"

	"postroad/internal/auth"
	"postroad/internal/stream/live"
)

// fault is an error of the protocol, as a command is answered. SDKs try again by
// themselves what is temporary and give up what is not.
type fault struct {
	code      uint32
	message   string
	temporary bool
}

func (f *fault) Error() string { return f.message }

func (f *fault) reply() *protocol.Error {
	return &protocol.Error{Code: f.code, Message: f.message, Temporary: f.temporary}
}

// The protocol's errors, as far as they are given here.
func errInternal() *fault         { return &fault{100, "internal server error", true} }
func errUnauthorized() *fault     { return &fault{101, "unauthorized", false} }
func errUnknownChannel() *fault   { return &fault{102, "unknown channel", false} }
func errPermissionDenied() *fault { return &fault{103, "permission denied", false} }
func errMethodNotFound() *fault   { return &fault{104, "method not found", false} }
func errAlreadySubscribed() *fault {
	return &fault{105, "already subscribed", false}
}
func errLimitExceeded() *fault   { return &fault{106, "limit exceeded", false} }
func errBadRequest() *fault      { return &fault{107, "bad request", false} }
func errNotAvailable() *fault    { return &fault{108, "not available", false} }
func errTokenExpired() *fault    { return &fault{109, "token expired", false} }
func errTooManyRequests() *fault { return &fault{111, "too many requests", true} }
func errUnrecoverable() *fault   { return &fault{112, "unrecoverable position", false} }

// disconnect ends a connection with a code of the protocol. SDKs connect again by
// themselves, except from 3500 to 3999 and from 4500 to 4999.
type disconnect struct {
	code   uint16
	reason string
}

func (d *disconnect) Error() string { return d.reason }

func byeServerError() *disconnect       { return &disconnect{3004, "internal server error"} }
func byeExpired() *disconnect           { return &disconnect{3005, "connection expired"} }
func byeInsufficientState() *disconnect { return &disconnect{3010, "insufficient state"} }
func byeInvalidToken() *disconnect      { return &disconnect{3500, "invalid token"} }
func byeBadRequest() *disconnect        { return &disconnect{3501, "bad request"} }
func byeStale() *disconnect             { return &disconnect{3502, "stale"} }
func byeChannelLimit() *disconnect      { return &disconnect{3505, "channel limit"} }

// The codes with which a subscription is ended. From 2500 on SDKs subscribe again
// at once, with the position they have; below they give up.
const (
	unsubscribedServer       = 2000
	unsubscribedInsufficient = 2500
)

// ErrTooManyConnections is for Authenticate: this client has as many connections
// as it may, and may try again later.
var ErrTooManyConnections = errors.New("too many connections")

// What a Publisher answers, for errors.Is; any other error is answered like
// ErrOutcomeUnknown.
var (
	// ErrRejected: the message is not one that can be published, now or later.
	ErrRejected = errors.New("the message is rejected")
	// ErrTooLarge: it is larger than a message may be.
	ErrTooLarge = errors.New("the message is too large")
	// ErrDenied: this principal may not publish it.
	ErrDenied = errors.New("publishing is denied")
	// ErrNoTopic: the gateway knows no such topic.
	ErrNoTopic = errors.New("no such topic")
	// ErrOverloaded: surely not published, since nobody takes it now.
	ErrOverloaded = errors.New("publishing is not possible now")
	// ErrOutcomeUnknown: it may be published or not.
	ErrOutcomeUnknown = errors.New("whether it is published is not known")
)

// publishFault is how a failed publish is answered. No SDK publishes again by
// itself, whatever the answer: `temporary` is for the application.
//
//	ErrDenied               103  asking again changes nothing
//	ErrRejected, ErrTooLarge 107  likewise, as for wildcards and what is no subject;
//	                             106 is of limits that may be free again
//	ErrNoTopic              102  likewise
//	ErrOverloaded           111  temporary: surely not published, so that it can be
//	                             published again without a thought
//	ErrOutcomeUnknown       100  temporary: it may be published
//
// An application that publishes again after 100 may do so twice, since each command
// has a key of its own; one that cannot have that posts to a gateway with a key of
// its own.
func publishFault(err error) *fault {
	switch {
	case errors.Is(err, ErrDenied):
		return errPermissionDenied()
	case errors.Is(err, ErrRejected), errors.Is(err, ErrTooLarge):
		return errBadRequest()
	case errors.Is(err, ErrNoTopic):
		return errUnknownChannel()
	case errors.Is(err, ErrOverloaded):
		return errTooManyRequests()
	}
	return errInternal()
}

// engineFault is how an error of the engine is answered. 102 is final for SDKs, so
// that what may pass is never told as such.
func engineFault(err error) *fault {
	switch {
	case errors.Is(err, live.ErrUnknownTopic), errors.Is(err, live.ErrSubject):
		return errUnknownChannel()
	case errors.Is(err, live.ErrUnrecoverable):
		return errUnrecoverable()
	case errors.Is(err, live.ErrBusy):
		return errTooManyRequests()
	}
	return errInternal()
}

// authError is how a token that was not taken is answered in connect: a fault, or
// a disconnect where no token like it will ever do.
func authError(err error) error {
	switch {
	case errors.Is(err, auth.ErrExpired):
		return errTokenExpired() // the SDK fetches another and connects with it
	case errors.Is(err, auth.ErrNoToken):
		return errUnauthorized()
	case errors.Is(err, auth.ErrInvalidToken):
		return byeInvalidToken()
	case errors.Is(err, ErrTooManyConnections):
		return errTooManyRequests()
	}
	return errInternal()
}

// errOver: the session ended meanwhile, and nobody is left to be answered.
var errOver = errors.New("the session is over")

// gone says that an error is nothing but the client's having left.
func gone(ctx context.Context, err error) bool { return ctx.Err() != nil && errors.Is(err, ctx.Err()) }
