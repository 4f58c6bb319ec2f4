package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// jwk is a public key as RFC 7517 and 7518 write it (Ed25519: RFC 8037).
type jwk struct {
	Type       string   `json:"kty"`
	Use        string   `json:"use"`
	Operations []string `json:"key_ops"`
	Algorithm  string   `json:"alg"`
	ID         string   `json:"kid"`
	Curve      string   `json:"crv"`
	N          string   `json:"n"`
	E          string   `json:"e"`
	X          string   `json:"x"`
	Y          string   `json:"y"`
}

// parseJWKS reads the keys that an issuer makes known. Those that are of no use
// here (of another kind, for another purpose, too weak) are left out, as RFC
// 7517 asks; why is in skipped. Secrets are left out, too: what is fetched from
// an address is not secret. The error says that nothing is left.
func parseJWKS(b []byte) (keys []key, skipped []error, err error) {
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, nil, fmt.Errorf("no set of keys: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("a set of %d keys; at most %d", len(set.Keys), maxKeys)
	}
	for i, raw := range set.Keys {
		k, err := parseJWK(raw)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d: %w", i+1, err))
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, skipped, errors.Join(append([]error{errors.New("the set holds no usable key")}, skipped...)...)
	}
	return keys, skipped, nil
}

func parseJWK(raw jsontext.Value) (key, error) {
	var j jwk
	if err := json.Unmarshal(raw, &j); err != nil {
		return key{}, err
	}
	switch {
	case j.Use != "" && j.Use != "sig":
		return key{}, fmt.Errorf("it is for %q", j.Use)
	case len(j.Operations) > 0 && !slices.Contains(j.Operations, "verify"):
		return key{}, errors.New("its key_ops do not hold verify")
	case len(j.ID) > maxKeyID:
		return key{}, fmt.Errorf("its kid has %d bytes; at most %d", len(j.ID), maxKeyID)
	}
	value, err := j.value()
	if err != nil {
		return key{}, err
	}
	k, err := newPublicKey(j.ID, value)
	if err != nil {
		return key{}, err
	}
	if j.Algorithm != "" {
		if !slices.Contains(k.algorithms, j.Algorithm) {
			return key{}, fmt.Errorf("its alg %q is none of its kind", j.Algorithm)
		}
		k.algorithms = []string{j.Algorithm}
	}
	return k, nil
}

// value is the public key itself.
func (j jwk) value() (any, error) {
	switch j.Type {
	case "RSA":
		return j.rsa()
	case "EC":
		return j.ec()
	case "OKP":
		x, err := decode("x", j.X)
		if err != nil {
			return nil, err
		}
		if j.Curve != "Ed25519" || len(x) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("an OKP key of curve %q with %d bytes; must be Ed25519", j.Curve, len(x))
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, fmt.Errorf("its kty is %q; must be RSA, EC or OKP", j.Type)
}

func (j jwk) rsa() (any, error) {
	n, err := decode("n", j.N)
	if err != nil {
		return nil, err
	}
	e, err := decode("e", j.E)
	if err != nil {
		return nil, err
	}
	if len(n) > maxRSA/8+1 || len(e) > 4 {
		return nil, fmt.Errorf("an RSA key of %d and %d bytes", len(n), len(e))
	}
	exponent := new(big.Int).SetBytes(e).Int64()
	if exponent > 1<<31-1 {
		return nil, fmt.Errorf("an RSA key with the exponent %d", exponent)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent)}, nil
}

// ec makes an EC key; the standard library checks that it is a point of the
// curve.
func (j jwk) ec() (any, error) {
	curves := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}
	curve, ok := curves[j.Curve]
	if !ok {
		return nil, fmt.Errorf("its crv is %q; must be P-256, P-384 or P-521", j.Curve)
	}
	point := []byte{4} // not compressed
	for _, c := range []struct{ name, text string }{{"x", j.X}, {"y", j.Y}} {
		b, err := decode(c.name, c.text)
		if err != nil {
			return nil, err
		}
		size := (curve.Params().BitSize + 7) / 8
		if len(b) != size {
			return nil, fmt.Errorf("its %s has %d bytes; must be %d", c.name, len(b), size)
		}
		point = append(point, b...)
	}
	value, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, fmt.Errorf("EC key: %w", err)
	}
	return value, nil
}

func decode(name, text string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("its %s is not Base64 (URL, without padding)", name)
	}
	return b, nil
}
