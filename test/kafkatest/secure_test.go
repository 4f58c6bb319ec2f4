package kafkatest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

const connectionUser = "$ConnectionString"

// connectionString has the characters that such a thing has.
const connectionString = "Endpoint=sb://hub.example/;SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0PT0="

func trust(t *testing.T, c *Cluster) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(c.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("no certificate in the file of the authority")
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// forged is a token with the right claims and the wrong key.
func forged(t *testing.T, i *Issuer) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other := Issuer{url: i.url, key: key}
	return other.Token(ClientID, time.Minute)
}

// Each mechanism lets in who has what it asks for, and nobody else.
func TestSecure(t *testing.T) {
	c, ctx := Start(t, Options{Nodes: 1, Secure: true, PlainUsers: map[string]string{connectionUser: connectionString}}), t.Context()
	const topic = "secure"
	c.CreateTopic(ctx, topic, 1, nil)
	token := func(lifetime time.Duration) sasl.Mechanism {
		return oauth.Auth{Token: c.Issuer().Token(ClientID, lifetime)}.AsMechanism()
	}
	for _, tc := range []struct {
		name      string
		mechanism sasl.Mechanism
		refused   bool
	}{
		{"PLAIN", plain.Auth{User: User, Pass: Password}.AsMechanism(), false},
		{"PLAIN, wrong password", plain.Auth{User: User, Pass: "wrong"}.AsMechanism(), true},
		{"connection string", plain.Auth{User: connectionUser, Pass: connectionString}.AsMechanism(), false},
		{"SCRAM-SHA-256", scram.Auth{User: User, Pass: Password}.AsSha256Mechanism(), false},
		{"SCRAM-SHA-512", scram.Auth{User: User, Pass: Password}.AsSha512Mechanism(), false},
		{"SCRAM, wrong password", scram.Auth{User: User, Pass: "wrong"}.AsSha512Mechanism(), true},
		{"OAUTHBEARER", token(time.Minute), false},
		{"OAUTHBEARER, a token that is over", token(-time.Minute), true},
		{"OAUTHBEARER, a token of another audience", oauth.Auth{Token: c.Issuer().Assertion(ClientID, time.Minute)}.AsMechanism(), true},
		{"OAUTHBEARER, a token signed by another", oauth.Auth{Token: forged(t, c.Issuer())}.AsMechanism(), true},
		{"OAUTHBEARER, a token that nobody signed", oauth.Auth{Token: "e30.e30.e30"}.AsMechanism(), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client := producer(t, c.Addrs("sasl"), kgo.DialTLSConfig(trust(t, c)), kgo.SASL(tc.mechanism))
			err := client.Ping(ctx)
			if !tc.refused && err == nil {
				err = produce(ctx, client, topic, tc.name)
			}
			if (err != nil) != tc.refused {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("client certificate", func(t *testing.T) {
		cert, err := tls.LoadX509KeyPair(c.ClientCert())
		if err != nil {
			t.Fatal(err)
		}
		config := trust(t, c)
		config.Certificates = []tls.Certificate{cert}
		client := producer(t, c.Addrs("mtls"), kgo.DialTLSConfig(config))
		if err := produce(ctx, client, topic, "certificate"); err != nil {
			t.Error(err)
		}
		// It is known by its certificate's name.
		c.Revoke(ctx, User)
		if err := produce(ctx, client, topic, "revoked"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
			t.Errorf("revoked: %v", err)
		}
		c.Allow(ctx, User)
		if err := produce(ctx, client, topic, "allowed"); err != nil {
			t.Errorf("allowed again: %v", err)
		}
	})
	t.Run("no client certificate", func(t *testing.T) {
		if err := producer(t, c.Addrs("mtls"), kgo.DialTLSConfig(trust(t, c))).Ping(ctx); err == nil {
			t.Error("let in")
		}
	})
	if n := c.Issuer().Counts().Keys; n == 0 {
		t.Error("no broker asked for the key")
	}
}

// ask posts a form to the token endpoint.
func ask(t *testing.T, i *Issuer, form url.Values) (status int, token string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, i.TokenURL(), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body.Token
}

func TestIssuer(t *testing.T) {
	i, err := newIssuer()
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	form := func(pairs ...string) url.Values {
		v := url.Values{"grant_type": {"client_credentials"}, "client_id": {ClientID}}
		for n := 0; n < len(pairs); n += 2 {
			v.Set(pairs[n], pairs[n+1])
		}
		return v
	}
	for _, tc := range []struct {
		name string
		form url.Values
		want int
	}{
		{"secret", form("client_secret", ClientSecret, "scope", "s"), 200},
		{"wrong secret", form("client_secret", "x"), 401},
		{"wrong client", form("client_id", "x", "client_secret", ClientSecret), 401},
		{"wrong grant", form("grant_type", "password", "client_secret", ClientSecret), 401},
		{"assertion", form("client_assertion_type", assertionType, "client_assertion", i.Assertion("w", time.Minute)), 200},
		{"assertion of no type", form("client_assertion", i.Assertion("w", time.Minute)), 401},
		{"assertion that is over", form("client_assertion_type", assertionType, "client_assertion", i.Assertion("w", -time.Minute)), 401},
		{"assertion for another", form("client_assertion_type", assertionType, "client_assertion", i.Token("w", time.Minute)), 401},
		{"assertion of nobody", form("client_assertion_type", assertionType, "client_assertion", "e30.e30.e30"), 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, token := ask(t, i, tc.form)
			if status != tc.want || (token != "") != (tc.want == 200) {
				t.Errorf("status %d, token %q", status, token)
			}
		})
	}
	i.Refuse(true)
	if status, _ := ask(t, i, form("client_secret", ClientSecret)); status != 401 {
		t.Errorf("told to refuse, and answered %d", status)
	}
	if got, want := i.Counts(), (IssuerCounts{Secrets: 1, Assertions: 1, Refused: 8}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}
