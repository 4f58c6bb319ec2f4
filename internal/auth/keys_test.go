package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// pair is a key of each kind, made once: RSA keys take long.
type pair struct {
	kind    string
	private crypto.Signer
	public  []byte // PEM
}

var pairs = sync.OnceValue(func() map[string]pair {
	r, err1 := rsa.GenerateKey(rand.Reader, 2048)
	p256, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, err3 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, err4 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, ed, err5 := ed25519.GenerateKey(rand.Reader)
	all := map[string]pair{}
	for kind, k := range map[string]crypto.Signer{"RS256": r, "ES256": p256, "ES384": p384, "ES512": p521, "EdDSA": ed} {
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil || err1 != nil || err2 != nil || err3 != nil || err4 != nil || err5 != nil {
			panic("keys of the test")
		}
		all[kind] = pair{kind, k, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
	}
	return all
})

func (p pair) privatePEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// jwk writes the public key as an issuer does.
func (p pair) jwk(id string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := p.private.Public().(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf(`{"kty":"RSA","use":"sig","kid":%q,"n":%q,"e":%q}`, id, b64(k.N.Bytes()), b64(big.NewInt(int64(k.E)).Bytes()))
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			panic(err)
		}
		half := (len(point) - 1) / 2
		return fmt.Sprintf(`{"kty":"EC","kid":%q,"crv":%q,"x":%q,"y":%q}`, id, k.Params().Name, b64(point[1:1+half]), b64(point[1+half:]))
	case ed25519.PublicKey:
		return fmt.Sprintf(`{"kty":"OKP","kid":%q,"crv":"Ed25519","x":%q}`, id, b64(k))
	}
	panic("no such key")
}

func set(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

func TestJWKS(t *testing.T) {
	all := pairs()
	text := set(all["RS256"].jwk("r"), all["ES256"].jwk("e"), all["ES384"].jwk(""), all["ES512"].jwk("e5"), all["EdDSA"].jwk("d"))
	keys, skipped, err := parseJWKS([]byte(text))
	if err != nil || len(skipped) > 0 || len(keys) != 5 {
		t.Fatal(keys, skipped, err)
	}
	for i, kind := range []string{"RS256", "ES256", "ES384", "ES512", "EdDSA"} {
		same, ok := keys[i].value.(interface{ Equal(crypto.PublicKey) bool })
		if !ok || !same.Equal(all[kind].private.Public()) || !keys[i].fits(keys[i].id, kind) || keys[i].fits(keys[i].id, "HS256") {
			t.Errorf("%s: %+v", kind, keys[i])
		}
	}
}

// A key that its issuer keeps to one algorithm is good for no other, although it
// could be.
func TestJWKSAlgorithm(t *testing.T) {
	p := pairs()["RS256"]
	file := write(t, "jwks.json", set(strings.Replace(p.jwk("k"), `"kty"`, `"alg":"PS256","kty"`, 1)))
	v := verifier(t, func(o *Options) { o.JWKS.File = file })
	for alg, want := range map[string]error{"PS256": nil, "RS256": ErrInvalidToken, "RS512": ErrInvalidToken} {
		token, err := jwt.NewWithClaims(jwt.GetSigningMethod(alg), jwt.MapClaims(good(nil))).SignedString(p.private)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", alg, err, want)
		}
	}
}

