package auth

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Options are who may come in, and what each may do.
type Options struct {
	// Keys are what tokens are signed with, each as KIND=FILE or KIND:ID=FILE.
	// KIND is "hmac" for a secret of 32 characters or more that the issuer has,
	// too, and "public" for RSA, EC and Ed25519 public keys or certificates in
	// PEM. A token that names the key it was signed with (kid) is tried with the
	// keys of that ID and with those that have none. The files are read again
	// when they change. Default [].
	Keys []KeyFile `yaml:"keys"`
	// JWKS is where an issuer makes its public keys known.
	JWKS JWKSOptions `yaml:"jwks"`
	// Algorithms are the signatures that are taken, of HS256, HS384, HS512,
	// RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA.
	// An empty list takes those that the kind of each key allows. Default [].
	Algorithms []string `yaml:"algorithms"`
	// Issuer is what a token must name as its issuer (iss). Empty takes any.
	// Default "".
	Issuer string `yaml:"issuer"`
	// Audience lists what a token may be meant for (aud), of which it must name
	// one. An empty list takes any. Default [].
	Audience []string `yaml:"audience"`
	// Leeway is by how much clocks may differ where a token says from when (nbf,
	// iat) and until when (exp) it is good; at most 5m. Default 30s.
	Leeway time.Duration `yaml:"leeway"`
	// WithoutExpiry takes tokens that never expire, too. Default false.
	WithoutExpiry bool `yaml:"without_expiry"`
	// Claims are the names of what a token says.
	Claims ClaimsOptions `yaml:"claims"`
	// Anonymous lets callers in that bring no token.
	Anonymous AnonymousOptions `yaml:"anonymous"`
	// Policies are what callers may do, each as "PRINCIPAL read TOPIC/KEY …
	// publish TOPIC/KEY …". In a principal, a topic and a key * stands for any
	// run of characters; white space is written %20. All policies whose principal
	// is the caller's name count together; a token can only narrow what they
	// grant. Subscribing to all keys of a topic, or to one of its partitions,
	// needs a pattern that ends in "/*". Default []: nobody may do anything.
	Policies []Policy `yaml:"policies"`
}

// JWKSOptions say where an issuer makes its public keys known.
type JWKSOptions struct {
	// URL is fetched, https only, but for http to this machine. Empty fetches
	// none. Default "".
	URL string `yaml:"url"`
	// File is read instead, and again when it changes. Default "".
	File string `yaml:"file"`
	// Refresh is how often the URL is fetched, 1m to 24h. While the issuer is
	// away the keys that are known stay good. Default 10m.
	Refresh time.Duration `yaml:"refresh"`
	// MinRefresh is the least time between two fetches because of a token that
	// names a key which is not known, 1s to 1h. Default 10s.
	MinRefresh time.Duration `yaml:"min_refresh"`
}

// ClaimsOptions are the names of what a token says.
type ClaimsOptions struct {
	// Principal names the claim that holds the caller's name. Default "sub".
	Principal string `yaml:"principal"`
	// Channels names the claim with the list of subjects that a caller is
	// subscribed to at once. Default "channels".
	Channels string `yaml:"channels"`
	// Permissions names the claim that narrows what the policies grant:
	// {"read": [patterns], "publish": [patterns]}; a list that is not there
	// narrows nothing. Default "postroad".
	Permissions string `yaml:"permissions"`
}

// AnonymousOptions let callers in that bring no token.
type AnonymousOptions struct {
	// Enabled lets them in. Default false.
	Enabled bool `yaml:"enabled"`
	// Read lists patterns of the subjects that they may subscribe to. Default
	// [].
	Read []Pattern `yaml:"read"`
	// Publish lists patterns of the subjects that they may publish to. Default
	// [].
	Publish []Pattern `yaml:"publish"`
}

// Kinds of keys.
const (
	KindHMAC   = "hmac"
	KindPublic = "public"
)

// KeyFile is a file with keys.
type KeyFile struct {
	// Kind is KindHMAC or KindPublic.
	Kind string
	// ID is what tokens call the key; empty where any may.
	ID string
	// File holds it.
	File string
}

