package kafka

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"
)

// tokenRequest is what is sent for a token, by client credentials. It is
// comparable: another one gets another token.
type tokenRequest struct {
	url, clientID, secret, scope, audience string
	assertionFile                          string // takes the place of secret
}

// token is one that the endpoint gave.
type token struct {
	text    string
	of      tokenRequest
	fetched time.Time
	expires time.Time
}

// fresh reports whether nothing is to be done about the token yet. A fifth of
// its life is left for getting the next one, should the endpoint be away.
func (t *token) fresh(now time.Time) bool {
	return now.Before(t.fetched.Add(t.expires.Sub(t.fetched) * 4 / 5))
}

// tokens keeps one token for all connections, and renews it in time.
type tokens struct {
	timeout time.Duration                                  // of a request to the endpoint
	fetch   func(context.Context, *access) (*token, error) // fetchToken, but in tests
	group   singleflight.Group

	mu      sync.Mutex
	current *token // guarded by mu; nil where there is none, or it was refused
}

// get returns a token that the hub has not refused: the one that is kept while
// it is fresh, or a new one. Where no new one is to be had, the old one is
// returned as long as it lasts. before reports that it was fetched for an
// earlier connection. The error has a class.
func (ts *tokens) get(ctx context.Context, a *access) (t *token, before bool, err error) {
	old := ts.kept(a.oauth)
	if old != nil && old.fresh(time.Now()) {
		return old, true, nil
	}
	// One request for all that wait; each of them may end without the others.
	result := ts.group.DoChan(a.oauth.url, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ts.timeout)
		defer cancel()
		t, err := ts.fetch(ctx, a)
		if err != nil {
			return nil, err
		}
		ts.mu.Lock()
		defer ts.mu.Unlock()
		ts.current = t
		return t, nil
	})
	select {
	case <-ctx.Done():
		return nil, false, ctx.Err()
	case r := <-result:
		if r.Err == nil {
			return r.Val.(*token), false, nil
		}
		if old != nil && time.Now().Before(old.expires) {
			return old, true, nil
		}
		return nil, false, r.Err
	}
}

// kept returns the token that is kept for a request, or nil.
func (ts *tokens) kept(of tokenRequest) *token {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.current == nil || ts.current.of != of {
		return nil
	}
	return ts.current
}

// refuse forgets a token that the hub did not take, so that the next connection
// brings another.
func (ts *tokens) refuse(t *token) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.current == t {
		ts.current = nil
	}
}

// refuseAll is refuse where it is not known which token it was.
func (ts *tokens) refuseAll() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.current = nil
}

// assertionType is that of a signed token in place of a secret, RFC 7523
// section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// fetchToken asks the endpoint for a token.
func fetchToken(ctx context.Context, a *access) (*token, error) {
	q := a.oauth
	cfg := clientcredentials.Config{ClientID: q.clientID, ClientSecret: q.secret, TokenURL: q.url, EndpointParams: url.Values{}}
	if q.scope != "" {
		cfg.Scopes = strings.Fields(q.scope)
	}
	if q.audience != "" {
		cfg.EndpointParams.Set("audience", q.audience)
	}
	if q.assertionFile != "" {
		// The platform writes a new one long before the old one ends.
		b, err := readSecretFile(q.assertionFile)
		var text string
		if err == nil {
			text, err = oneLine(q.assertionFile, b, "a signed token")
		}
		if err != nil {
			return nil, refusedAccess(fmt.Errorf("sasl.oauth.assertion_file: %w", err))
		}
		cfg.EndpointParams.Set("client_assertion_type", assertionType)
		cfg.EndpointParams.Set("client_assertion", text)
		cfg.AuthStyle = oauth2.AuthStyleInParams
	}
	at := time.Now()
	got, err := cfg.Token(context.WithValue(ctx, oauth2.HTTPClient, a.tokenClient()))
	if err != nil {
		return nil, tokenError(q.url, err)
	}
	if strings.IndexFunc(got.AccessToken, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) >= 0 {
		return nil, refusedAccess(fmt.Errorf("token endpoint %s: what it gave is no token", q.url))
	}
	return &token{text: got.AccessToken, of: q, fetched: at, expires: tokenEnd(got, at)}, nil
}

// tokenEnd is when a token ends: as the endpoint says, else as the token itself
// says, else soon.
func tokenEnd(t *oauth2.Token, at time.Time) time.Time {
	if !t.Expiry.IsZero() {
		return t.Expiry
	}
	parts := strings.Split(t.AccessToken, ".")
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if len(parts) == 3 {
		b, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err == nil && json.Unmarshal(b, &claims) == nil && claims.Exp > 0 && claims.Exp < 1<<40 {
			return time.Unix(int64(claims.Exp), 0)
		}
	}
	return at.Add(time.Minute)
}

// tokenClient is the HTTP client for the token endpoint, which is reached
// through the same proxy as the hub.
func (a *access) tokenClient() *http.Client {
	t := &http.Transport{DisableKeepAlives: true, TLSClientConfig: a.besides("")}
	if a.proxy != nil {
		t.Proxy = a.proxy.forHTTP
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // following it could carry the secret elsewhere
	}}
}

// tokenError says why there is no token. Of the endpoint's answer only the
// error code and description are shown: an answer may repeat what it was sent.
func tokenError(endpoint string, err error) error {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) {
		text := fmt.Errorf("token endpoint %s: %w", endpoint, err)
		if refusedByTLS(err) {
			return refusedAccess(text)
		}
		return &Error{class: ClassRetry, err: text}
	}
	status := 0
	if answer.Response != nil {
		status = answer.Response.StatusCode
	}
	text := fmt.Errorf("token endpoint %s: status %d %s %s", endpoint, status, shown(answer.ErrorCode), shown(answer.ErrorDescription))
	if status == http.StatusTooManyRequests || status >= 500 {
		return &Error{class: ClassRetry, err: text}
	}
	return refusedAccess(text)
}

// shown is a text of somebody else, cut to what a log can take.
func shown(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
