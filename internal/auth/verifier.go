package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// Verifier says who a caller is by the token it brings, and what it may do. It
// is safe for concurrent use.
type Verifier struct {
	opts      Options
	files     []keyFile
	jwks      *jwks // nil where no address is given
	allowed   []string
	parser    *jwt.Parser
	policies  []compiled
	anonymous *Principal
	metrics   *metrics

	mu sync.Mutex
	// grants are guarded by mu: what callers get, by which policies are theirs;
	// see grant.
	grants map[string]grant
}

// keyFile is keys that a file holds.
type keyFile struct {
	name string
	keys *watched[[]key]
}

// Deps are a verifier's collaborators.
type Deps struct {
	// Log is required.
	Log *slog.Logger
	// Registerer takes the metrics; nil registers none.
	Registerer prometheus.Registerer
	// Client fetches jwks.url; nil is one of its own.
	Client *http.Client
}

var (
	// ErrNoToken: no token was brought.
	ErrNoToken = errors.New("no token")
	// ErrInvalidToken: the token is not good, and will not be.
	ErrInvalidToken = errors.New("the token is not good")
	// ErrExpired: the token was good once.
	ErrExpired = errors.New("the token has expired")
	// ErrUnavailable: whether the token is good cannot be told now, since the
	// keys cannot be had.
	ErrUnavailable = errors.New("tokens cannot be checked now")
)

// NewVerifier checks options and collaborators. Files of keys need not be there
// yet. The error holds every problem that was found.
func NewVerifier(o Options, d Deps) (*Verifier, error) {
	err := o.Validate()
	if d.Log == nil {
		err = errors.Join(err, errors.New("auth: Deps.Log is nil"))
	}
	if err != nil {
		return nil, err
	}
	v := &Verifier{opts: o, allowed: o.Algorithms, policies: compile(o.Policies), metrics: newMetrics(), grants: map[string]grant{}}
	if len(v.allowed) == 0 {
		v.allowed = allAlgorithms()
	}
	for _, k := range o.Keys {
		parse := parsePublic
		if k.Kind == KindHMAC {
			parse = parseHMAC
		}
		v.files = append(v.files, keyFile{k.File, &watched[[]key]{
			file: k.File, most: maxKeyBytes, parse: func(b []byte) ([]key, error) { return parse(k.ID, b) },
		}})
	}
	if o.JWKS.File != "" {
		v.files = append(v.files, keyFile{o.JWKS.File, &watched[[]key]{
			file: o.JWKS.File, most: maxKeyBytes, parse: func(b []byte) ([]key, error) {
				keys, _, err := parseJWKS(b)
				return keys, err
			},
		}})
	}
	if o.JWKS.URL != "" {
		v.jwks = &jwks{url: o.JWKS.URL, refresh: o.JWKS.Refresh, minRefresh: o.JWKS.MinRefresh, client: d.Client, log: d.Log, fetches: v.metrics.fetched}
		if d.Client == nil {
			v.jwks.client = newClient()
		}
	}
	v.parser = jwt.NewParser(o.parserOptions(v.allowed)...)
	if o.Anonymous.Enabled {
		v.anonymous = &Principal{
			Name: AnonymousName, Anonymous: true,
			Read:    Patterns{granted: lists("anonymous.read", o.Anonymous.Read)},
			Publish: Patterns{granted: lists("anonymous.publish", o.Anonymous.Publish)},
		}
	}
	return v, v.metrics.register(d.Registerer)
}

func (o Options) parserOptions(allowed []string) []jwt.ParserOption {
	list := []jwt.ParserOption{
		jwt.WithValidMethods(allowed), jwt.WithLeeway(o.Leeway), jwt.WithIssuedAt(), jwt.WithStrictDecoding(),
	}
	if !o.WithoutExpiry {
		list = append(list, jwt.WithExpirationRequired())
	}
	if o.Issuer != "" {
		list = append(list, jwt.WithIssuer(o.Issuer))
	}
	if len(o.Audience) > 0 {
		list = append(list, jwt.WithAudience(o.Audience...))
	}
	return list
}

// Run keeps the keys of jwks.url fresh until ctx ends. Without it they are
// fetched when a token asks for one that is not known.
func (v *Verifier) Run(ctx context.Context) error {
	if v.jwks == nil {
		<-ctx.Done()
		return nil
	}
	return v.jwks.run(ctx)
}

// Anonymous is who comes without a token, where such callers are let in.
func (v *Verifier) Anonymous() (*Principal, bool) { return v.anonymous, v.anonymous != nil }

// Named is a caller of a name that somebody else has checked, with all that the
// policies grant it. Of AnonymousName it is what Anonymous returns.
func (v *Verifier) Named(name string) (*Principal, bool) {
	if name == AnonymousName {
		return v.Anonymous()
	}
	g := v.grant(name)
	return &Principal{Name: name, Read: Patterns{granted: g.read}, Publish: Patterns{granted: g.publish}}, true
}

