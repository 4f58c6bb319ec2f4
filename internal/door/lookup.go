package door

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// messagesPath begins the paths that ask what became of a message.
const messagesPath = "/v1/messages/"

// errSick: an unhealthy origin took longer than it is given.
var errSick = errors.New("an unhealthy origin gave no answer within the time of a probe")

// silentError is a lookup that found nothing although some origins could not
// be asked, any of which may hold the message.
type silentError struct{ origins []string }

func (e *silentError) Error() string {
	return "the origins that answered do not hold the message, but no answer came from " + strings.Join(e.origins, ", ")
}

func isLookup(req *http.Request) bool {
	return repeatable(req.Method) && strings.HasPrefix(req.URL.Path, messagesPath)
}

// lookup asks the origins for a message that only one of them holds, the
// healthy ones first, and returns the first answer that is not 404. An
// unhealthy origin, which may be the one that holds it, is asked only after a
// 404. If all said 404 the first such answer is returned.
func (c *carrier) lookup(req *http.Request) (*http.Response, error) {
	req = withoutBody(req)
	healthy, sick := c.byHealth()
	var missing *http.Response
	var silent []string
	failed := errNoOrigin
	for i, o := range append(healthy, sick...) {
		var patience time.Duration
		if i >= len(healthy) {
			if missing == nil {
				break
			}
			patience = c.limits.sick
		}
		res, sent, err := c.attemptWithin(patience, req, o)
		switch {
		case err != nil:
			c.metrics.failed(o.name, sent)
			silent = append(silent, o.name)
			failed = &attemptError{o.name, sent, err}
			if req.Context().Err() != nil {
				discard(missing)
				return nil, failed
			}
		case res.StatusCode != http.StatusNotFound:
			discard(missing)
			return res, nil
		case missing == nil:
			missing = res
		default:
			discard(res)
		}
	}
	if missing == nil {
		return nil, failed
	}
	if len(silent) > 0 {
		discard(missing)
		return nil, &silentError{silent}
	}
	return missing, nil
}

// byHealth parts the origins, each part in the order in which it is tried.
func (c *carrier) byHealth() (healthy, sick []*origin) {
	for _, o := range c.origins {
		if o.isHealthy() {
			healthy = append(healthy, o)
		} else {
			sick = append(sick, o)
		}
	}
	return healthy, sick
}

// attemptWithin is attempt for a request without a body, given up where no
// answer begins within patience; 0 leaves it the usual time.
func (c *carrier) attemptWithin(patience time.Duration, req *http.Request, o *origin) (*http.Response, bool, error) {
	if patience == 0 {
		return c.attempt(req, o, nil)
	}
	ctx, cancel := context.WithCancelCause(req.Context()) // an answer keeps ctx, which ends with the request
	timer := time.AfterFunc(patience, func() { cancel(errSick) })
	res, sent, err := c.attempt(req.WithContext(ctx), o, nil)
	if !timer.Stop() && err == nil { // it came together with the end of its context, and cannot be read
		discard(res)
		return nil, true, errSick
	}
	if err != nil {
		cancel(err)
	}
	return res, sent, err
}

// withoutBody returns req without its body, which means nothing in a GET and
// could be sent to one origin only.
func withoutBody(req *http.Request) *http.Request {
	out := req.WithContext(req.Context())
	out.Body, out.ContentLength, out.TransferEncoding = nil, 0, nil
	return out
}

// discard ends an answer that is not passed on, and with it its connection: to
// read the rest would mean to wait for it. res may be nil.
func discard(res *http.Response) {
	if res != nil {
		_ = res.Body.Close()
	}
}
