package gateway

import (
	"errors"
	"fmt"
	"net/http"

	"postroad/internal/auth"
	"postroad/internal/message"
	"postroad/internal/relay/wire"
)

// AuthOptions say who may send to a gateway, and what.
type AuthOptions struct {
	// Enabled asks each call for a bearer token, but for health, /default and the
	// description. Without it anybody may send anything. Default false.
	Enabled bool `yaml:"enabled"`
	// Nodes are the stream nodes that may send in the name of their clients, each
	// as NAME=FILE: a name for the node and the file that holds its bearer token,
	// 16 characters or more, the same as in its publish.token_file. Several nodes
	// may share one. The files are read again when they change. They count with
	// and without enabled. Default []: none may.
	Nodes []RelayStamp `yaml:"nodes"`
	// Options are who else may come in.
	auth.Options `yaml:",inline"`
}

func defaultAuthOptions() AuthOptions { return AuthOptions{Options: auth.DefaultOptions()} }

// Callers tell who a request comes from; an *auth.Verifier does.
type Callers interface {
	// Authenticate returns who sends a request. Errors that match neither
	// auth.ErrNoToken, ErrInvalidToken nor ErrExpired say that it cannot be told
	// now.
	Authenticate(r *http.Request) (*auth.Principal, error)
	// Named is a caller whom a stream node has authenticated.
	Named(name string) (*auth.Principal, bool)
}

func (c *checker) auth(o AuthOptions) {
	c.within("auth", o.Options.Validate())
	c.check(!o.Enabled || o.Tokens() || o.Anonymous.Enabled, "auth.enabled", o.Enabled, "lets nobody in; give auth.keys, auth.jwks or auth.anonymous")
	names := map[string]bool{}
	for i, n := range o.Nodes {
		at := fmt.Sprintf("auth.nodes[%d]", i)
		c.check(wire.ValidStamp(n.Name) && n.File != "", at, n.Name, "must be NAME=FILE, the name 1 to 63 of a-z, 0-9 and -")
		c.check(!names[n.Name], at, n.Name, "is there twice")
		names[n.Name] = true
	}
}

// within adds the problems of a part.
func (c *checker) within(part string, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			c.errs = append(c.errs, fmt.Errorf("%s.%w", part, e))
		}
	}
}

// caller is who sent a request.
type caller struct {
	// name is the principal of its messages.
	name string
	// publish is what it may send; nil is everything.
	publish *auth.Patterns
}

// callers finds out who sends.
type callers struct {
	// nobody is the name of those who say nothing of themselves.
	nobody string
	nodes  *auth.Stamps // nil where none is let in
	tokens Callers      // nil where no tokens are asked for
}

func newCallers(o Options, tokens Callers) *callers {
	c := &callers{nobody: o.Principal}
	if len(o.Auth.Nodes) > 0 {
		known := make([]auth.Stamp, len(o.Auth.Nodes))
		for i, n := range o.Auth.Nodes {
			known[i] = auth.Stamp{Name: n.Name, TokenFile: n.File}
		}
		c.nodes = auth.NewStamps(known)
	}
	if o.Auth.Enabled {
		c.tokens = tokens
	}
	return c
}

// caller returns who sent r, and says in the answer how to say so where it did
// not.
//
// The name that a stream node gives is believed from those nodes alone. Without
// that check anybody could send in another's name, and have its own message
// taken for a repeat of the other's.
func (g *Gateway) caller(h http.Header, r *http.Request) (caller, error) {
	who, err := g.callers.find(r)
	if errors.Is(err, errUnauthorized) {
		h.Set("WWW-Authenticate", `Bearer realm="postroad"`)
	}
	if errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrSecret) {
		g.deps.Log.Error("callers cannot be told apart", "err", err)
		err = refuse(errUnavailable, "tokens cannot be checked now")
	}
	return who, err
}

func (c *callers) find(r *http.Request) (caller, error) {
	names := r.Header[auth.PrincipalField]
	node, unread := c.node(r)
	switch {
	case node && len(names) == 1:
		return c.named(names[0])
	case node:
		return caller{}, refuse(message.ErrInvalid, "%s: a stream node names the one client that it sends for", auth.PrincipalField)
	case len(names) > 0 && unread != nil:
		return caller{}, unread
	case len(names) > 0:
		// Unauthorized and not forbidden: while a node's token is being replaced its
		// clients are to come again, and not to be told that they may not.
		return caller{}, refuse(errUnauthorized, "%s is taken only from a stream node that gateway.auth.nodes names", auth.PrincipalField)
	case c.tokens == nil:
		return caller{name: c.nobody}, nil
	}
	p, err := c.tokens.Authenticate(r)
	switch {
	case err == nil:
		return c.of(p), nil
	case unread != nil:
		return caller{}, unread
	case auth.IsDenied(err):
		return caller{}, refuse(errUnauthorized, "%v", err)
	}
	return caller{}, err
}

// node reports whether a request bears the token of a stream node; unread says
// that this cannot be told now.
func (c *callers) node(r *http.Request) (found bool, unread error) {
	if c.nodes == nil || len(r.Header["Authorization"]) == 0 {
		return false, nil
	}
	_, err := c.nodes.Identify(r)
	if errors.Is(err, auth.ErrSecret) {
		return false, err
	}
	return err == nil, nil
}

// named is a caller whom a stream node names.
func (c *callers) named(field string) (caller, error) {
	name, err := auth.DecodeName(field)
	if err != nil {
		return caller{}, refuse(message.ErrInvalid, "%s: %v", auth.PrincipalField, err)
	}
	if c.tokens == nil {
		return c.of(&auth.Principal{Name: name, Anonymous: name == auth.AnonymousName}).unbounded(), nil
	}
	p, ok := c.tokens.Named(name)
	if !ok {
		return caller{}, refuse(errForbidden, "callers without a token are not let in here")
	}
	return c.of(p), nil
}

// of is a principal as a caller. Who has no name of its own gets that of all who
// say nothing of themselves, by whatever way it comes: its messages have the same
// dedupe ids.
func (c *callers) of(p *auth.Principal) caller {
	name := p.Name
	if p.Anonymous {
		name = c.nobody
	}
	return caller{name: name, publish: &p.Publish}
}

func (c caller) unbounded() caller { return caller{name: c.name} }

// checkPermission refuses a batch with a message that its sender may not send,
// before any of it is stored.
func (b *batch) checkPermission(topic string) error {
	if b.caller.publish == nil {
		return nil
	}
	for i := range b.msgs {
		key := string(b.msgs[i].Key)
		if i > 0 && key == string(b.msgs[i-1].Key) {
			continue
		}
		if !b.caller.publish.MatchKey(topic, key) {
			e := refuse(errForbidden, "%s%s may not publish to topic %q with key %q", b.prefix(i), clip(b.caller.name), clip(topic), clip(key))
			return b.locate(e, i)
		}
	}
	return nil
}
