package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issuer answers with what body holds, or fails where status says so.
type issuer struct {
	mu     sync.Mutex
	body   string
	status int
	asked  atomic.Int64
	// hold, where not nil, keeps answers back until it is closed.
	hold chan struct{}
}

func (i *issuer) set(status int, body string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status, i.body = status, body
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	i.asked.Add(1)
	i.mu.Lock()
	status, body, hold := i.status, i.body, i.hold
	i.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if status == http.StatusFound {
		w.Header().Set("Location", body)
	}
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// RoundTrip makes an issuer a transport, so that a test with a clock of its own
// needs no network.
func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	away := i.status == 0
	i.mu.Unlock()
	if away {
		i.asked.Add(1)
		return nil, errors.New("no route to the issuer")
	}
	w := httptest.NewRecorder()
	i.ServeHTTP(w, r)
	return w.Result(), nil
}

// signed is a token of alice's, signed with a key under a name.
func signed(t testing.TB, kind, kid string, more fields) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.GetSigningMethod(kind), jwt.MapClaims(good(more)))
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(pairs()[kind].private)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Over the network, as an issuer is reached: rotation, an outage, answers that
// are none.
func TestJWKSOverHTTP(t *testing.T) {
	i := &issuer{status: 200, body: set(pairs()["RS256"].jwk("one"))}
	server := httptest.NewServer(i)
	defer server.Close()
	v := verifier(t, func(o *Options) { o.JWKS.URL = server.URL + "/keys" })
	now := func() { v.jwks.mu.Lock(); v.jwks.tried = time.Time{}; v.jwks.mu.Unlock() } // lets it ask again at once
	want := func(token string, want error) {
		t.Helper()
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
	}
	one, two := signed(t, "RS256", "one", nil), signed(t, "ES256", "two", nil)
	want(one, nil)
	want(two, ErrInvalidToken)
	i.set(200, set(pairs()["RS256"].jwk("one"), pairs()["ES256"].jwk("two")))
	now()
	want(two, nil)
	want(one, nil)
	// Away: what is known stays good; of a new key it cannot be told.
	for _, answer := range []struct {
		status int
		body   string
	}{{500, ""}, {200, "<html>"}, {200, set()}, {200, strings.Repeat(" ", maxKeyBytes+1)}, {404, set(pairs()["RS256"].jwk("one"))}, {302, server.URL + "/other"}} {
		i.set(answer.status, answer.body)
		now()
		want(signed(t, "EdDSA", "three", nil), ErrUnavailable)
		want(one, nil)
		want(two, nil)
	}
	server.CloseClientConnections()
	// The old key is taken away.
	i.set(200, set(pairs()["ES256"].jwk("two"), pairs()["EdDSA"].jwk("three")))
	now()
	want(signed(t, "EdDSA", "three", nil), nil)
	want(one, ErrInvalidToken)
	// An issuer's keys are no secrets.
	want(raw(`{"alg":"HS256","kid":"two"}`, jsonOf(t, good(nil)), string(pairs()["ES256"].public)), ErrInvalidToken)
	// Two keys of one name: both are tried.
	i.set(200, set(pairs()["RS256"].jwk("same"), pairs()["ES256"].jwk("same"), pairs()["ES384"].jwk("")))
	now()
	want(signed(t, "RS256", "same", nil), nil)
	want(signed(t, "ES256", "same", nil), nil)
	want(signed(t, "ES384", "unnamed there", nil), nil)
	want(signed(t, "RS256", "", nil), nil)
	server.Close()
	now()
	want(signed(t, "EdDSA", "three", nil), ErrUnavailable)
	want(signed(t, "RS256", "same", nil), nil)
}

// cached runs a verifier over an issuer in a bubble with a clock of its own.
func cached(t *testing.T, i *issuer, run bool, fn func(t *testing.T, v *Verifier)) {
	t.Helper()
	pairs() // made outside: its lock must not be of the bubble
	synctest.Test(t, func(t *testing.T) {
		o := DefaultOptions()
		o.JWKS = JWKSOptions{URL: "https://idp.example/keys", Refresh: 10 * time.Minute, MinRefresh: 10 * time.Second}
		v, err := NewVerifier(o, Deps{Log: quiet(), Client: &http.Client{Transport: i}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		if run {
			go func() { done <- v.Run(t.Context()) }()
			synctest.Wait()
		}
		fn(t, v)
	})
}

// However many tokens of keys that nobody knows come, the issuer is asked once in
// min_refresh.
func TestUnknownKeysAskOnce(t *testing.T) {
	i := &issuer{status: 200, body: set(pairs()["ES256"].jwk("one"))}
	cached(t, i, false, func(t *testing.T, v *Verifier) {
		// A secret is never an issuer's: there is nothing to ask.
		if _, err := v.Verify(t.Context(), raw(`{"alg":"HS256","kid":"x"}`, jsonOf(t, good(nil)), secret)); !errors.Is(err, ErrInvalidToken) || i.asked.Load() != 0 {
			t.Errorf("%v, asked %d times", err, i.asked.Load())
		}
		for round := range 3 {
			var all sync.WaitGroup
			for n := range 50 {
				token := signed(t, "ES256", fmt.Sprint("unknown-", round, "-", n), nil)
				all.Go(func() {
					if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrInvalidToken) {
						t.Errorf("%v", err)
					}
				})
			}
			all.Wait()
			if got := i.asked.Load(); got != int64(round+1) {
				t.Fatalf("round %d: asked %d times", round, got)
			}
			// Known keys need no asking.
			if _, err := v.Verify(t.Context(), signed(t, "ES256", "one", nil)); err != nil || i.asked.Load() != int64(round+1) {
				t.Fatalf("%v, asked %d times", err, i.asked.Load())
			}
			<-time.After(10 * time.Second)
		}
	})
}

// A key that is published while others are known is found by the token that
// names it, once min_refresh has passed, and not later.
func TestRotationIsFound(t *testing.T) {
	i := &issuer{status: 200, body: set(pairs()["ES256"].jwk("one"))}
	cached(t, i, true, func(t *testing.T, v *Verifier) {
		<-time.After(2 * time.Second)
		i.set(200, set(pairs()["ES256"].jwk("one"), pairs()["EdDSA"].jwk("two")))
		token := signed(t, "EdDSA", "two", nil)
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrInvalidToken) {
			t.Fatalf("within min_refresh: %v", err)
		}
		<-time.After(8 * time.Second)
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Fatalf("after min_refresh: %v", err)
		}
	})
}