// Verify returns who a token stands for. Errors match ErrNoToken,
// ErrInvalidToken, ErrExpired or ErrUnavailable, and hold nothing that is
// secret.
func (v *Verifier) Verify(ctx context.Context, token string) (*Principal, error) {
	p, err := v.verify(ctx, token)
	v.metrics.checked(err)
	return p, err
}

func (v *Verifier) verify(ctx context.Context, token string) (*Principal, error) {
	switch {
	case token == "":
		return nil, ErrNoToken
	case len(token) > maxToken:
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrInvalidToken, maxToken)
	}
	if strings.Trim(token, tokenChars) != "" {
		// Decoders pass over line breaks: one token would have many texts.
		return nil, fmt.Errorf("%w: it holds a character that no token has", ErrInvalidToken)
	}
	h, err := readHeader(token)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	if !slices.Contains(v.allowed, h.Algorithm) {
		return nil, fmt.Errorf("%w: signatures of its algorithm are not taken", ErrInvalidToken)
	}
	keys, unread := v.keys(ctx, h)
	c := &claims{names: v.opts.Claims}
	_, err = v.parser.ParseWithClaims(token, c, func(*jwt.Token) (any, error) { return keys, nil })
	switch {
	case err == nil:
		return v.principal(c)
	case unread != nil && (errors.Is(err, jwt.ErrTokenSignatureInvalid) || errors.Is(err, jwt.ErrTokenUnverifiable)):
		// It may be signed with the key that could not be had.
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, unread)
	case onlyExpired(err):
		return nil, ErrExpired
	}
	return nil, fmt.Errorf("%w: %s", ErrInvalidToken, reason(err))
}

// keys are those that may have made a signature. unread says which could not be
// looked at.
func (v *Verifier) keys(ctx context.Context, h header) (set jwt.VerificationKeySet, unread error) {
	add := func(keys []key) {
		for _, k := range keys {
			if k.fits(h.Key, h.Algorithm) {
				set.Keys = append(set.Keys, k.value)
			}
		}
	}
	for _, f := range v.files {
		keys, err := f.keys.get()
		if err != nil {
			unread = fmt.Errorf("%s: %w", f.name, err)
		}
		add(keys)
	}
	if v.jwks != nil && !strings.HasPrefix(h.Algorithm, "HS") {
		keys, err := v.jwks.find(ctx, h.Key)
		if err != nil {
			unread = err
		}
		add(keys)
	}
	return set, unread
}

// onlyExpired reports whether nothing but its age is wrong with a token.
func onlyExpired(err error) bool {
	others := []error{
		jwt.ErrTokenNotValidYet, jwt.ErrTokenInvalidAudience, jwt.ErrTokenInvalidIssuer, jwt.ErrTokenUsedBeforeIssued,
		jwt.ErrTokenRequiredClaimMissing, jwt.ErrTokenMalformed,
	}
	return errors.Is(err, jwt.ErrTokenExpired) && !slices.ContainsFunc(others, func(o error) bool { return errors.Is(err, o) })
}

// reason says what is wrong with a token, in words that a caller may see.
func reason(err error) string {
	for _, r := range []struct {
		err  error
		text string
	}{
		{jwt.ErrTokenSignatureInvalid, "its signature is of no key that is known"},
		{jwt.ErrTokenUnverifiable, "no key that is known could have signed it"},
		{jwt.ErrTokenInvalidIssuer, "it is of another issuer"},
		{jwt.ErrTokenInvalidAudience, "it is meant for somebody else"},
		{jwt.ErrTokenNotValidYet, "it is not good yet"},
		{jwt.ErrTokenUsedBeforeIssued, "it comes from the future"},
	} {
		if errors.Is(err, r.err) {
			return r.text
		}
	}
	return err.Error()
}

// principal is who claims are of, which are known to be good.
func (v *Verifier) principal(c *claims) (*Principal, error) {
	if c.name == AnonymousName {
		// Otherwise its messages would be taken for those of callers without a
		// token, and the other way round.
		return nil, fmt.Errorf("%w: the name %q is kept for callers without a token", ErrInvalidToken, AnonymousName)
	}
	g := v.grant(c.name)
	claim := v.opts.Claims.Permissions
	p := &Principal{
		Name:    c.name,
		Read:    Patterns{granted: g.read, narrowed: narrowing(c.narrowsRead, claim, "read", c.read)},
		Publish: Patterns{granted: g.publish, narrowed: narrowing(c.narrowsPublish, claim, "publish", c.publish)},
	}
	if c.exp != nil {
		p.Expires = c.exp.Add(v.opts.Leeway)
	}
	for _, name := range c.channels {
		if p.MayRead(name) {
			p.Channels = append(p.Channels, name)
		}
	}
	return p, nil
}
