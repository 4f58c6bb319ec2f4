package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"postroad/internal/httpserve"
	"postroad/internal/stream/live"
)

func badRequest(detail string) *httpserve.Problem {
	return &httpserve.Problem{Name: "bad-request", Status: http.StatusBadRequest, Title: "Bad request", Detail: detail}
}

func notFound(detail string) *httpserve.Problem {
	return &httpserve.Problem{Name: "not-found", Status: http.StatusNotFound, Title: "Not found", Detail: detail}
}

// unavailable asks to come back after about that time; clients that are told so
// together do not come back together.
func unavailable(detail string, after time.Duration) *httpserve.Problem {
	return &httpserve.Problem{
		Name: "unavailable", Status: http.StatusServiceUnavailable, Title: "Not available now",
		Detail: detail, RetryAfter: after + rand.N(after),
	}
}

// refused is the answer to a connection that was not taken in.
func refused(err error) *httpserve.Problem {
	if errors.Is(err, errClientFull) {
		return &httpserve.Problem{
			Name: "too-many-requests", Status: http.StatusTooManyRequests, Title: "Too many requests",
			Detail: err.Error(), RetryAfter: 5 * time.Second,
		}
	}
	return unavailable(err.Error(), time.Second)
}

// problemOf is the answer to an error of the engine.
func (n *Node) problemOf(ctx context.Context, err error) *httpserve.Problem {
	switch {
	case errors.Is(err, live.ErrUnknownTopic):
		return notFound("this node has no such topic; stream.topics lists those it has")
	case errors.Is(err, live.ErrSubject):
		return notFound(err.Error())
	case errors.Is(err, live.ErrUnrecoverable):
		return &httpserve.Problem{
			Name: "unrecoverable", Status: http.StatusGone, Title: "Cannot be recovered",
			Detail: "the hub does not hold what follows that position, or it is a position of another hub or topic",
		}
	case errors.Is(err, live.ErrNotReady), errors.Is(err, live.ErrBusy), errors.Is(err, live.ErrChanged):
		return unavailable(err.Error(), time.Second)
	case ctx.Err() != nil:
		return unavailable("the hub did not answer in time", time.Second)
	}
	n.log.Warn("hub could not be read for a client", "err", err)
	return unavailable("the hub cannot be read now", 2*time.Second)
}
