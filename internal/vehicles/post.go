package vehicles

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	firstPause   = 100 * time.Millisecond
	longestAsked = 30 * time.Second // of a Retry-After
	answerLimit  = 1 << 20          // of the answer's bytes that are read
)

// poster posts positions through the front door.
type poster struct {
	client  *http.Client
	url     string // of the topic's messages
	timeout time.Duration
	backoff time.Duration // the longest pause
	metrics *metrics
}

// refusedError is an answer that no repeat will change: the request is at fault,
// or the door lets nobody in.
type refusedError struct {
	status int
	text   string
}

func (e *refusedError) Error() string { return fmt.Sprintf("refused with %d: %s", e.status, e.text) }

// laterError is an answer or a failure after which the same request, under the
// same key, is worth another attempt.
type laterError struct {
	err   error
	after time.Duration // asked for by the answer; 0 for none
}

func (e *laterError) Error() string { return e.err.Error() }

func (e *laterError) Unwrap() error { return e.err }

// post sends a batch until it is accepted, refused for good, or ctx ends. Every
// attempt carries the same key and the same bytes: whichever of them is stored, and
// be it several at several stamps, readers see each position once. told hears of
// the first failure of a request.
func (p *poster) post(ctx context.Context, key string, positions []Position, told func(error)) error {
	body, err := ndjson(positions)
	if err != nil {
		return err
	}
	start := time.Now()
	pauses := backoff.ExponentialBackOff{
		InitialInterval: firstPause, MaxInterval: p.backoff, Multiplier: 2, RandomizationFactor: 0.5,
	}
	pauses.Reset()
	for attempt := 1; ; attempt++ {
		err := p.attempt(ctx, key, body, attempt, len(positions))
		var later *laterError
		switch {
		case err == nil:
			p.metrics.took(len(positions), time.Since(start))
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.As(err, &later):
			return err
		case attempt == 1:
			told(err)
		}
		p.metrics.repeats.Inc()
		if err := p.pause(ctx, pauseOf(&pauses, later.after)); err != nil {
			return err
		}
	}
}

// pauseOf is the next pause, with jitter: longer each time, and no shorter than
// asked for.
func pauseOf(b *backoff.ExponentialBackOff, asked time.Duration) time.Duration {
	own := b.NextBackOff()
	if asked == 0 {
		return own
	}
	return asked + own/4
}

// pause waits between two attempts.
func (p *poster) pause(ctx context.Context, d time.Duration) error {
	p.metrics.waiting.Inc()
	defer p.metrics.waiting.Dec()
	return pause(ctx, d)
}

// pause waits for a time, or for the end of ctx, which is its error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *poster) attempt(ctx context.Context, key string, body []byte, attempt, want int) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Idempotency-Key", `"`+key+`"`)
	if attempt > 1 {
		req.Header.Set("Postroad-Attempt", strconv.Itoa(attempt))
	}
	res, err := p.client.Do(req)
	if err != nil {
		return &laterError{err: withoutAddress(err)}
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil {
		return &laterError{err: fmt.Errorf("read the answer: %w", err)}
	}
	return judge(res, answer, want)
}

// judge tells an answer that settles a request from one that does not.
func judge(res *http.Response, answer []byte, want int) error {
	switch res.StatusCode {
	case http.StatusOK, http.StatusAccepted:
		var a struct{ Accepted int }
		if err := json.Unmarshal(answer, &a); err != nil || a.Accepted != want {
			return &refusedError{res.StatusCode, fmt.Sprintf("the answer does not say that all %d are accepted", want)}
		}
		return nil
	case http.StatusConflict, http.StatusTooManyRequests, http.StatusRequestTimeout,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusInsufficientStorage:
		var after time.Duration
		if seconds, err := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 16); err == nil {
			after = min(time.Duration(seconds)*time.Second, longestAsked)
		}
		return &laterError{fmt.Errorf("answered %d %s", res.StatusCode, title(answer)), after}
	}
	return &refusedError{res.StatusCode, title(answer)}
}

// title is what a problem is called; "" where the answer is none.
func title(answer []byte) string {
	var problem struct{ Title string }
	if json.Unmarshal(answer, &problem) != nil {
		return ""
	}
	return problem.Title
}

// withoutAddress takes off the method and address that net/http puts before.
func withoutAddress(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// ndjson is a message a line, with the vehicle's id as its key.
func ndjson(positions []Position) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, p := range positions {
		if err := enc.Encode(struct {
			Key   string   `json:"key"`
			Value Position `json:"value"`
		}{p.ID, p}); err != nil {
			return nil, fmt.Errorf("encode the position of %s: %w", p.ID, err)
		}
	}
	return b.Bytes(), nil
}
