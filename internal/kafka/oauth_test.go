package kafka

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
)

// endpoint gives tokens named by their number.
type endpoint struct {
	*httptest.Server
	n        atomic.Int32
	lifetime atomic.Int64 // seconds; 0 says nothing about it
	answer   atomic.Pointer[func(w http.ResponseWriter, r *http.Request)]

	mu   sync.Mutex
	last http.Request // guarded by mu
}

func startEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.lifetime.Store(3600)
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		e.mu.Lock()
		e.last = *r
		e.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if f := e.answer.Load(); f != nil {
			(*f)(w, r)
			return
		}
		expires := ""
		if s := e.lifetime.Load(); s > 0 {
			expires = fmt.Sprintf(`,"expires_in":%d`, s)
		}
		fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer"%s}`, e.n.Add(1), expires)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) request() *http.Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.last
	return &r
}

func (e *endpoint) says(status int, body string) {
	f := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
	e.answer.Store(&f)
}

func newTokens() *tokens { return &tokens{timeout: 5 * time.Second, fetch: fetchToken} }

func TestTokenBySecret(t *testing.T) {
	e := startEndpoint(t)
	a := &access{oauth: tokenRequest{url: e.URL, clientID: "me", secret: "hu:sh", scope: "one two", audience: "hub"}}
	ts := newTokens()
	first, before, err := ts.get(t.Context(), a)
	if err != nil || first.text != "token-1" || before {
		t.Fatalf("%+v, %v, %v", first, before, err)
	}
	r := e.request()
	id, secret, _ := r.BasicAuth()
	if id != "me" || secret != "hu%3Ash" || r.Form.Get("scope") != "one two" || r.Form.Get("audience") != "hub" || r.Form.Get("grant_type") != "client_credentials" {
		t.Errorf("it was asked with %q, %q, %v", id, secret, r.Form)
	}
	again, before, err := ts.get(t.Context(), a)
	if err != nil || again != first || !before {
		t.Errorf("a fresh token is not kept: %+v, %v", again, err)
	}
	other := &access{oauth: a.oauth}
	other.oauth.secret = "other"
	if got, _, err := ts.get(t.Context(), other); err != nil || got.text != "token-2" {
		t.Errorf("another secret: %+v, %v", got, err)
	}
}

