package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
)

// poster posts to a gateway or front door, again and again until it has an
// answer that counts or its time is up. It is used by one goroutine.
type poster struct {
	client *http.Client
	base   string
	token  string // the sender's; "" for none
	// giveUp is how long one request, all its attempts together, may take.
	giveUp time.Duration
	// waiting is told before each further attempt why and for how long.
	waiting func(why error, pause time.Duration)
}

// request is one POST; every attempt sends the same bytes under the same key.
type request struct {
	path        string
	contentType string
	body        []byte
	key         string        // idempotency key
	wait        time.Duration // for Prefer: wait; 0 does not ask
}

// answer is a 2xx answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// attemptTimeout is how long one attempt may take beside what it was asked to
// wait: longer than a gateway waits for its disk, so that its own verdict
// comes first.
const attemptTimeout = 20 * time.Second

// answerLimit is the largest answer that is read, in bytes: receipts of the
// largest batch.
const answerLimit = 8 << 20

// refusedError is an answer that is not 2xx.
type refusedError struct {
	status  int
	problem problem
	text    string
	after   time.Duration // Retry-After; 0 for none
}

func (e *refusedError) Error() string { return e.text }

// again reports whether the same request may be accepted later: not where the
// request is at fault. Under its key it is safe to repeat.
func (e *refusedError) again() bool {
	switch e.status {
	case http.StatusConflict, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case http.StatusInsufficientStorage:
		return e.after > 0
	}
	return false
}

// gaveUpError is the last failure of a request that was not accepted in time.
type gaveUpError struct {
	err      error
	attempts int
	took     time.Duration
	// unknown says that an attempt may have been stored.
	unknown bool
}

func (e *gaveUpError) Error() string {
	text := fmt.Sprintf("%v (given up after %s, %s)", e.err, noun(int64(e.attempts), "attempt"), age(e.took))
	if e.unknown {
		text += "; it may be stored all the same"
	}
	return text
}

func (e *gaveUpError) Unwrap() error { return e.err }

// newKey makes an idempotency key of the client's own, 122 random bits.
func newKey() string { return uuid.NewString() }

// post sends a request until it is answered for good: accepted, refused, given
// up after p.giveUp, or ctx ended. An attempt under way is not cut short when
// ctx ends, for then nobody would know what came of it. The error is a
// *refusedError or a *gaveUpError.
func (p *poster) post(ctx context.Context, r request) (answer, error) {
	start := time.Now()
	attempts, unknown := 0, false
	var last error
	operation := func() (answer, error) {
		attempts++
		var a answer
		limit := min(attemptTimeout+r.wait, max(p.giveUp-time.Since(start), time.Second))
		a, last = p.attempt(context.WithoutCancel(ctx), limit, r, attempts)
		if last == nil {
			return a, nil
		}
		unknown = unknown || mayBeStored(last)
		var refused *refusedError
		if errors.As(last, &refused) {
			switch {
			case !refused.again():
				return a, backoff.Permanent(last)
			case refused.after > 0:
				return a, pauseError{last, &backoff.RetryAfterError{Duration: refused.after}}
			}
		}
		return a, last
	}
	a, err := backoff.Retry(ctx, operation,
		backoff.WithBackOff(&backoff.ExponentialBackOff{
			InitialInterval: 100 * time.Millisecond, MaxInterval: 5 * time.Second, Multiplier: 2, RandomizationFactor: 0.5,
		}),
		backoff.WithMaxElapsedTime(p.giveUp),
		backoff.WithNotify(func(_ error, pause time.Duration) { p.waiting(last, pause) }))
	if err == nil {
		return a, nil
	}
	var refused *refusedError
	if errors.As(last, &refused) && !refused.again() && !unknown {
		return answer{}, last
	}
	return answer{}, &gaveUpError{err: last, attempts: attempts, took: time.Since(start), unknown: unknown}
}

// pauseError carries a pause that the server asked for to backoff.Retry.
type pauseError struct {
	error
	pause *backoff.RetryAfterError
}

func (e pauseError) Unwrap() []error { return []error{e.error, e.pause} }

// mayBeStored reports whether a failed attempt may have been accepted: a
// gateway that says so, or a connection that was made and broke.
func mayBeStored(err error) bool {
	var refused *refusedError
	if errors.As(err, &refused) {
		return refused.status == http.StatusGatewayTimeout || refused.status == http.StatusBadGateway ||
			refused.status == http.StatusConflict
	}
	var op *net.OpError
	return !errors.As(err, &op) || op.Op != "dial"
}

func (p *poster) attempt(ctx context.Context, limit time.Duration, r request, number int) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base+r.path, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, fmt.Errorf("post to %s: %w", p.base, err)
	}
	req.Header.Set("Content-Type", r.contentType)
	req.Header.Set("Idempotency-Key", `"`+r.key+`"`)
	if number > 1 {
		req.Header.Set("Postroad-Attempt", strconv.Itoa(number))
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	if r.wait > 0 {
		req.Header.Set("Prefer", "wait="+strconv.Itoa(int((r.wait+time.Second-1)/time.Second)))
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("post to %s: %w", p.base, bare(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return answer{}, fmt.Errorf("read the answer of %s: %w", p.base, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return answer{}, refusal(resp, body)
	}
	return answer{resp.StatusCode, resp.Header, body}, nil
}

// bare takes off the method and address that net/http puts before an error,
// which the caller names already.
func bare(err error) error {
	var ue interface {
		error
		Unwrap() error
		Timeout() bool
	}
	if errors.As(err, &ue) {
		if errors.Is(err, context.DeadlineExceeded) {
			return errors.New("no answer in time")
		}
		if inner := ue.Unwrap(); inner != nil {
			return inner
		}
	}
	return err
}

func refusal(resp *http.Response, body []byte) *refusedError {
	e := &refusedError{
		status:  resp.StatusCode,
		problem: problemOf(resp.Header, body),
		text:    fmt.Sprintf("%d %s", resp.StatusCode, problemText(resp.Header, body)),
	}
	if seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		e.after = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(resp.Header.Get("Retry-After")); err == nil {
		e.after = max(0, time.Until(at))
	}
	return e
}

// newClient makes a client that keeps one connection and follows no redirect,
// which would turn a POST into a GET.
func newClient() *http.Client {
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		ForceAttemptHTTP2:   true,
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