// An issuer that is away from the start is asked again and again; until then
// nobody is told that a token is bad. Away later, what is known stays good.
func TestIssuerIsAway(t *testing.T) {
	i := &issuer{}
	cached(t, i, true, func(t *testing.T, v *Verifier) {
		token := signed(t, "ES256", "one", fields{"exp": time.Now().Add(time.Hour).Unix()})
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("away: %v", err)
		}
		<-time.After(5 * time.Minute)
		if n := i.asked.Load(); n < 7 || n > 30 {
			t.Errorf("asked %d times in 5 minutes", n)
		}
		i.set(200, set(pairs()["ES256"].jwk("one")))
		<-time.After(retryMost)
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Fatalf("back: %v", err)
		}
		i.set(0, "")
		<-time.After(30 * time.Minute)
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Fatalf("away again: %v", err)
		}
		before := i.asked.Load()
		i.set(200, set(pairs()["EdDSA"].jwk("two")))
		<-time.After(10 * time.Minute)
		if i.asked.Load() == before {
			t.Error("not asked any more")
		}
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrInvalidToken) {
			t.Errorf("the key was taken away: %v", err)
		}
	})
}

// A refresh comes every refresh at the latest, and not in step with other nodes.
func TestRefreshTimes(t *testing.T) {
	i := &issuer{status: 200, body: set(pairs()["ES256"].jwk("one"))}
	cached(t, i, true, func(t *testing.T, _ *Verifier) {
		<-time.After(10*time.Hour + time.Second)
		if n := i.asked.Load(); n < 60 || n > 121 {
			t.Errorf("asked %d times in 10 hours", n)
		}
	})
}

// While the issuer takes long, whoever waits may leave, and the fetch goes on for
// the others.
func TestWaitingForTheIssuer(t *testing.T) {
	i := &issuer{status: 200, body: set(pairs()["ES256"].jwk("one")), hold: make(chan struct{})}
	server := httptest.NewServer(i)
	defer server.Close()
	v := verifier(t, func(o *Options) { o.JWKS.URL = server.URL })
	token := signed(t, "ES256", "one", nil)
	firstCtx, firstLeaves := context.WithCancelCause(t.Context())
	first := make(chan error, 1)
	go func() { _, err := v.Verify(firstCtx, token); first <- err }()
	for deadline := time.Now().Add(10 * time.Second); i.asked.Load() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the issuer was not asked")
		}
		<-time.After(time.Millisecond)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the client left"))
	if _, err := v.Verify(ctx, token); !errors.Is(err, ErrUnavailable) {
		t.Errorf("left: %v", err)
	}
	// The first, whose fetch it is, leaves as well, and a third one stays.
	firstLeaves(errors.New("the client left"))
	third := make(chan error, 1)
	go func() { _, err := v.Verify(t.Context(), token); third <- err }()
	close(i.hold)
	if err := <-third; err != nil {
		t.Errorf("stayed: %v", err)
	}
	if err := <-first; err != nil {
		t.Errorf("the first: %v", err)
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestJWKSFile(t *testing.T) {
	file := write(t, "jwks.json", set(pairs()["ES256"].jwk("one")))
	synctest.Test(t, func(t *testing.T) {
		token, other := signed(t, "ES256", "one", nil), signed(t, "EdDSA", "two", nil)
		v := verifier(t, func(o *Options) { o.JWKS.File = file })
		_, err1 := v.Verify(t.Context(), token)
		_, err2 := v.Verify(t.Context(), other)
		if err1 != nil || !errors.Is(err2, ErrInvalidToken) {
			t.Fatal(err1, err2)
		}
		write(t, file, set(pairs()["EdDSA"].jwk("two")))
		<-time.After(2 * lookEvery)
		_, err1 = v.Verify(t.Context(), token)
		_, err2 = v.Verify(t.Context(), other)
		if !errors.Is(err1, ErrInvalidToken) || err2 != nil {
			t.Fatal(err1, err2)
		}
	})
}
