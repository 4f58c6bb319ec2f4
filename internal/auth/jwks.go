package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// jwks are the keys of an issuer, fetched from its address. They are safe for
// concurrent use.
//
// While the issuer is away, what is known stays good. A token that names a key
// which is not known has the address asked once more, but not more often than
// every minRefresh, however many such tokens come.
type jwks struct {
	url        string
	refresh    time.Duration
	minRefresh time.Duration
	client     *http.Client
	log        *slog.Logger
	fetches    func(ok bool)

	mu sync.Mutex
	// All below is guarded by mu. flight is closed when the fetch under way is
	// over; nil while none is. tried is when the last one began, failed what
	// became of it.
	keys   []key
	tried  time.Time
	failed error
	flight chan struct{}
}

const (
	// fetchTimeout bounds one fetch.
	fetchTimeout = 5 * time.Second
	// retryFirst and retryMost bound the pause after a fetch that failed.
	retryFirst, retryMost = time.Second, time.Minute
)

// newClient fetches from the address given and from no other: a redirect could
// lead to one that is not safe.
func newClient() *http.Client {
	return &http.Client{
		Timeout:       fetchTimeout,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// find returns the keys that a token may be signed with which names its key so.
// The error says that they cannot be had now.
func (j *jwks) find(ctx context.Context, id string) ([]key, error) {
	j.mu.Lock()
	keys, known := match(j.keys, id)
	due := j.tried.IsZero() || time.Since(j.tried) >= j.minRefresh
	waits := j.flight != nil
	j.mu.Unlock()
	if !known && (due || waits) {
		if err := j.fetch(ctx); err != nil {
			return nil, err
		}
		j.mu.Lock()
		keys, known = match(j.keys, id)
		j.mu.Unlock()
	}
	j.mu.Lock()
	failed := j.failed
	j.mu.Unlock()
	if !known && failed != nil {
		// The key may be one that the issuer has had since.
		return keys, failed
	}
	return keys, nil
}

// match picks the keys of a name, and those without one. known says whether there
// is a key of that name, or any where none is asked for.
func match(keys []key, id string) (found []key, known bool) {
	for _, k := range keys {
		if k.id != "" && id != "" && k.id != id {
			continue
		}
		found = append(found, k)
		known = known || id == "" || k.id == id
	}
	return found, known
}

// fetch fetches, or waits for the fetch that is under way. The error is ctx's
// while waiting; what became of the fetch is in failed.
func (j *jwks) fetch(ctx context.Context) error {
	j.mu.Lock()
	if flight := j.flight; flight != nil {
		j.mu.Unlock()
		select {
		case <-flight:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	j.tried = time.Now()
	flight := make(chan struct{})
	j.flight = flight
	j.mu.Unlock()

	// Others wait for it, too: it goes on when the first one has left.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	keys, skipped, err := j.load(bounded)

	j.mu.Lock()
	changed := err == nil && len(keys) != len(j.keys)
	again := err != nil && j.failed != nil
	if err == nil {
		j.keys = keys
	}
	j.failed, j.flight = err, nil
	j.mu.Unlock()
	close(flight)
	j.fetches(err == nil)
	switch {
	case err != nil && !again:
		j.log.Warn("keys of tokens cannot be fetched, those that are known stay good", "err", err)
	case changed:
		j.log.Info("keys of tokens fetched", "keys", len(keys), "skipped", len(skipped), "why_skipped", errors.Join(skipped...))
	}
	return nil
}

// load asks the issuer.
func (j *jwks) load(ctx context.Context) ([]key, []error, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("fetch keys: %w", err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := j.client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("fetch keys: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("fetch keys: the issuer answers %d", resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxKeyBytes+1))
	if err != nil {
		return nil, nil, fmt.Errorf("fetch keys: %w", err)
	}
	if len(b) > maxKeyBytes {
		return nil, nil, fmt.Errorf("fetch keys: more than %d bytes", maxKeyBytes)
	}
	return parseJWKS(b)
}

// run fetches again and again until ctx ends.
func (j *jwks) run(ctx context.Context) error {
	pause := retryFirst
	for ctx.Err() == nil {
		if err := j.fetch(ctx); err != nil {
			break
		}
		j.mu.Lock()
		failed := j.failed
		j.mu.Unlock()
		wait := j.refresh
		if failed != nil {
			wait, pause = min(pause, j.refresh), min(2*pause, retryMost)
		} else {
			pause = retryFirst
		}
		// Half of it by chance: nodes that started together do not ask together.
		wait = wait/2 + rand.N(wait/2+1)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}
