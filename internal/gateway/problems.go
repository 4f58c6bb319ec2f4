package gateway

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"postroad/internal/httpserve"
	"postroad/internal/message"
)

// Sentinels of what only an HTTP interface can refuse. Like those of package
// message they are told apart by errors.Is and stand in problemTable.
var (
	errMethod       = errors.New("method not allowed")
	errForbidden    = errors.New("forbidden")
	errKeyBusy      = errors.New("key in progress")
	errKeyReused    = errors.New("key reused")
	errNoLength     = errors.New("length required")
	errMediaType    = errors.New("unsupported media type")
	errHeaders      = errors.New("headers too large")
	errSlowBody     = errors.New("body not received in time")
	errUnavailable  = errors.New("unavailable")
	errUnauthorized = errors.New("unauthorized")
	errTooMany      = errors.New("too many requests")
	errInternal     = errors.New("internal")
)

// problemKind is one row of the table: how a class of failures is answered.
type problemKind struct {
	// cause is the sentinel that errors of this class match.
	cause  error
	name   string
	status int
	title  string
	// meaning is the detail where the failure brings no text of its own that
	// is meant for the client, and the description in the reference.
	meaning string
	// retry is what a client should do, for the reference.
	retry string
	// after becomes Retry-After where it is positive.
	after time.Duration
}

// problemTable is the one mapping from failures to answers. The first row
// whose cause matches decides, so the row that promises least comes first; the
// last row answers what matches none.
//
//nolint:funlen // a table, one row a class
func problemTable() []problemKind {
	return []problemKind{
		{
			message.ErrOutcomeUnknown, "outcome-unknown", http.StatusGatewayTimeout, "Outcome unknown",
			"The messages may be stored or not: the disk failed or did not answer in time.",
			"Send again with the key that Idempotency-Key of the answer holds: readers see each message once.", 0,
		},
		{
			message.ErrFull, "insufficient-storage", http.StatusInsufficientStorage, "No space left",
			"Surely not stored: the quota or the disk of this stamp's queue is full.",
			"Send to another stamp, or later.", 30 * time.Second,
		},
		{
			message.ErrNotStored, "unavailable", http.StatusServiceUnavailable, "Not available now",
			"Surely not stored: this stamp has no lane to write to at the moment.",
			"Send again after Retry-After, or to another stamp at once.", time.Second,
		},
		{
			errUnavailable, "unavailable", http.StatusServiceUnavailable, "Not available now",
			"Surely not stored: this stamp is draining, overloaded or not ready.",
			"Send again after Retry-After, or to another stamp at once.", time.Second,
		},
		{
			message.ErrTooLarge, "too-large", http.StatusRequestEntityTooLarge, "Too large",
			"A message or the request is over a limit, which the detail names.",
			"Do not repeat: split the batch or the message.", 0,
		},
		{
			message.ErrNotFound, "not-found", http.StatusNotFound, "Not found",
			"There is no such path, or no such message here.",
			"Do not repeat.", 0,
		},
		{
			message.ErrInvalid, "bad-request", http.StatusBadRequest, "Bad request",
			"The request breaks a rule; the detail says what is wrong and where. In a batch, line or event counts from 1.",
			"Do not repeat unchanged. Nothing of the request is stored.", 0,
		},
		{
			errUnauthorized, "unauthorized", http.StatusUnauthorized, "Unauthorized",
			"A bearer token is missing, wrong or expired. Nothing of the request is stored.",
			"Do not repeat without another token.", 0,
		},
		{
			errForbidden, "forbidden", http.StatusForbidden, "Forbidden",
			"The caller may not publish to the topic and key of a message, or a browser sent the request for a page of an origin that cors.origins does not list. Nothing of it is stored.",
			"Do not repeat; change gateway.auth.policies, the token, or cors.origins.", 0,
		},
		{
			errMethod, "method-not-allowed", http.StatusMethodNotAllowed, "Method not allowed",
			"The path does not take this method; Allow lists those it takes.",
			"Do not repeat.", 0,
		},
		{
			errSlowBody, "timeout", http.StatusRequestTimeout, "Body not received in time",
			"The request body did not arrive within body_timeout. Nothing of it is stored.",
			"Send again.", 0,
		},
		{
			errKeyBusy, "conflict", http.StatusConflict, "Key in progress",
			"A request with the same idempotency key is being stored right now.",
			"Send again after Retry-After: the answer is then the first one's.", time.Second,
		},
		{
			errNoLength, "length-required", http.StatusLengthRequired, "Length required",
			"The request has no body: send Content-Length (0 for an empty message) or a chunked body.",
			"Do not repeat unchanged.", 0,
		},
		{
			errMediaType, "unsupported-media-type", http.StatusUnsupportedMediaType, "Unsupported media type",
			"The path does not take this content type, charset or content coding.",
			"Do not repeat unchanged.", 0,
		},
		{
			errKeyReused, "key-reused", http.StatusUnprocessableEntity, "Idempotency key reused",
			"The idempotency key was used for another request on this topic.",
			"Do not repeat: use a new key for each new request.", 0,
		},
		{
			errTooMany, "too-many-requests", http.StatusTooManyRequests, "Too many requests",
			"The client is over its rate.",
			"Send again after Retry-After.", time.Second,
		},
		{
			errMisdirected, "misdirected", http.StatusMisdirectedRequest, "Meant for another process",
			"A batch that another stamp relays was meant for another process of this stamp, or came too late. Nothing of it is stored.",
			"Ask GET /v1/relay which process answers; stamps do so by themselves.", 0,
		},
		{
			errHeaders, "headers-too-large", http.StatusRequestHeaderFieldsTooLarge, "Headers too large",
			"The request has too many or too large headers.",
			"Do not repeat unchanged.", 0,
		},
		{
			errInternal, "internal", http.StatusInternalServerError, "Internal error",
			"A mistake of Postroad's; its log has the cause.",
			"A GET may be repeated. A POST never ends with it.", 0,
		},
	}
}

