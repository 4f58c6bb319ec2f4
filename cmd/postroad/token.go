package main

import (
	"fmt"
	"time"

	"postroad/internal/auth"
)

// tokenCommand mints tokens.
type tokenCommand struct {
	Secret     string        `help:"File with the secret to sign with (HS256), the one that auth.keys names as hmac=FILE." placeholder:"FILE" type:"path" xor:"key" required:""`
	PrivateKey string        `help:"File with the private key to sign with, in PEM: RSA (RS256), EC or Ed25519." placeholder:"FILE" type:"path" xor:"key" required:""`
	KeyID      string        `help:"Name of the key, as auth.keys or the issuer's JWKS has it." placeholder:"ID"`
	Sub        string        `help:"Name of the caller." required:"" placeholder:"NAME"`
	TTL        time.Duration `help:"How long the token is good." default:"1h" name:"ttl"`
	Read       []string      `help:"Narrow what may be read to a pattern; may be repeated. An empty one leaves nothing." placeholder:"TOPIC/KEY" sep:"none"`
	Publish    []string      `help:"Narrow what may be published to a pattern; may be repeated. An empty one leaves nothing." placeholder:"TOPIC/KEY" sep:"none"`
	Channel    []string      `help:"Subject to be subscribed to at once; may be repeated." placeholder:"TOPIC/KEY" sep:"none"`
	Issuer     string        `help:"Who the token is of (iss)." placeholder:"TEXT"`
	Audience   []string      `help:"Whom the token is for (aud); may be repeated." placeholder:"TEXT" sep:"none"`
}

// Help says what a token is good for.
func (c *tokenCommand) Help() string {
	return "Mints a token (JWT) for a client of a stream node or gateway whose auth.keys know the key, and prints it." +
		" What the client may do is decided by the policies there: a token can only take away from it." +
		" `postroad auth explain` tells what a token allows."
}

// Run prints a token.
func (c *tokenCommand) Run(std streams) error {
	kind, file := auth.KindHMAC, c.Secret
	if file == "" {
		kind, file = auth.KindPublic, c.PrivateKey
	}
	signer, err := auth.NewSigner(kind, file)
	if err != nil {
		return err
	}
	text, err := signer.Mint(auth.Grant{
		Name: c.Sub, Issued: time.Now(), TTL: c.TTL, KeyID: c.KeyID, Issuer: c.Issuer, Audience: c.Audience,
		Channels: c.Channel, Read: narrowed(c.Read), Publish: narrowed(c.Publish),
	}, auth.DefaultOptions().Claims)
	if err != nil {
		return &usageError{err}
	}
	fmt.Fprintln(std.out, text)
	return nil
}

// narrowed takes the empty patterns out of a list: one alone leaves a list of
// nothing, and no flag at all none.
func narrowed(patterns []string) []string {
	if patterns == nil {
		return nil
	}
	left := []string{}
	for _, p := range patterns {
		if p != "" {
			left = append(left, p)
		}
	}
	return left
}
