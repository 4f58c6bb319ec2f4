package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"software.sslmate.com/src/go-pkcs12"

	"postroad/test/kafkatest"
)

// reauth is how long a session on the real hub lasts, in milliseconds: then the
// hub wants to be told again who we are (KIP-368).
const reauth = "5000"

// What a real Apache Kafka takes and refuses, on one cluster.
func TestRealKafkaAccess(t *testing.T) {
	c := kafkatest.Start(t, kafkatest.Options{
		Nodes: 1, Secure: true, PlainUsers: map[string]string{connectionUser: connText},
		Properties: map[string]string{"connections.max.reauth.ms": reauth},
	})
	c.CreateTopic(t.Context(), "messages", 3, nil)
	r := &realAccess{c: c}
	t.Run("ways in", r.waysIn)
	t.Run("refusals", r.refusals)
	t.Run("password is changed while messages are sent", r.rotation)
	t.Run("user is removed and comes back", r.removal)
	t.Run("tokens are renewed", r.renewal)
	t.Run("token that has ended", r.endedToken)
	t.Run("issuer refuses and takes again", r.issuerRefuses)
}

type realAccess struct {
	c   *kafkatest.Cluster
	seq uint64
}

func (r *realAccess) sasl() Options {
	o := options("")
	o.Brokers = r.c.Addrs("sasl")
	o.TLS.CAFile = r.c.CAFile()
	o.DialTimeout, o.RequestTimeout = 5*time.Second, 10*time.Second
	return o
}

func (r *realAccess) password(t *testing.T, mechanism, user, password string) Options {
	o := r.sasl()
	o.SASL = SASLOptions{Mechanism: mechanism, Username: user, PasswordFile: writeFile(t, "password", password+"\n")}
	return o
}

func (r *realAccess) tokens(t *testing.T) Options {
	o := r.sasl()
	o.SASL = SASLOptions{Mechanism: mechanismOAuth, OAuth: OAuthOptions{
		TokenURL: r.c.Issuer().TokenURL(), ClientID: kafkatest.ClientID, ClientSecretFile: writeFile(t, "secret", kafkatest.ClientSecret),
	}}
	return o
}

// stores are the client's certificate and the authority's in stores of type
// PKCS12, with a password.
func (r *realAccess) stores(t *testing.T, password string) (key, trust string) {
	t.Helper()
	text, err := os.ReadFile(r.c.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(pemBytes(t, text))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(r.c.ClientCert())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := pkcs12.Modern.Encode(pair.PrivateKey, pair.Leaf, nil, password)
	if err != nil {
		t.Fatal(err)
	}
	trusts, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{ca}, password)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "key.p12", string(keys)), writeFile(t, "trust.p12", string(trusts))
}

