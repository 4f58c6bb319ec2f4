package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Signer signs tokens with the key that a file holds.
type Signer struct {
	method jwt.SigningMethod
	key    any
}

// NewSigner reads a signing key: with KindHMAC a secret of 32 characters or more,
// with KindPublic the private key in PEM that belongs to the public one.
func NewSigner(kind, file string) (*Signer, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	if len(b) > maxKeyBytes {
		return nil, fmt.Errorf("signing key in %s: it has more than %d bytes", file, maxKeyBytes)
	}
	s, err := parseSigner(kind, b)
	if err != nil {
		return nil, fmt.Errorf("signing key in %s: %w", file, err)
	}
	return s, nil
}

func parseSigner(kind string, b []byte) (*Signer, error) {
	if kind == KindHMAC {
		keys, err := parseHMAC("", b)
		if err != nil {
			return nil, err
		}
		return &Signer{jwt.SigningMethodHS256, keys[0].value}, nil
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("it holds no private key in PEM")
	}
	private, err := privateKey(block)
	if err != nil {
		return nil, err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T; must be RSA, EC or Ed25519", private)
	}
	public, err := newPublicKey("", asPublic(signer))
	if err != nil {
		return nil, err
	}
	return &Signer{jwt.GetSigningMethod(public.algorithms[0]), private}, nil
}

// asPublic is the public half of a private key, as newPublicKey takes it.
func asPublic(s crypto.Signer) any {
	switch k := s.(type) {
	case *rsa.PrivateKey:
		return &k.PublicKey
	case *ecdsa.PrivateKey:
		return &k.PublicKey
	case ed25519.PrivateKey:
		return k.Public()
	}
	return s
}

func privateKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "PRIVATE KEY":
		k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		return k, wrap("private key", err)
	case "EC PRIVATE KEY":
		k, err := x509.ParseECPrivateKey(block.Bytes)
		return k, wrap("EC private key", err)
	case "RSA PRIVATE KEY":
		k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		return k, wrap("RSA private key", err)
	}
	return nil, fmt.Errorf("it holds a %q; must be a private key without a password", block.Type)
}

// Grant is what a token is to say.
type Grant struct {
	// Name is the caller's.
	Name string
	// Issued is now, TTL for how long the token is good.
	Issued time.Time
	TTL    time.Duration
	// KeyID names the key it is signed with; empty does not.
	KeyID    string
	Issuer   string
	Audience []string
	// Channels are subjects to subscribe to at once.
	Channels []string
	// Read and Publish narrow what the policies grant where they are not nil.
	Read, Publish []string
}

// Mint makes a token, with claims of the names given.
func (s *Signer) Mint(g Grant, names ClaimsOptions) (string, error) {
	if err := g.check(); err != nil {
		return "", err
	}
	said := jwt.MapClaims{
		names.Principal: g.Name, "iat": g.Issued.Unix(), "exp": g.Issued.Add(g.TTL).Unix(),
	}
	if g.Issuer != "" {
		said["iss"] = g.Issuer
	}
	if len(g.Audience) > 0 {
		said["aud"] = g.Audience
	}
	if len(g.Channels) > 0 {
		said[names.Channels] = g.Channels
	}
	permissions := map[string][]string{}
	if g.Read != nil {
		permissions["read"] = g.Read
	}
	if g.Publish != nil {
		permissions["publish"] = g.Publish
	}
	if len(permissions) > 0 {
		said[names.Permissions] = permissions
	}
	token := jwt.NewWithClaims(s.method, said)
	if g.KeyID != "" {
		token.Header["kid"] = g.KeyID
	}
	text, err := token.SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	if len(text) > maxToken {
		return "", fmt.Errorf("a token of %d bytes; at most %d", len(text), maxToken)
	}
	return text, nil
}

// check refuses what a verifier would refuse.
func (g Grant) check() error {
	if err := CheckName(g.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	switch {
	case g.Name == AnonymousName:
		return fmt.Errorf("name: %q is kept for callers without a token", AnonymousName)
	case g.TTL < time.Second:
		return fmt.Errorf("ttl: %v: must be at least 1s", g.TTL)
	case len(g.KeyID) > maxKeyID:
		return fmt.Errorf("key id: %d bytes; at most %d", len(g.KeyID), maxKeyID)
	case len(g.Channels) > maxChannels:
		return fmt.Errorf("%d channels; at most %d", len(g.Channels), maxChannels)
	}
	for _, c := range g.Channels {
		if _, ok := parseTarget(c); !ok {
			return fmt.Errorf("channel %q is not the name of a subject", c)
		}
	}
	for _, list := range [][]string{g.Read, g.Publish} {
		for _, p := range list {
			if _, err := ParsePattern(p); err != nil {
				return err
			}
		}
	}
	return nil
}