// Problems are the kinds of problems that a gateway answers, by status. A kind with
// several causes stands there once for each.
func Problems() (all []httpserve.ProblemKind) {
	for _, k := range problemTable() {
		after := ""
		if k.after > 0 {
			after = k.after.String()
		}
		all = append(all, httpserve.ProblemKind{Name: k.name, Status: k.status, Meaning: k.meaning, Retry: k.retry, After: after})
	}
	slices.SortStableFunc(all, func(x, y httpserve.ProblemKind) int { return x.Status - y.Status })
	return all
}

// refusal is a failure with a text that is meant for the client.
type refusal struct {
	cause  error
	detail string
	extra  map[string]any
}

func (e *refusal) Error() string { return e.detail }
func (e *refusal) Unwrap() error { return e.cause }

// refuse makes a refusal of the class that cause stands for.
func refuse(cause error, format string, args ...any) *refusal {
	return &refusal{cause: cause, detail: fmt.Sprintf(format, args...)}
}

// with adds a member to the problem.
func (e *refusal) with(name string, value any) *refusal {
	extra := map[string]any{name: value}
	maps.Copy(extra, e.extra)
	return &refusal{cause: e.cause, detail: e.detail, extra: extra}
}

// within says in which line or event of a batch err arose.
func within(err error, unit string, number int) error {
	own, ok := errors.AsType[*refusal](err)
	if !ok {
		return fmt.Errorf("%s %d: %w", unit, number, err)
	}
	e := refuse(own.cause, "%s %d: %s", unit, number, own.detail)
	e.extra = own.extra
	return e.with(unit, number)
}

// problem finds the row of err and fills it in. Only a refusal's own text goes
// to the client: other errors may name paths and machines.
func (g *Gateway) problem(err error) httpserve.Problem {
	kind := g.problems[len(g.problems)-1]
	for _, k := range g.problems {
		if errors.Is(err, k.cause) {
			kind = k
			break
		}
	}
	p := httpserve.Problem{Name: kind.name, Status: kind.status, Title: kind.title, Detail: kind.meaning, RetryAfter: kind.after}
	if own, ok := errors.AsType[*refusal](err); ok {
		p.Detail, p.Extra = own.detail, own.extra
	}
	return p
}

// fail answers err and returns the status. What a person should look at is
// logged; what is the client's own fault only in detail.
func (g *Gateway) fail(w http.ResponseWriter, r *http.Request, err error) int {
	p := g.problem(err)
	boundDrain(w, r)
	if p.Status == http.StatusRequestTimeout {
		// The rest of the body may still come: the connection is of no use.
		w.Header().Set("Connection", "close")
	}
	switch p.Status {
	case http.StatusInternalServerError, http.StatusInsufficientStorage, http.StatusGatewayTimeout:
		g.deps.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "status", p.Status, "err", err)
	case http.StatusServiceUnavailable:
		g.deps.Log.Debug("request refused, not available", "path", r.URL.Path, "err", err)
	default:
		g.deps.Log.Debug("request refused", "method", r.Method, "path", r.URL.Path, "status", p.Status, "err", err)
	}
	p.Write(w)
	return p.Status
}
