package kafkatest

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// What the issuer knows, and what its tokens are for.
const (
	ClientID     = "postroad-client"
	ClientSecret = "client-secret"
	Audience     = "kafka"
	// AssertionAudience is what the assertions of a workload are for.
	AssertionAudience = "api://AzureADTokenExchange"

	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	keyID         = "key-1"
)

// Issuer is an OpenID issuer on loopback: it gives tokens for client credentials
// (RFC 6749, section 4.4), be they a secret or an assertion of a workload
// (RFC 7523), and publishes the key that they are signed with. The subject of
// its tokens is the client id. It is safe for concurrent use.
type Issuer struct {
	url    string
	key    *rsa.PrivateKey
	server *http.Server
	served chan error

	mu       sync.Mutex
	lifetime time.Duration // guarded by mu
	refuse   bool          // guarded by mu
	counts   IssuerCounts  // guarded by mu
}

// IssuerCounts are how often an issuer was asked for a token, since its start.
type IssuerCounts struct {
	// Secrets and Assertions are tokens given, by what the client showed for
	// them, Refused the requests that got none.
	Secrets, Assertions, Refused int
	// Keys is how often the key was asked for, by brokers.
	Keys int
	// Scope and Audience are what the last request asked for.
	Scope, Audience string
}

// newIssuer starts an issuer whose tokens are good for an hour.
func newIssuer() (*Issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	i := &Issuer{url: "http://" + l.Addr().String(), key: key, lifetime: time.Hour, served: make(chan error, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", i.token)
	mux.HandleFunc("GET /jwks", i.jwks)
	mux.HandleFunc("GET /.well-known/openid-configuration", i.discovery)
	i.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { i.served <- i.server.Serve(l) }()
	return i, nil
}

func (i *Issuer) close() error {
	err := i.server.Close()
	if served := <-i.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// URL is the issuer's name, below which it is discovered.
func (i *Issuer) URL() string { return i.url }

// TokenURL is where tokens are given.
func (i *Issuer) TokenURL() string { return i.url + "/token" }

// JWKSURL is where the key is.
func (i *Issuer) JWKSURL() string { return i.url + "/jwks" }

// SetLifetime sets how long tokens given from now on are good for, in whole
// seconds, as they are written; 0 or less gives tokens that are over.
func (i *Issuer) SetLifetime(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.lifetime = d
}

// Refuse makes the issuer refuse every client, or no longer.
func (i *Issuer) Refuse(refuse bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refuse = refuse
}

// Counts are how often it was asked.
func (i *Issuer) Counts() IssuerCounts {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.counts
}

// Token is a token for the brokers as the token endpoint gives it, of a subject.
func (i *Issuer) Token(subject string, lifetime time.Duration) string {
	return i.sign(i.claims(subject, Audience, lifetime))
}

// Assertion is what a platform gives a workload to show for itself, to be put in
// a file: a token of a subject that the token endpoint takes for the client's
// secret.
func (i *Issuer) Assertion(subject string, lifetime time.Duration) string {
	return i.sign(i.claims(subject, AssertionAudience, lifetime))
}

func (i *Issuer) claims(subject, audience string, lifetime time.Duration) map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": i.url, "sub": subject, "aud": audience, "iat": now.Unix(), "exp": now.Add(lifetime).Unix(),
	}
}

// sign makes a JWT (RFC 7519) with RS256.
func (i *Issuer) sign(claims map[string]any) string {
	// Maps of strings and numbers always marshal, and a key of 2048 bits always
	// signs.
	head, _ := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": keyID})
	body, _ := json.Marshal(claims)
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	signature, _ := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// verify is nil for an assertion that this issuer signed and that is not over.
func (i *Issuer) verify(token string) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("it is no JWT")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&i.key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return fmt.Errorf("claims: %w", err)
	}
	var claims struct {
		Audience string `json:"aud"`
		Expires  int64  `json:"exp"`
	}
	if err := json.Unmarshal(body, &claims); err != nil {
		return fmt.Errorf("claims: %w", err)
	}
	if claims.Audience != AssertionAudience {
		return fmt.Errorf("it is for %q", claims.Audience)
	}
	if claims.Expires <= time.Now().Unix() {
		return errors.New("it is over")
	}
	return nil
}

// token is the token endpoint.
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	asserted, err := i.client(r)
	i.mu.Lock()
	if err == nil && i.refuse {
		err = errors.New("told to refuse")
	}
	lifetime := i.lifetime
	i.counts.Scope, i.counts.Audience = r.FormValue("scope"), r.FormValue("audience")
	switch {
	case err != nil:
		i.counts.Refused++
	case asserted:
		i.counts.Assertions++
	default:
		i.counts.Secrets++
	}
	i.mu.Unlock()
	if err != nil {
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": err.Error()})
		return
	}
	claims := i.claims(ClientID, Audience, lifetime)
	if scope := r.FormValue("scope"); scope != "" {
		claims["scope"] = scope
	}
	if audience := r.FormValue("audience"); audience != "" {
		claims["aud"] = audience
	}
	answer(w, http.StatusOK, map[string]any{
		"access_token": i.sign(claims), "token_type": "Bearer", "expires_in": int(lifetime.Seconds()),
	})
}

// client is nil for a request of the client's, and tells whether it came with an
// assertion instead of the secret.
func (i *Issuer) client(r *http.Request) (asserted bool, err error) {
	if err := r.ParseForm(); err != nil {
		return false, err
	}
	if grant := r.PostForm.Get("grant_type"); grant != "client_credentials" {
		return false, fmt.Errorf("grant_type is %q", grant)
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	if id != ClientID {
		return false, fmt.Errorf("the client is %q", id)
	}
	if assertion := r.PostForm.Get("client_assertion"); assertion != "" {
		if kind := r.PostForm.Get("client_assertion_type"); kind != assertionType {
			return true, fmt.Errorf("client_assertion_type is %q", kind)
		}
		return true, i.verify(assertion)
	}
	if secret != ClientSecret {
		return false, errors.New("the secret is wrong")
	}
	return false, nil
}

// jwks publishes the key (RFC 7517).
func (i *Issuer) jwks(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	i.counts.Keys++
	i.mu.Unlock()
	coded := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	answer(w, http.StatusOK, map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": keyID,
		"n": coded(i.key.N), "e": coded(big.NewInt(int64(i.key.E))),
	}}})
}

func (i *Issuer) discovery(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{"issuer": i.url, "token_endpoint": i.TokenURL(), "jwks_uri": i.JWKSURL()})
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