// UnmarshalText reads KIND=FILE or KIND:ID=FILE.
func (k *KeyFile) UnmarshalText(text []byte) error {
	what, file, ok := strings.Cut(string(text), "=")
	kind, id, named := strings.Cut(what, ":")
	if !ok || file == "" || kind != KindHMAC && kind != KindPublic || named && id == "" || len(id) > maxKeyID {
		return errors.New("must be hmac=FILE, public=FILE, hmac:ID=FILE or public:ID=FILE")
	}
	*k = KeyFile{Kind: kind, ID: id, File: file}
	return nil
}

// MarshalText writes KIND=FILE or KIND:ID=FILE.
func (k KeyFile) MarshalText() ([]byte, error) {
	if k.ID == "" {
		return []byte(k.Kind + "=" + k.File), nil
	}
	return []byte(k.Kind + ":" + k.ID + "=" + k.File), nil
}

// AnonymousName is that of callers who bring no token. No token may give it.
const AnonymousName = "anonymous"

// DefaultOptions let nobody in.
func DefaultOptions() Options {
	return Options{
		JWKS:   JWKSOptions{Refresh: 10 * time.Minute, MinRefresh: 10 * time.Second},
		Leeway: 30 * time.Second,
		Claims: ClaimsOptions{Principal: "sub", Channels: "channels", Permissions: "postroad"},
	}
}

// Tokens reports whether any token can be good: a key or a place for keys is
// given.
func (o Options) Tokens() bool { return len(o.Keys) > 0 || o.JWKS.URL != "" || o.JWKS.File != "" }

// Validate returns every setting that breaks a rule, each as
// "path: value: rule".
func (o Options) Validate() error {
	var errs []error
	check := func(ok bool, path string, value any, rule string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %v: %s", path, value, rule))
		}
	}
	for i, k := range o.Keys {
		check((k.Kind == KindHMAC || k.Kind == KindPublic) && k.File != "", fmt.Sprintf("keys[%d]", i), k.Kind, "must be hmac=FILE or public=FILE")
	}
	check(o.JWKS.URL == "" || o.JWKS.File == "", "jwks.file", o.JWKS.File, "must be empty where jwks.url is given")
	check(o.JWKS.URL == "" || safeURL(o.JWKS.URL), "jwks.url", redacted(o.JWKS.URL), "must be an https address, or http of this machine, without user and fragment")
	check(o.JWKS.Refresh >= time.Minute && o.JWKS.Refresh <= 24*time.Hour, "jwks.refresh", o.JWKS.Refresh, "must be between 1m and 24h")
	check(o.JWKS.MinRefresh >= time.Second && o.JWKS.MinRefresh <= time.Hour, "jwks.min_refresh", o.JWKS.MinRefresh, "must be between 1s and 1h")
	for i, a := range o.Algorithms {
		check(slices.Contains(allAlgorithms(), a), fmt.Sprintf("algorithms[%d]", i), a, "must be one of "+strings.Join(allAlgorithms(), ", "))
	}
	for i, a := range o.Audience {
		check(a != "", fmt.Sprintf("audience[%d]", i), `""`, "must not be empty")
	}
	check(o.Leeway >= 0 && o.Leeway <= 5*time.Minute, "leeway", o.Leeway, "must be between 0s and 5m")
	check(o.Claims.Principal != "", "claims.principal", `""`, "must not be empty")
	reserved := []string{"exp", "nbf", "iat", "iss", "aud"}
	for _, c := range []struct{ path, name string }{
		{"claims.principal", o.Claims.Principal}, {"claims.channels", o.Claims.Channels}, {"claims.permissions", o.Claims.Permissions},
	} {
		check(!slices.Contains(reserved, c.name), c.path, c.name, "must not be one of "+strings.Join(reserved, ", "))
	}
	for i, p := range o.Policies {
		check(p.Principal != "" && len(p.Read)+len(p.Publish) > 0, fmt.Sprintf("policies[%d]", i), p.Principal, policyForm)
	}
	return errors.Join(errs...)
}

// safeURL reports whether keys may be fetched from an address: nobody on the way
// must be able to put another key in.
func safeURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return false
	}
	if u.Scheme == "https" {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// redacted is an address as it may be shown.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(no address)"
	}
	return u.Redacted()
}