// Workload identity: the assertion takes the place of the secret, and is read
// for each token.
func TestTokenByAssertion(t *testing.T) {
	e := startEndpoint(t)
	file := writeFile(t, "assertion", "signed-1\n")
	a := &access{oauth: tokenRequest{url: e.URL, clientID: "me", assertionFile: file}}
	ts := newTokens()
	for _, want := range []string{"signed-1", "signed-2"} {
		if _, _, err := ts.get(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		f := e.request().Form
		if f.Get("client_assertion") != want || f.Get("client_assertion_type") != assertionType || f.Get("client_id") != "me" || f.Has("client_secret") {
			t.Errorf("it was asked with %v", f)
		}
		if err := os.WriteFile(file, []byte("signed-2"), 0o600); err != nil {
			t.Fatal(err)
		}
		ts.refuseAll()
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ts.get(t.Context(), a); !held(err) || !strings.Contains(err.Error(), file) {
		t.Errorf("no assertion: %v", err)
	}
}

// An endpoint of the site's own authority is trusted by tls.ca_file, whether or
// not there is TLS to the hub, and by nothing else.
func TestTokenOverTLS(t *testing.T) {
	authority := newAuthority(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"t","expires_in":60}`)
	}))
	server.TLS = authority.config(t, "login.example")
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	for _, tc := range []struct {
		trusted []*x509.Certificate
		ok      bool
	}{{[]*x509.Certificate{authority.cert}, true}, {[]*x509.Certificate{newAuthority(t).cert}, false}, {nil, false}} {
		a := &access{trusted: tc.trusted, oauth: tokenRequest{url: server.URL, clientID: "me", secret: "x"}}
		if _, _, err := newTokens().get(t.Context(), a); (err == nil) != tc.ok || err != nil && !held(err) {
			t.Errorf("trusting %d certificates: %v", len(tc.trusted), err)
		}
	}
}

// What the endpoint answers says whether waiting helps, and nothing of what it
// was sent gets into the error.
func TestTokenErrors(t *testing.T) {
	e := startEndpoint(t)
	a := &access{oauth: tokenRequest{url: e.URL, clientID: "me", secret: "hush"}}
	for name, tc := range map[string]struct {
		status int
		body   string
		hold   bool
		text   string
	}{
		"wrong secret": {401, `{"error":"invalid_client","error_description":"no\nsuch client","you_sent":"hush"}`, true, "status 401 invalid_client no such client"},
		"bad scope":    {400, `{"error":"invalid_scope"}`, true, "status 400 invalid_scope"},
		"busy":         {429, `{}`, false, "status 429"},
		"broken":       {500, "hush", false, "status 500"},
		"no token":     {200, `{"access_token":""}`, false, "missing access_token"},
		"not a token":  {200, `{"access_token":"a b"}`, true, "what it gave is no token"},
		"a redirect":   {302, "", true, "status 302"},
	} {
		t.Run(name, func(t *testing.T) {
			e.says(tc.status, tc.body)
			_, _, err := newTokens().get(t.Context(), a)
			if err == nil || held(err) != tc.hold || !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "hush") {
				t.Errorf("hold %v: %v", held(err), err)
			}
		})
	}
	e.Close()
	if _, _, err := newTokens().get(t.Context(), a); err == nil || held(err) {
		t.Errorf("nobody there: %v", err)
	}
}

// A token is renewed before it ends; where that fails it serves to its end.
func TestTokenIsRenewed(t *testing.T) {
	now := time.Now()
	tok := &token{fetched: now, expires: now.Add(time.Hour)}
	if !tok.fresh(now.Add(47*time.Minute)) || tok.fresh(now.Add(49*time.Minute)) {
		t.Error("a token is to be renewed when four fifths of its life have passed")
	}
	e := startEndpoint(t)
	a := &access{oauth: tokenRequest{url: e.URL, clientID: "me", secret: "x"}}
	ts := newTokens()
	ts.current = &token{text: "old", of: a.oauth, fetched: now.Add(-time.Hour), expires: now.Add(time.Minute)}
	e.says(503, "{}")
	if got, _, err := ts.get(t.Context(), a); err != nil || got.text != "old" {
		t.Errorf("the endpoint is away: %+v, %v", got, err)
	}
	ts.current.expires = now
	if got, _, err := ts.get(t.Context(), a); err == nil {
		t.Errorf("a token that has ended is used: %+v", got)
	}
	e.answer.Store(nil)
	if got, before, err := ts.get(t.Context(), a); err != nil || got.text != "token-1" || before {
		t.Errorf("the endpoint is back: %+v, %v", got, err)
	}
}

// However many connections are made at once, one token is asked for.
func TestTokenIsAskedForOnce(t *testing.T) {
	e := startEndpoint(t)
	release := make(chan struct{})
	f := func(w http.ResponseWriter, _ *http.Request) {
		<-release
		fmt.Fprintf(w, `{"access_token":"t-%d","expires_in":60}`, e.n.Add(1))
	}
	e.answer.Store(&f)
	a, ts := &access{oauth: tokenRequest{url: e.URL, clientID: "me", secret: "x"}}, newTokens()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, _, err := ts.get(t.Context(), a); err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	wg.Wait()
	if n := e.n.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ts.refuseAll()
	if _, _, err := ts.get(ctx, a); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("who does not wait any more: %v", err)
	}
}

func TestTokenEnd(t *testing.T) {
	at := time.Unix(1700000000, 0)
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1700000300}`))
	for name, tc := range map[string]struct {
		token *oauth2.Token
		want  time.Time
	}{
		"the endpoint says it":   {&oauth2.Token{AccessToken: "h." + claims + ".s", Expiry: at.Add(time.Second)}, at.Add(time.Second)},
		"the token says it":      {&oauth2.Token{AccessToken: "h." + claims + ".s"}, at.Add(300 * time.Second)},
		"nobody says it":         {&oauth2.Token{AccessToken: "opaque"}, at.Add(time.Minute)},
		"the token says nothing": {&oauth2.Token{AccessToken: "h.e30.s"}, at.Add(time.Minute)},
		"nonsense":               {&oauth2.Token{AccessToken: "h." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1e300}`)) + ".s"}, at.Add(time.Minute)},
	} {
		if got := tokenEnd(tc.token, at); !got.Equal(tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// The hub refuses a token: one from before is exchanged, and not counted as a
// refusal of ours; a new one that is refused is.
func TestBearerSession(t *testing.T) {
	ts := newTokens()
	tok := &token{text: "t", fetched: time.Now()}
	ts.current = tok
	s := &bearerSession{tokens: ts, token: tok, before: true}
	if done, _, err := s.Challenge([]byte(`{"status":"invalid_token"}`)); done || err == nil || Classify(err) != ClassRetry {
		t.Errorf("a token from before: done %v, %v", done, err)
	}
	if ts.current != nil {
		t.Error("the token is kept")
	}
	s = &bearerSession{tokens: ts, token: tok}
	if done, answer, err := s.Challenge([]byte(`{"status":"invalid_token"}`)); done || err != nil || string(answer) != "\x01" {
		t.Errorf("a new token: done %v, answer %q, %v", done, answer, err)
	}
	if _, _, err := s.Challenge([]byte("x")); !held(err) {
		t.Errorf("a hub that goes on after it refused: %v", err)
	}
	s = &bearerSession{tokens: ts, token: tok}
	if done, _, err := s.Challenge(nil); !done || err != nil {
		t.Errorf("a token that is taken: done %v, %v", done, err)
	}
}

// While nothing connects the token is kept fresh all the same.
func TestWatchRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTokens()
		a := &access{mechanism: mechanismOAuth, oauth: tokenRequest{url: "http://127.0.0.1:0", clientID: "me", secret: "x"}}
		var renewed atomic.Int32
		l := &link{log: slog.New(slog.DiscardHandler), now: a, tokens: ts, every: lookEvery}
		ts.current = &token{of: a.oauth, fetched: time.Now(), expires: time.Now().Add(10 * time.Minute)}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		ts.fetch = func(context.Context, *access) (*token, error) {
			renewed.Add(1)
			return &token{of: a.oauth, fetched: time.Now(), expires: time.Now().Add(10 * time.Minute)}, nil
		}
		go func() { defer close(done); l.watch(ctx, func([]string) {}) }()
		<-time.After(7 * time.Minute)
		if n := renewed.Load(); n != 0 {
			t.Errorf("renewed %d times in 7 of 10 minutes", n)
		}
		<-time.After(2 * time.Minute)
		if n := renewed.Load(); n != 1 {
			t.Errorf("renewed %d times in 9 of 10 minutes", n)
		}
		cancel()
		<-done
	})
}

// Whatever an endpoint gives for a token, its end is a time that can be
// reckoned with.
func FuzzTokenEnd(f *testing.F) {
	f.Add("h." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1700000300}`)) + ".s")
	f.Add("...")
	f.Add("h." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":-1e9}`)) + ".s")
	f.Fuzz(func(t *testing.T, text string) {
		at := time.Unix(1700000000, 0)
		end := tokenEnd(&oauth2.Token{AccessToken: text}, at)
		if end.Before(time.Unix(0, 0)) || end.After(time.Unix(1<<40, 0)) {
			t.Fatalf("%q ends at %v", text, end)
		}
		_ = (&token{fetched: at, expires: end}).fresh(at)
	})
}