// waysIn sends and reads by everything that says how the hub is reached.
func (r *realAccess) waysIn(t *testing.T) {
	cert, key := r.c.ClientCert()
	ways := map[string]func(t *testing.T) Options{
		"connection string": func(t *testing.T) Options {
			o := r.sasl()
			o.Dialect, o.ConnectionStringFile = dialectEventHubs, writeFile(t, "conn", connText+"\n")
			return o
		},
		"JAAS file": func(t *testing.T) Options {
			o := r.sasl()
			o.JAASFile = writeFile(t, "jaas", fmt.Sprintf("KafkaClient {\n  org.apache.kafka.common.security.plain.PlainLoginModule required\n  username=%q\n  password=%q;\n};\n", kafkatest.User, kafkatest.Password))
			return o
		},
		"client.properties": func(t *testing.T) Options {
			o := DefaultOptions()
			o.ClientPropertiesFile = writeFile(t, "client.properties", fmt.Sprintf("bootstrap.servers=%s\nsecurity.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\n"+
				"sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n username=%q password=%q;\nssl.truststore.type=PEM\nssl.truststore.location=%s\n",
				strings.Join(r.c.Addrs("sasl"), ","), kafkatest.User, kafkatest.Password, r.c.CAFile()))
			return o
		},
		"stores of type PKCS12": func(t *testing.T) Options {
			key, trust := r.stores(t, "changeit")
			o := DefaultOptions()
			o.ClientPropertiesFile = writeFile(t, "client.properties", fmt.Sprintf("bootstrap.servers=%s\nsecurity.protocol=SSL\nssl.keystore.location=%s\nssl.keystore.password=changeit\n"+
				"ssl.truststore.location=%s\nssl.truststore.password=changeit\n", strings.Join(r.c.Addrs("mtls"), ","), key, trust))
			return o
		},
		"client certificate": func(*testing.T) Options {
			o := r.sasl()
			o.Brokers = r.c.Addrs("mtls")
			o.TLS.CertFile, o.TLS.KeyFile = cert, key
			return o
		},
		"tokens by secret": func(t *testing.T) Options { return r.tokens(t) },
		"tokens by assertion": func(t *testing.T) Options {
			o := r.tokens(t)
			o.SASL.OAuth.ClientSecretFile = ""
			o.SASL.OAuth.AssertionFile = writeFile(t, "assertion", r.c.Issuer().Assertion(kafkatest.ClientID, time.Minute))
			return o
		},
		"proxy": func(t *testing.T) Options {
			p := startTunnels(t)
			p.lead("broker.invalid:9093", r.c.Addrs("sasl")[0])
			o := r.password(t, mechanismPlain, kafkatest.User, kafkatest.Password)
			o.Brokers, o.Proxy, o.TLS.ServerName = []string{"broker.invalid:9093"}, p.url(), "localhost"
			return o
		},
	}
	for _, mechanism := range []string{mechanismPlain, mechanismScram256, mechanismScram512} {
		ways[mechanism] = func(t *testing.T) Options { return r.password(t, mechanism, kafkatest.User, kafkatest.Password) }
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			o := way(t)
			s := startSink(t, o)
			r.seq++
			if a := produce(t, s, 0, stored(r.seq))[0]; a.err != nil {
				t.Fatal(a.err)
			}
			if n := r.inHub(t, o)[r.seq]; n != 1 {
				t.Errorf("the message is there %d times", n)
			}
		})
	}
}

// inHub reads the topic to its end: how often each message is there, copies
// too.
func (r *realAccess) inHub(t *testing.T, o Options) map[uint64]int {
	t.Helper()
	o.Window = 0
	reader, err := NewReader(o, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got := map[uint64]int{}
	if err := reader.Follow(ctx, FollowOptions{Topic: "messages", UntilEnd: true}, func(rec Record) error { got[rec.Seq]++; return nil }); err != nil || ctx.Err() != nil {
		t.Fatal("read the topic:", err, ctx.Err())
	}
	return got
}

// refusals are holds of the whole hub, in words that a person understands, and
// without the secret.
func (r *realAccess) refusals(t *testing.T) {
	stranger := newAuthority(t)
	cert, key := stranger.issue(t, "client")
	for name, tc := range map[string]struct {
		options func(t *testing.T) Options
		text    string
	}{
		"wrong password of PLAIN": {
			func(t *testing.T) Options { return r.password(t, mechanismPlain, kafkatest.User, "wrong-word") }, "Invalid username or password",
		},
		"wrong password of SCRAM": {
			func(t *testing.T) Options { return r.password(t, mechanismScram512, kafkatest.User, "wrong-word") }, "invalid credentials",
		},
		"unknown user of SCRAM": {
			func(t *testing.T) Options { return r.password(t, mechanismScram256, "nobody", "wrong-word") }, "invalid credentials",
		},
		"wrong secret": {
			func(t *testing.T) Options {
				o := r.tokens(t)
				o.SASL.OAuth.ClientSecretFile = writeFile(t, "secret", "wrong-word")
				return o
			}, "token endpoint " + r.c.Issuer().TokenURL() + ": status 401 invalid_client the secret is wrong",
		},
		"token for somebody else": {
			func(t *testing.T) Options {
				o := r.tokens(t)
				o.SASL.OAuth.Audience = "elsewhere"
				return o
			}, `"status":"invalid_token"`,
		},
		"hub that is not trusted": {
			func(t *testing.T) Options {
				o := r.password(t, mechanismPlain, kafkatest.User, kafkatest.Password)
				o.TLS.CAFile = stranger.file
				return o
			}, "certificate signed by unknown authority",
		},
		"certificate that the hub does not trust": {
			func(t *testing.T) Options {
				o := r.sasl()
				o.Brokers = r.c.Addrs("mtls")
				o.TLS.CertFile, o.TLS.KeyFile = writeFile(t, "cert", cert), writeFile(t, "key", key)
				return o
			}, "certificate",
		},
		"no certificate": {
			func(*testing.T) Options {
				o := r.sasl()
				o.Brokers = r.c.Addrs("mtls")
				return o
			}, "certificate",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSink(t, tc.options(t))
			var err error
			eventually(t, "a hold of the whole hub", func() bool { err = s.Probe(t.Context()); return held(err) })
			if !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "wrong-word") {
				t.Errorf("it says: %v; want %q", err, tc.text)
			}
			t.Log(err)
		})
	}
}

