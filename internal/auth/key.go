package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// key is one that signatures are checked with. What it is decides which
// signatures: a token cannot have a public key taken for a secret by naming
// another algorithm, since the key is not one of that algorithm's.
type key struct {
	// id is what tokens call it; empty where any may.
	id string
	// value is []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey.
	value crypto.PublicKey
	// algorithms are those it is good for.
	algorithms []string
}

const (
	// maxKeyID is the longest name of a key, in bytes.
	maxKeyID = 256
	// maxKeys is how many keys one file or issuer may have.
	maxKeys = 64
	// maxKeyBytes is the largest file of keys, in bytes.
	maxKeyBytes = 1 << 20
	// minHMAC is the shortest secret for signatures, in bytes (RFC 7518, section
	// 3.2 for HS256), minRSA and maxRSA the sizes of RSA keys in bits; larger
	// ones make a check so slow that tokens become a way to stop a node.
	minHMAC, minRSA, maxRSA = 32, 2048, 8192
)

func hmacAlgorithms() []string { return []string{"HS256", "HS384", "HS512"} }

func rsaAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
}

// allAlgorithms are those that can be allowed. "none" is no signature and never
// among them.
func allAlgorithms() []string {
	return slices.Concat(hmacAlgorithms(), rsaAlgorithms(), []string{"ES256", "ES384", "ES512", "EdDSA"})
}

// newPublicKey makes a key of a public key.
func newPublicKey(id string, value any) (key, error) {
	k := key{id: id, value: value}
	switch v := value.(type) {
	case *rsa.PublicKey:
		if bits := v.N.BitLen(); bits < minRSA || bits > maxRSA {
			return key{}, fmt.Errorf("an RSA key of %d bits; must be %d to %d", bits, minRSA, maxRSA)
		}
		if v.E < 3 || v.E%2 == 0 {
			return key{}, fmt.Errorf("an RSA key with the exponent %d", v.E)
		}
		k.algorithms = rsaAlgorithms()
	case *ecdsa.PublicKey:
		byCurve := map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
		algorithm, ok := byCurve[v.Params().Name]
		if !ok {
			return key{}, fmt.Errorf("an EC key of curve %s; must be P-256, P-384 or P-521", v.Params().Name)
		}
		k.algorithms = []string{algorithm}
	case ed25519.PublicKey:
		k.algorithms = []string{"EdDSA"}
	default:
		return key{}, fmt.Errorf("a key of type %T; must be RSA, EC or Ed25519", value)
	}
	return k, nil
}

// parseHMAC reads a secret for signatures. What is a public key is refused: it
// is known to everybody, and whoever put it here by mistake would let everybody
// sign.
func parseHMAC(id string, b []byte) ([]key, error) {
	if block, _ := pem.Decode(b); block != nil {
		return nil, fmt.Errorf("it is a %s in PEM and no secret", block.Type)
	}
	secret, err := parseSecret(b, minHMAC)
	if err != nil {
		return nil, err
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		der, err := encoding.DecodeString(secret)
		if err != nil {
			continue
		}
		if _, err := x509.ParsePKIXPublicKey(der); err == nil {
			return nil, errors.New("it is a public key and no secret")
		}
	}
	return []key{{id: id, value: []byte(secret), algorithms: hmacAlgorithms()}}, nil
}

// parsePublic reads public keys and certificates in PEM, one or several: while a
// key is replaced both stand there.
func parsePublic(id string, b []byte) ([]key, error) {
	var keys []key
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		value, err := publicKey(block)
		if err != nil {
			return nil, err
		}
		k, err := newPublicKey(id, value)
		if err != nil {
			return nil, err
		}
		if keys = append(keys, k); len(keys) > maxKeys {
			return nil, fmt.Errorf("more than %d keys", maxKeys)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no public key in PEM")
	}
	return keys, nil
}

func publicKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		value, err := x509.ParsePKIXPublicKey(block.Bytes)
		return value, wrap("public key", err)
	case "RSA PUBLIC KEY":
		value, err := x509.ParsePKCS1PublicKey(block.Bytes)
		return value, wrap("RSA public key", err)
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, wrap("certificate", err)
		}
		return c.PublicKey, nil
	case "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("it holds a private key; only its public key is needed here, and nobody else should have the other")
	}
	return nil, fmt.Errorf("it holds a %q; must be a public key or a certificate", block.Type)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// fits reports whether k may check a signature of an algorithm under a key's
// name, either of which may be unnamed.
func (k key) fits(id, algorithm string) bool {
	return (k.id == "" || id == "" || k.id == id) && slices.Contains(k.algorithms, algorithm)
}
