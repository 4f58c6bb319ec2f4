package auth

import (
	"testing"
	"time"
)

// BenchmarkVerify is what a connection or a call costs for its token.
func BenchmarkVerify(b *testing.B) {
	file := write(b, "secret", secret)
	jwks := write(b, "jwks.json", set(pairs()["RS256"].jwk("r"), pairs()["ES256"].jwk("e"), pairs()["EdDSA"].jwk("d")))
	v := verifier(b, func(o *Options) {
		o.Keys, o.JWKS.File = []KeyFile{{Kind: KindHMAC, File: file}}, jwks
		o.Policies = policies(b, "alice read vehicles/* publish chat/*", "* read news/*")
	})
	more := fields{"exp": time.Now().Add(time.Hour).Unix(), "postroad": fields{"read": []string{"vehicles/bus-*"}}}
	for kind, token := range map[string]string{
		"HS256": hs256(b, good(more)), "RS256": signed(b, "RS256", "r", more), "ES256": signed(b, "ES256", "e", more), "EdDSA": signed(b, "EdDSA", "d", more),
	} {
		b.Run(kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	p := granted(b, "alarms/*", "news/today", "vehicles/bus-*-north")
	b.ReportAllocs()
	for b.Loop() {
		if !p.Match("vehicles/bus-17-north") {
			b.Fatal("no match")
		}
	}
}
