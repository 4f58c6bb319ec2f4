package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// mechanism gives each connection the credentials that files hold at that
// moment, and again where the hub wants a connection to authenticate anew
// (KIP-368).
type mechanism struct{ of *link }

// Name implements sasl.Mechanism.
func (m mechanism) Name() string { return m.of.current().mechanism }

// Authenticate implements sasl.Mechanism.
func (m mechanism) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	a := m.of.look()
	switch a.mechanism {
	case mechanismPlain:
		return plain.Auth{User: a.user, Pass: a.password}.AsMechanism().Authenticate(ctx, host)
	case mechanismScram256:
		return scram.Auth{User: a.user, Pass: a.password, IsToken: a.delegated}.AsSha256Mechanism().Authenticate(ctx, host)
	case mechanismScram512:
		return scram.Auth{User: a.user, Pass: a.password, IsToken: a.delegated}.AsSha512Mechanism().Authenticate(ctx, host)
	case mechanismOAuth:
		return m.bearer(ctx, a, host)
	}
	return nil, nil, refusedAccess(fmt.Errorf("the files of the hub's settings say no longer how to authenticate: mechanism %q", a.mechanism))
}

func (m mechanism) bearer(ctx context.Context, a *access, host string) (sasl.Session, []byte, error) {
	t, before, err := m.of.tokens.get(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	_, first, err := oauth.Auth{Token: t.text, Extensions: a.extensions}.AsMechanism().Authenticate(ctx, host)
	return &bearerSession{tokens: m.of.tokens, token: t, before: before}, first, err
}

// bearerSession is a session of OAUTHBEARER, RFC 7628. The hub says that it does
// not take a token in a challenge, and ends the session only after one more
// message.
type bearerSession struct {
	tokens  *tokens
	token   *token
	before  bool // the token was fetched for an earlier connection
	refused bool
}

// Challenge implements sasl.Session.
func (s *bearerSession) Challenge(answer []byte) (bool, []byte, error) {
	if len(answer) == 0 {
		return true, nil, nil
	}
	if s.refused {
		return false, nil, refusedAccess(fmt.Errorf("the hub refuses the token: %s", shown(string(answer))))
	}
	s.refused = true
	s.tokens.refuse(s.token)
	if s.before {
		// A clock that differs, a key that was changed: a new token may do.
		return false, nil, &Error{class: ClassRetry, err: fmt.Errorf("the hub refuses a token of %s ago, another is asked for", time.Since(s.token.fetched).Round(time.Second))}
	}
	return false, []byte{1}, nil
}
