package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const secret = "a-secret-of-the-issuer-0123456789-0123456789"

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// verifier makes one; change may alter its settings.
func verifier(t testing.TB, change func(*Options)) *Verifier {
	t.Helper()
	o := DefaultOptions()
	change(&o)
	v, err := NewVerifier(o, Deps{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// policies reads policies.
func policies(t testing.TB, texts ...string) []Policy {
	t.Helper()
	all := make([]Policy, len(texts))
	for i, text := range texts {
		if err := all[i].UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// withSecret lets tokens in that secret signed.
func withSecret(t *testing.T, more func(*Options)) *Verifier {
	t.Helper()
	file := write(t, "secret", secret+"\n")
	return verifier(t, func(o *Options) {
		o.Keys = []KeyFile{{Kind: KindHMAC, File: file}}
		o.Policies = policies(t, "alice read vehicles/* publish chat/*", "al* read news/*", "bob read */*")
		if more != nil {
			more(o)
		}
	})
}

type fields map[string]any

// good are claims that nothing is wrong with.
func good(more fields) fields {
	all := fields{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range more {
		if v == nil {
			delete(all, name)
		} else {
			all[name] = v
		}
	}
	return all
}

// raw makes a token of any header and claims, signed with HMAC and SHA-256.
func raw(header, claims, key string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64([]byte(header)) + "." + b64([]byte(claims))
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return text + "." + b64(mac.Sum(nil))
}

func hs256(t testing.TB, claims fields) string {
	t.Helper()
	return raw(`{"alg":"HS256","typ":"JWT"}`, jsonOf(t, claims), secret)
}

func TestVerify(t *testing.T) {
	v := withSecret(t, nil)
	exp := time.Now().Add(time.Hour).Truncate(time.Second)
	p, err := v.Verify(t.Context(), hs256(t, good(fields{
		"exp": exp.Unix(), "channels": []string{"vehicles/*", "/news/today", "secret/x"}, "postroad": fields{"read": []string{"vehicles/*", "news/today"}},
	})))
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "alice" || p.Anonymous || !p.Expires.Equal(exp.Add(30*time.Second)) || strings.Join(p.Channels, " ") != "vehicles/* news/today" {
		t.Errorf("%+v", p)
	}
	for subject, want := range map[string]bool{"vehicles/bus": true, "vehicles/*": true, "news/today": true, "news/old": false, "chat/x": false} {
		if p.MayRead(subject) != want {
			t.Errorf("read %s: %v: %s", subject, !want, p.Read.Explain(subject))
		}
	}
	if !p.MayPublish("chat/x") || p.MayPublish("vehicles/bus") {
		t.Error("publish")
	}
	// Many of one kind share what they are granted.
	q, err := v.Verify(t.Context(), hs256(t, good(nil)))
	if err != nil || &q.Read.granted[0] != &p.Read.granted[0] {
		t.Errorf("two callers of one kind do not share: %v", err)
	}
}

func TestSignaturesOfEachKind(t *testing.T) {
	all := pairs()
	for kind, p := range all {
		t.Run(kind, func(t *testing.T) {
			public, private := write(t, "public", string(p.public)), write(t, "private", string(p.privatePEM(t)))
			v := verifier(t, func(o *Options) { o.Keys = []KeyFile{{Kind: KindPublic, ID: "k", File: public}} })
			signer, err := NewSigner(KindPublic, private)
			if err != nil {
				t.Fatal(err)
			}
			token, err := signer.Mint(Grant{Name: "alice", Issued: time.Now(), TTL: time.Minute, KeyID: "k"}, v.opts.Claims)
			if err != nil {
				t.Fatal(err)
			}
			if p, err := v.Verify(t.Context(), token); err != nil || p.Name != "alice" {
				t.Errorf("%+v, %v", p, err)
			}
			for other, q := range all {
				if other == kind {
					continue
				}
				forged, err := jwt.NewWithClaims(jwt.GetSigningMethod(other), jwt.MapClaims(good(nil))).SignedString(q.private)
				if err != nil {
					t.Fatal(err)
				}
				if p, err := v.Verify(t.Context(), forged); !errors.Is(err, ErrInvalidToken) {
					t.Errorf("signed by %s: %+v, %v", other, p, err)
				}
			}
			// The key of that kind again, but another one.
			if signer, err := NewSigner(KindHMAC, public); err == nil {
				t.Errorf("a public key signs: %+v", signer)
			}
		})
	}
}

// Each row is a way to get in without a good token.
func TestAttacks(t *testing.T) {
	v := withSecret(t, nil)
	body := jsonOf(t, good(nil))
	b64 := base64.RawURLEncoding.EncodeToString
	valid := hs256(t, good(nil))
	parts := strings.Split(valid, ".")
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for name, row := range map[string]struct {
		token string
		want  error
	}{
		"none at all":              {"", ErrNoToken},
		"alg none":                 {b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(body)) + ".", ErrInvalidToken},
		"alg none, signed":         {raw(`{"alg":"none"}`, body, secret), ErrInvalidToken},
		"alg None":                 {raw(`{"alg":"None"}`, body, secret), ErrInvalidToken},
		"alg nOnE":                 {b64([]byte(`{"alg":"nOnE"}`)) + "." + b64([]byte(body)) + ".", ErrInvalidToken},
		"no alg":                   {raw(`{"typ":"JWT"}`, body, secret), ErrInvalidToken},
		"alg is a list":            {raw(`{"alg":["HS256"]}`, body, secret), ErrInvalidToken},
		"alg empty":                {raw(`{"alg":""}`, body, secret), ErrInvalidToken},
		"no signature":             {parts[0] + "." + parts[1] + ".", ErrInvalidToken},
		"two parts":                {parts[0] + "." + parts[1], ErrInvalidToken},
		"four parts":               {valid + ".x", ErrInvalidToken},
		"five parts, as encrypted": {"a.b.c.d.e", ErrInvalidToken},
		"other claims":             {parts[0] + "." + b64([]byte(strings.Replace(body, "alice", "bob", 1))) + "." + parts[2], ErrInvalidToken},
		"another secret":           {raw(`{"alg":"HS256"}`, body, secret+"x"), ErrInvalidToken},
		"the empty secret":         {raw(`{"alg":"HS256"}`, body, ""), ErrInvalidToken},
		"padding":                  {parts[0] + "." + parts[1] + "." + parts[2] + "=", ErrInvalidToken},
		"loose bits at the end":    {loosened(valid), ErrInvalidToken},
		"line break":               {valid[:20] + "\n" + valid[20:], ErrInvalidToken},
		"line break at the end":    {valid[:len(valid)-5] + "\r\n" + valid[len(valid)-5:], ErrInvalidToken},
		"alg twice":                {raw(`{"alg":"none","alg":"HS256"}`, body, secret), ErrInvalidToken},
		"kid twice":                {raw(`{"alg":"HS256","kid":"a","kid":"b"}`, body, secret), ErrInvalidToken},
		"crit":                     {raw(`{"alg":"HS256","crit":["b64"],"b64":false}`, body, secret), ErrInvalidToken},
		"crit null":                {raw(`{"alg":"HS256","crit":null}`, body, secret), ErrInvalidToken},
		"header is no object":      {raw(`"HS256"`, body, secret), ErrInvalidToken},
		"header with more behind":  {raw(`{"alg":"HS256"}{}`, body, secret), ErrInvalidToken},
		"sub twice":                {raw(`{"alg":"HS256"}`, `{"sub":"alice","sub":"bob","exp":9999999999}`, secret), ErrInvalidToken},
		"sub twice by an escape":   {raw(`{"alg":"HS256"}`, `{"sub":"alice","s\u0075b":"bob","exp":9999999999}`, secret), ErrInvalidToken},
		"read twice":               {raw(`{"alg":"HS256"}`, `{"sub":"bob","exp":9999999999,"postroad":{"read":[],"read":["*/*"]}}`, secret), ErrInvalidToken},
		"exp twice":                {raw(`{"alg":"HS256"}`, `{"sub":"alice","exp":1,"exp":9999999999}`, secret), ErrInvalidToken},
		"claims are no object":     {raw(`{"alg":"HS256"}`, `["sub"]`, secret), ErrInvalidToken},
		"claims with more behind":  {raw(`{"alg":"HS256"}`, body+body, secret), ErrInvalidToken},
		"not UTF-8":                {raw(`{"alg":"HS256"}`, `{"sub":"al`+"\xff"+`ice","exp":9999999999}`, secret), ErrInvalidToken},
		"deep":                     {raw(`{"alg":"HS256"}`, `{"x":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`}`, secret), ErrInvalidToken},
		"huge":                     {hs256(t, good(fields{"x": strings.Repeat("x", maxToken)})), ErrInvalidToken},
		"huge header":              {raw(`{"alg":"HS256","x":"`+strings.Repeat("x", maxToken)+`"}`, body, secret), ErrInvalidToken},
		"expired":                  {hs256(t, good(fields{"exp": in(-time.Minute)})), ErrExpired},
		"expired and not signed":   {raw(`{"alg":"HS256"}`, jsonOf(t, good(fields{"exp": in(-time.Minute)})), secret+"x"), ErrInvalidToken},
		"expired and not yet good": {hs256(t, good(fields{"exp": in(-time.Minute), "nbf": in(time.Minute)})), ErrInvalidToken},
		"exp missing":              {hs256(t, good(fields{"exp": nil})), ErrInvalidToken},
		"exp null":                 {raw(`{"alg":"HS256"}`, `{"sub":"alice","exp":null}`, secret), ErrInvalidToken},
		"exp a text":               {hs256(t, good(fields{"exp": "9999999999"})), ErrInvalidToken},
		"exp too far":              {raw(`{"alg":"HS256"}`, `{"sub":"alice","exp":1e300}`, secret), ErrInvalidToken},
		"exp negative":             {raw(`{"alg":"HS256"}`, `{"sub":"alice","exp":-1}`, secret), ErrInvalidToken},
		"not yet good":             {hs256(t, good(fields{"nbf": in(time.Minute)})), ErrInvalidToken},
		"from the future":          {hs256(t, good(fields{"iat": in(time.Minute)})), ErrInvalidToken},
		"no name":                  {hs256(t, good(fields{"sub": nil})), ErrInvalidToken},
		"empty name":               {hs256(t, good(fields{"sub": ""})), ErrInvalidToken},
		"name is a number":         {hs256(t, good(fields{"sub": 7})), ErrInvalidToken},
		"name with a line break":   {hs256(t, good(fields{"sub": "a\nb"})), ErrInvalidToken},
		"name too long":            {hs256(t, good(fields{"sub": strings.Repeat("a", maxName+1)})), ErrInvalidToken},
		"name of the nameless":     {hs256(t, good(fields{"sub": AnonymousName})), ErrInvalidToken},
		"permissions a list":       {hs256(t, good(fields{"postroad": []string{"*/*"}})), ErrInvalidToken},
		"permissions misspelt":     {hs256(t, good(fields{"postroad": fields{"reed": []string{}}})), ErrInvalidToken},
		"read is no pattern":       {hs256(t, good(fields{"postroad": fields{"read": []string{"vehicles"}}})), ErrInvalidToken},
		"channel is no subject":    {hs256(t, good(fields{"channels": []string{"vehicles"}})), ErrInvalidToken},
		"channels a text":          {hs256(t, good(fields{"channels": "vehicles/*"})), ErrInvalidToken},
		"too many channels":        {hs256(t, good(fields{"channels": make([]string, maxChannels+1)})), ErrInvalidToken},
		"rubbish":                  {"\x00\xff...", ErrInvalidToken},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := v.Verify(t.Context(), row.token)
			if !errors.Is(err, row.want) || p != nil {
				t.Fatalf("%+v, %v; want %v", p, err, row.want)
			}
			if row.token != "" && strings.Contains(err.Error(), row.token) || strings.Contains(err.Error(), secret) {
				t.Errorf("the error tells too much: %v", err)
			}
		})
	}
	if _, err := v.Verify(t.Context(), valid); err != nil {
		t.Fatalf("the token that the others were made from: %v", err)
	}
}

// loosened sets a bit of the last character that no byte is made of: another
// text of the same token.
func loosened(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	at := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + string(alphabet[at^1])
}

// A public key is known to everybody. If a token could have it taken for the
// secret of HS256, everybody could sign.
func TestAlgorithmConfusion(t *testing.T) {
	for kind, p := range pairs() {
		file := write(t, "public", string(p.public))
		der := strings.Join(strings.Split(string(p.public), "\n")[1:len(strings.Split(string(p.public), "\n"))-2], "")
		v := verifier(t, func(o *Options) { o.Keys = []KeyFile{{Kind: KindPublic, File: file}} })
		for _, key := range []string{string(p.public), strings.TrimSpace(string(p.public)), der, ""} {
			for _, alg := range []string{"HS256", kind, "RS256", "ES256", "EdDSA", "PS256"} {
				token := raw(`{"alg":"`+alg+`"}`, jsonOf(t, good(nil)), key)
				if p, err := v.Verify(t.Context(), token); !errors.Is(err, ErrInvalidToken) {
					t.Errorf("%s, signed as %s: %+v, %v", kind, alg, p, err)
				}
			}
		}
		// And a file of secrets takes no public key.
		v = verifier(t, func(o *Options) { o.Keys = []KeyFile{{Kind: KindHMAC, File: file}} })
		token := raw(`{"alg":"HS256"}`, jsonOf(t, good(nil)), string(p.public))
		if p, err := v.Verify(t.Context(), token); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a public key among the secrets: %+v, %v", p, err)
		}
	}
}

// The name of a key is looked up among those that are known, and nowhere else.
func TestKeyNames(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "named"), secret)
	v := verifier(t, func(o *Options) { o.Keys = []KeyFile{{Kind: KindHMAC, ID: "named", File: filepath.Join(dir, "named")}} })
	body := jsonOf(t, good(nil))
	for kid, want := range map[string]error{
		`"named"`: nil, `"Named"`: ErrInvalidToken, `""`: nil,
		jsonOf(t, filepath.Join(dir, "named")): ErrInvalidToken, `"../../../../dev/null"`: ErrInvalidToken, `"named\u0000"`: ErrInvalidToken,
		`"' OR 1=1 --"`: ErrInvalidToken, `"http://127.0.0.1:1/"`: ErrInvalidToken, `{"kty":"oct"}`: ErrInvalidToken, `7`: ErrInvalidToken, `null`: nil,
		`"` + strings.Repeat("k", maxKeyID+1) + `"`: ErrInvalidToken,
	} {
		if _, err := v.Verify(t.Context(), raw(`{"alg":"HS256","kid":`+kid+`}`, body, secret)); !errors.Is(err, want) {
			t.Errorf("kid %.40s: %v, want %v", kid, err, want)
		}
	}
	// A token brings no key of its own, and no address of one.
	public := pairs()["ES256"]
	for _, header := range []string{
		`{"alg":"ES256","jwk":` + public.jwk("x") + `}`, `{"alg":"ES256","jku":"http://127.0.0.1:1/jwks"}`, `{"alg":"ES256","x5u":"http://127.0.0.1:1/"}`,
	} {
		text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(body))
		sig, err := jwt.SigningMethodES256.Sign(text, public.private)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := v.Verify(t.Context(), text+"."+base64.RawURLEncoding.EncodeToString(sig)); !errors.Is(err, ErrInvalidToken) {
			t.Errorf("%.30s: %+v, %v", header, p, err)
		}
	}
}

func TestIssuerAudienceAlgorithms(t *testing.T) {
	v := withSecret(t, func(o *Options) { o.Issuer, o.Audience = "https://idp.example", []string{"postroad", "screens"} })
	for name, row := range map[string]struct {
		claims fields
		want   error
	}{
		"right":                {fields{"iss": "https://idp.example", "aud": "postroad"}, nil},
		"one of several":       {fields{"iss": "https://idp.example", "aud": []string{"x", "screens"}}, nil},
		"no issuer":            {fields{"aud": "postroad"}, ErrInvalidToken},
		"another issuer":       {fields{"iss": "https://idp.example.evil", "aud": "postroad"}, ErrInvalidToken},
		"no audience":          {fields{"iss": "https://idp.example"}, ErrInvalidToken},
		"empty audience":       {fields{"iss": "https://idp.example", "aud": []string{}}, ErrInvalidToken},
		"another audience":     {fields{"iss": "https://idp.example", "aud": "postroad2"}, ErrInvalidToken},
		"audience of numbers":  {fields{"iss": "https://idp.example", "aud": []any{"postroad", 7}}, ErrInvalidToken},
		"another, and expired": {fields{"iss": "x", "aud": "postroad", "exp": 1}, ErrInvalidToken},
	} {
		if _, err := v.Verify(t.Context(), hs256(t, good(row.claims))); !errors.Is(err, row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	v = withSecret(t, func(o *Options) { o.Algorithms = []string{"HS512", "ES256"} })
	if _, err := v.Verify(t.Context(), hs256(t, good(nil))); !errors.Is(err, ErrInvalidToken) {
		t.Errorf("an algorithm that is not allowed: %v", err)
	}
	v = withSecret(t, func(o *Options) { o.WithoutExpiry = true })
	if p, err := v.Verify(t.Context(), hs256(t, good(fields{"exp": nil}))); err != nil || !p.Expires.IsZero() {
		t.Errorf("without expiry: %+v, %v", p, err)
	}
	v = withSecret(t, func(o *Options) {
		o.Claims = ClaimsOptions{Principal: "name", Channels: "https://x/ch", Permissions: "https://x/p"}
	})
	token := hs256(t, good(fields{"sub": nil, "name": "alice", "https://x/ch": []string{"vehicles/a"}, "https://x/p": fields{"publish": []string{}}, "postroad": 7}))
	if p, err := v.Verify(t.Context(), token); err != nil || p.MayPublish("chat/x") || len(p.Channels) != 1 {
		t.Errorf("claims of other names: %+v, %v", p, err)
	}
}

func TestLeeway(t *testing.T) {
	file := write(t, "secret", secret)
	synctest.Test(t, func(t *testing.T) {
		v := verifier(t, func(o *Options) {
			o.Keys, o.Leeway = []KeyFile{{Kind: KindHMAC, File: file}}, 10*time.Second
		})
		now := time.Now()
		token := hs256(t, fields{"sub": "alice", "nbf": now.Add(15 * time.Second).Unix(), "exp": now.Add(60 * time.Second).Unix()})
		for _, at := range []struct {
			after time.Duration
			want  error
		}{{0, ErrInvalidToken}, {4 * time.Second, ErrInvalidToken}, {6 * time.Second, nil}, {60 * time.Second, nil}, {69 * time.Second, nil}, {71 * time.Second, ErrExpired}} {
			<-time.After(time.Until(now.Add(at.after)))
			p, err := v.Verify(t.Context(), token)
			if !errors.Is(err, at.want) {
				t.Errorf("after %v: %v, want %v", at.after, err, at.want)
			}
			if err == nil && !p.Expires.After(time.Now()) {
				t.Errorf("after %v: let in, and expired at once", at.after)
			}
		}
	})
}

// A secret that is replaced counts without a restart, the old one no longer.
func TestKeyFilesAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	synctest.Test(t, func(t *testing.T) {
		v := verifier(t, func(o *Options) { o.Keys = []KeyFile{{Kind: KindHMAC, File: file}} })
		want := func(key string, want error) {
			t.Helper()
			<-time.After(2 * lookEvery)
			if _, err := v.Verify(t.Context(), raw(`{"alg":"HS256"}`, jsonOf(t, good(nil)), key)); !errors.Is(err, want) {
				t.Fatalf("%v, want %v", err, want)
			}
		}
		want(secret, ErrUnavailable)
		write(t, file, secret)
		want(secret, nil)
		want(secret+"x", ErrInvalidToken)
		write(t, file, secret+"x")
		want(secret+"x", nil)
		want(secret, ErrInvalidToken)
		write(t, file, "short")
		want(secret+"x", nil)
	})
}

func TestAnonymousAndNamed(t *testing.T) {
	v := withSecret(t, nil)
	if p, ok := v.Anonymous(); ok || p != nil {
		t.Errorf("%+v", p)
	}
	if p, ok := v.Named(AnonymousName); ok || p != nil {
		t.Errorf("%+v", p)
	}
	v = withSecret(t, func(o *Options) {
		o.Anonymous = AnonymousOptions{Enabled: true, Read: patterns(t, "vehicles/*")}
		o.Policies = append(o.Policies, policies(t, "* publish everything/*")...)
	})
	for _, find := range []func() (*Principal, bool){v.Anonymous, func() (*Principal, bool) { return v.Named(AnonymousName) }} {
		p, ok := find()
		if !ok || !p.Anonymous || !p.MayRead("vehicles/x") || p.MayRead("news/x") || p.MayPublish("vehicles/x") || p.MayPublish("everything/x") {
			t.Errorf("%+v", p)
		}
	}
	p, ok := v.Named("alice")
	if !ok || p.Name != "alice" || !p.MayRead("news/x") || !p.MayPublish("everything/x") || p.MayPublish("vehicles/x") {
		t.Errorf("%+v", p)
	}
}

// Of many policies each name has its own, and names of one kind share them.
func TestManyPolicies(t *testing.T) {
	const many = 40
	texts := []string{"* read all/*"}
	for i := range many {
		texts = append(texts, fmt.Sprintf("group-%d-* read t-%d/*", i, i), fmt.Sprintf("group-%d-boss publish t-%d/*", i, i))
	}
	v := verifier(t, func(o *Options) { o.Policies = policies(t, texts...) })
	for i := range many {
		for _, who := range []string{"a", "b", "boss"} {
			p, _ := v.Named(fmt.Sprintf("group-%d-%s", i, who))
			for j := range many {
				subject := fmt.Sprintf("t-%d/x", j)
				if p.MayRead(subject) != (i == j) || p.MayPublish(subject) != (i == j && who == "boss") {
					t.Fatalf("%s and %s: %s, %s", p.Name, subject, p.Read.Explain(subject), p.Publish.Explain(subject))
				}
			}
			if !p.MayRead("all/x") {
				t.Fatal("the policy of all")
			}
		}
	}
	if n := len(v.grants); n != 2*many {
		t.Errorf("%d grants are remembered", n)
	}
}

func TestAuthenticate(t *testing.T) {
	v := withSecret(t, nil)
	open := withSecret(t, func(o *Options) { o.Anonymous.Enabled = true })
	token := hs256(t, good(nil))
	for name, row := range map[string]struct {
		fields         []string
		want, wantOpen error
	}{
		"none":       {nil, ErrNoToken, nil},
		"good":       {[]string{"Bearer " + token}, nil, nil},
		"lower case": {[]string{"bearer " + token}, nil, nil},
		"two":        {[]string{"Bearer " + token, "Bearer " + token}, ErrInvalidToken, ErrInvalidToken},
		"basic":      {[]string{"Basic YTpi"}, ErrInvalidToken, ErrInvalidToken},
		"empty":      {[]string{"Bearer "}, ErrInvalidToken, ErrInvalidToken},
		"wrong":      {[]string{"Bearer x"}, ErrInvalidToken, ErrInvalidToken},
	} {
		for _, x := range []struct {
			v    *Verifier
			want error
		}{{v, row.want}, {open, row.wantOpen}} {
			r := &http.Request{Header: http.Header{}}
			if row.fields != nil {
				r.Header["Authorization"] = row.fields
			}
			if p, err := x.v.Authenticate(r.WithContext(context.Background())); !errors.Is(err, x.want) || (err == nil) != (p != nil) || err != nil && !IsDenied(err) {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	o := DefaultOptions()
	o.JWKS = JWKSOptions{URL: "http://idp.example/keys", File: "x", Refresh: time.Second, MinRefresh: 0}
	o.Algorithms, o.Audience, o.Leeway = []string{"none", "HS256"}, []string{""}, time.Hour
	o.Keys, o.Policies = []KeyFile{{Kind: "x"}}, []Policy{{}}
	o.Claims.Principal, o.Claims.Channels = "", "aud"
	_, err := NewVerifier(o, Deps{})
	for _, part := range []string{
		"keys[0]: ", "jwks.file: ", "jwks.url: ", "jwks.refresh: ", "jwks.min_refresh: ", "algorithms[0]: none", "audience[0]: ", "leeway: ",
		"claims.principal: ", "claims.channels: aud", "policies[0]: ", "Deps.Log",
	} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
	for url, want := range map[string]bool{
		"https://idp.example/keys": true, "http://127.0.0.1:8/k": true, "http://[::1]/k": true, "http://localhost:80/k": true,
		"http://idp.example/keys": false, "http://127.0.0.1.evil.example/": false, "http://localhost.evil.example/": false, "file:///etc/passwd": false,
		"https://user:pass@idp.example/": false, "//idp.example": false, "https:idp.example": false, "https://": false, "ftp://127.0.0.1/": false, "http://10.0.0.1/": false,
		"http://0177.0.0.1/": false,
	} {
		if safeURL(url) != want {
			t.Errorf("%s: %v", url, !want)
		}
	}
}

func TestKeyFileText(t *testing.T) {
	for _, text := range []string{"hmac=/a/b", "public=/a=b", "hmac:id=/a", "public:a.b=c"} {
		var k KeyFile
		if err := k.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if again, err := k.MarshalText(); string(again) != text || err != nil {
			t.Errorf("%q, want %q", again, text)
		}
	}
	for _, text := range []string{"", "hmac", "hmac=", "=x", "rsa=x", "hmac:=x", "none=x"} {
		var k KeyFile
		if err := k.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, k)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(hs256(f, fields{"sub": "alice", "exp": 9999999999}))
	f.Add(hs256(f, fields{"sub": "alice", "exp": 9999999999, "channels": []string{"a/b"}, "postroad": fields{"read": []string{"a/*"}}}))
	f.Add(raw(`{"alg":"none"}`, `{}`, ""))
	file := write(f, "secret", secret)
	v := verifier(f, func(o *Options) { o.Keys = []KeyFile{{Kind: KindHMAC, File: file}} })
	f.Fuzz(func(t *testing.T, text string) {
		p, err := v.Verify(t.Context(), text)
		if err != nil && !IsDenied(err) || (err == nil) != (p != nil) {
			t.Fatalf("%+v, %v", p, err)
		}
		// The same claims under a good signature.
		p, err = v.Verify(t.Context(), raw(`{"alg":"HS256"}`, text, secret))
		if err != nil && !IsDenied(err) || (err == nil) != (p != nil) {
			t.Fatalf("%+v, %v", p, err)
		}
		if p != nil && (CheckName(p.Name) != nil || p.MayRead("a/b") || len(p.Channels) > 0) {
			t.Fatalf("nothing was granted: %+v", p)
		}
	})
}