// Keys that are of no use are left out, and say why; the others stay.
func TestJWKSLeavesOut(t *testing.T) {
	good := pairs()["ES256"].jwk("good")
	b64 := base64.RawURLEncoding.EncodeToString
	small, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // too weak on purpose
	if err != nil {
		t.Fatal(err)
	}
	n2048 := b64(pairs()["RS256"].private.Public().(*rsa.PublicKey).N.Bytes())
	for name, bad := range map[string]string{
		"a secret":         `{"kty":"oct","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldC1z"}`,
		"for encryption":   strings.Replace(good, `"kty"`, `"use":"enc","kty"`, 1),
		"only to sign":     strings.Replace(good, `"kty"`, `"key_ops":["sign"],"kty"`, 1),
		"alg of another":   strings.Replace(good, `"kty"`, `"alg":"HS256","kty"`, 1),
		"a weak RSA key":   fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQAB"}`, b64(small.N.Bytes())),
		"a huge RSA key":   fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQAB"}`, b64(make([]byte, 4096))),
		"exponent 1":       fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQ"}`, n2048),
		"exponent even":    fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"BA"}`, n2048),
		"exponent huge":    fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"_____w"}`, n2048),
		"not on the curve": fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, b64(make([]byte, 32)), b64(make([]byte, 32))),
		"coordinate short": `{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}`,
		"another curve":    `{"kty":"EC","crv":"secp256k1","x":"AQ","y":"AQ"}`,
		"Ed448":            `{"kty":"OKP","crv":"Ed448","x":"AQ"}`,
		"kid is a number":  strings.Replace(good, `"good"`, `7`, 1),
		"kid twice":        strings.Replace(good, `"kty"`, `"kid":"other","kty"`, 1),
		"kid too long":     strings.Replace(good, `"good"`, `"`+strings.Repeat("k", maxKeyID+1)+`"`, 1),
		"not Base64":       `{"kty":"OKP","crv":"Ed25519","x":"+++="}`,
		"no key":           `"text"`,
	} {
		t.Run(name, func(t *testing.T) {
			keys, skipped, err := parseJWKS([]byte(set(bad, good)))
			if strings.HasPrefix(name, "kid twice") && err != nil {
				return // the whole set cannot be read: as good
			}
			if err != nil || len(keys) != 1 || len(skipped) != 1 || keys[0].id != "good" {
				t.Errorf("%+v, %v, %v", keys, skipped, err)
			}
			if _, _, err := parseJWKS([]byte(set(bad))); err == nil {
				t.Error("a set with nothing in it is taken")
			}
		})
	}
	for _, text := range []string{"", "[]", "{}", `{"keys":[]}`, `{"keys":{}}`, set(strings.Repeat(good+",", maxKeys) + good), `{"keys":[],"keys":[` + good + `]}`} {
		if keys, _, err := parseJWKS([]byte(text)); err == nil {
			t.Errorf("%.40s: %v", text, keys)
		}
	}
}

func FuzzJWKS(f *testing.F) {
	for _, kind := range []string{"RS256", "ES256", "EdDSA"} {
		f.Add(set(pairs()[kind].jwk("k")))
	}
	f.Add(`{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		keys, _, err := parseJWKS([]byte(text))
		if err == nil && len(keys) == 0 || err != nil && keys != nil {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			if _, secret := k.value.([]byte); secret || len(k.algorithms) == 0 {
				t.Fatalf("%+v", k)
			}
		}
	})
}

func TestKeyFilesThatAreNone(t *testing.T) {
	public := pairs()["RS256"]
	block, _ := pem.Decode(public.public)
	for name, row := range map[string]struct {
		parse func(string, []byte) ([]key, error)
		text  []byte
	}{
		"public key as secret":       {parseHMAC, public.public},
		"DER of it in Base64":        {parseHMAC, []byte(base64.StdEncoding.EncodeToString(block.Bytes))},
		"DER of it in Base64 of URL": {parseHMAC, []byte(base64.RawURLEncoding.EncodeToString(block.Bytes))},
		"short secret":               {parseHMAC, []byte(strings.Repeat("x", minHMAC-1))},
		"secret with blanks":         {parseHMAC, []byte(strings.Repeat("x ", minHMAC))},
		"secret as public key":       {parsePublic, []byte(strings.Repeat("x", minHMAC))},
		"private key":                {parsePublic, public.privatePEM(t)},
		"public and private":         {parsePublic, append(append([]byte{}, public.public...), public.privatePEM(t)...)},
		"another PEM":                {parsePublic, pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: []byte{1}})},
		"rubbish in PEM":             {parsePublic, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}})},
		"empty":                      {parsePublic, nil},
	} {
		if keys, err := row.parse("", row.text); err == nil {
			t.Errorf("%s: %+v", name, keys)
		} else if strings.Contains(err.Error(), "xxxx") {
			t.Errorf("%s: the error holds it: %v", name, err)
		}
	}
}

// jsonOf writes v.
func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