func (r *realAccess) setPassword(t *testing.T, user, password string) {
	t.Helper()
	as, err := r.c.Admin().AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{{User: user, Mechanism: kadm.ScramSha512, Iterations: 4096, Password: password}})
	if err == nil {
		err = as.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// flow sends one message after another until stop, which returns what was
// taken. A message that is refused is sent again.
func (r *realAccess) flow(t *testing.T, s *Sink) (count func() int, stop func() []uint64) {
	t.Helper()
	taken := make(chan uint64, 1<<16)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	first := r.seq
	go func() {
		defer close(done)
		for seq := first + 1; ctx.Err() == nil; {
			m := stored(seq)
			answer := make(chan error, 1)
			if err := s.Produce(&m, int32(seq%3), s.Turn(), func(_ int64, err error) { answer <- err }); err != nil {
				answer <- err
			}
			if err := <-answer; err == nil {
				taken <- seq
				seq++
			} else if Classify(err) == ClassDead {
				t.Error(err)
			}
			if sleep(ctx, 2*time.Millisecond) != nil {
				return
			}
		}
	}()
	return func() int { return len(taken) }, func() []uint64 {
		cancel()
		<-done
		close(taken)
		var seqs []uint64
		for seq := range taken {
			seqs = append(seqs, seq)
			r.seq = seq
		}
		r.seq++ // the last may be there without having been taken
		return seqs
	}
}

func (r *realAccess) judge(t *testing.T, taken []uint64) {
	t.Helper()
	got := r.inHub(t, r.password(t, mechanismPlain, kafkatest.User, kafkatest.Password))
	for _, seq := range taken {
		if got[seq] != 1 {
			t.Errorf("message %d was taken and is there %d times", seq, got[seq])
		}
	}
	t.Logf("%d messages taken, each there once", len(taken))
}

// more waits until more messages have been taken.
func more(t *testing.T, what string, count func() int) {
	t.Helper()
	was := count()
	eventually(t, what, func() bool { return count() >= was+50 })
}

// rotation: sessions end every few seconds here, so each connection that is
// there at a change has to show the new password soon.
func (r *realAccess) rotation(t *testing.T) {
	r.setPassword(t, "rotor", "v1")
	o := r.password(t, mechanismScram512, "rotor", "v1")
	m, file := mount(t, "password", "v1")
	o.SASL.PasswordFile = file
	s := startSink(t, o)
	count, stop := r.flow(t, s)
	more(t, "messages by v1", count)
	r.setPassword(t, "rotor", "v2")
	m.put("password", "v2")
	for range 3 { // over the end of sessions
		<-time.After(3 * time.Second)
		more(t, "messages by v2", count)
	}
	r.setPassword(t, "rotor", "v3")
	var err error
	eventually(t, "the old password is refused", func() bool { err = s.Probe(t.Context()); return held(err) })
	if !errors.Is(err, kerr.SaslAuthenticationFailed) {
		t.Error(err)
	}
	m.put("password", "v3")
	eventually(t, "the hub is there again", func() bool { return s.Probe(t.Context()) == nil })
	more(t, "messages by v3", count)
	r.judge(t, stop())
}

func (r *realAccess) removal(t *testing.T) {
	r.setPassword(t, "guest", "v1")
	s := startSink(t, r.password(t, mechanismScram512, "guest", "v1"))
	count, stop := r.flow(t, s)
	more(t, "messages", count)
	as, err := r.c.Admin().AlterUserSCRAMs(t.Context(), []kadm.DeleteSCRAM{{User: "guest", Mechanism: kadm.ScramSha512}}, nil)
	if err = errors.Join(err, as.Error()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the user is refused", func() bool { return held(s.Probe(t.Context())) })
	r.setPassword(t, "guest", "v1")
	eventually(t, "the hub is there again", func() bool { return s.Probe(t.Context()) == nil })
	more(t, "messages again", count)
	r.judge(t, stop())
}

// renewal: tokens live for 4 s, sessions no longer, and the flow does not stop
// for them.
func (r *realAccess) renewal(t *testing.T) {
	r.c.Issuer().SetLifetime(4 * time.Second)
	defer r.c.Issuer().SetLifetime(time.Hour)
	before := r.c.Issuer().Counts().Secrets
	s := startSink(t, r.tokens(t))
	count, stop := r.flow(t, s)
	for range 4 {
		more(t, "messages", count)
		<-time.After(3 * time.Second)
	}
	more(t, "messages", count)
	if n := r.c.Issuer().Counts().Secrets - before; n < 3 || n > 20 {
		t.Errorf("%d tokens in 12 s, each for 4 s", n)
	}
	r.judge(t, stop())
}

// endedToken: the hub refuses a token that this process takes for good, and it
// gets another without anybody hearing of a refusal.
func (r *realAccess) endedToken(t *testing.T) {
	o := r.tokens(t)
	s := startSink(t, o)
	a := s.link.current()
	planted := &token{
		text: r.c.Issuer().Token(kafkatest.ClientID, -time.Minute), of: a.oauth, fetched: time.Now(), expires: time.Now().Add(time.Hour),
	}
	s.link.tokens.mu.Lock()
	s.link.tokens.current = planted
	s.link.tokens.mu.Unlock()
	r.seq++
	if a := produce(t, s, 0, stored(r.seq))[0]; a.err != nil {
		t.Fatal(a.err)
	}
	if s.link.tokens.kept(a.oauth) == planted {
		t.Error("the token that was refused is kept")
	}
	if err := s.link.refused(); err != nil {
		t.Errorf("it counts as a refusal: %v", err)
	}
}

func (r *realAccess) issuerRefuses(t *testing.T) {
	r.c.Issuer().SetLifetime(3 * time.Second)
	defer r.c.Issuer().SetLifetime(time.Hour)
	log := &lockedBuffer{}
	s, err := NewSink(r.tokens(t), Deps{Stamp: "here", Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	count, stop := r.flow(t, s)
	more(t, "messages", count)
	r.c.Issuer().Refuse(true)
	eventually(t, "no token is a hold", func() bool { return held(s.Probe(t.Context())) })
	r.c.Issuer().Refuse(false)
	eventually(t, "the hub is there again", func() bool { return s.Probe(t.Context()) == nil })
	more(t, "messages again", count)
	r.judge(t, stop())
	if text := log.String(); strings.Contains(text, kafkatest.ClientSecret) || strings.Contains(text, "eyJ") {
		t.Errorf("a secret is in the log: %s", text)
	}
}
