package kafka

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"software.sslmate.com/src/go-pkcs12"
)

// authority issues certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = writeFile(t, "ca.crt", pemBlock("CERTIFICATE", der))
	return a
}

// issue makes a certificate and its key, PEM, good for 127.0.0.1 and a name.
func (a *authority) issue(t testing.TB, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, k.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pemBlock("CERTIFICATE", der), pemBlock("PRIVATE KEY", private)
}

// config is what a broker of that name needs.
func (a *authority) config(t testing.TB, name string) *tls.Config {
	t.Helper()
	pair, err := tls.X509KeyPair(bytePair(a.issue(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

func bytePair(a, b string) ([]byte, []byte) { return []byte(a), []byte(b) }

func (a *authority) tls(t testing.TB, name string) kfake.Opt {
	t.Helper()
	return kfake.TLS(a.config(t, name))
}

// mutual makes a broker ask for certificates of the authority.
func (a *authority) mutual(t testing.TB) kfake.Opt {
	t.Helper()
	c := a.config(t, "hub.example")
	c.ClientCAs = x509.NewCertPool()
	c.ClientCAs.AddCert(a.cert)
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return kfake.TLS(c)
}

func pemBlock(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// secretWord stands in every secret of TestReadAccess, and in no error.
const secretWord = "hush"

// Everything that can say how the hub is reached does, and what is wrong is
// named by file and line, without the secret in it.
func TestReadAccess(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue(t, "client")
	store, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{a.cert}, secretWord)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(a.file)
	if err != nil {
		t.Fatal(err)
	}
	const plainJAAS = `KafkaClient { PlainLoginModule required username="ada" password="hush"; };`
	const scramJAAS = `KafkaClient { ScramLoginModule required username="ada" password="hush"; };`
	for name, tc := range map[string]struct {
		files map[string]string // by name, beside hub.properties
		set   func(o *Options, path func(string) string)
		check func(a *access) bool
		err   string // with DIR for the directory
	}{
		"nothing": {nil, nil, func(a *access) bool { return a.tls == nil && a.mechanism == "" && a.brokers[0] == "127.0.0.1:9092" }, ""},
		"password file": {
			map[string]string{"pass": "hush\r\n"},
			func(o *Options, path func(string) string) {
				o.SASL = SASLOptions{Mechanism: mechanismScram256, Username: "ada", PasswordFile: path("pass")}
			},
			func(a *access) bool {
				return a.mechanism == mechanismScram256 && a.user == "ada" && a.password == "hush" && a.tls == nil
			},
			"",
		},
		"empty password file": {
			map[string]string{"pass": "\n"},
			func(o *Options, path func(string) string) {
				o.SASL = SASLOptions{Mechanism: mechanismPlain, Username: "ada", PasswordFile: path("pass")}
			},
			nil, "sasl.password_file: DIR/pass:1: is empty; expected the password",
		},
		"password of two lines": {
			map[string]string{"pass": "hush\nhush\n"},
			func(o *Options, path func(string) string) {
				o.SASL = SASLOptions{Mechanism: mechanismPlain, Username: "ada", PasswordFile: path("pass")}
			},
			nil, "sasl.password_file: DIR/pass:2: expected nothing after the password in the first line",
		},
		"no password file": {
			nil,
			func(o *Options, path func(string) string) {
				o.SASL = SASLOptions{Mechanism: mechanismPlain, Username: "ada", PasswordFile: path("pass")}
			},
			nil, "sasl.password_file: open DIR/pass: no such file or directory",
		},
		"connection string": {
			map[string]string{"conn": connText},
			func(o *Options, path func(string) string) {
				o.Dialect, o.ConnectionStringFile = dialectEventHubs, path("conn")
			},
			func(a *access) bool {
				return a.mechanism == mechanismPlain && a.user == connectionUser && a.password == connText && a.tls != nil &&
					a.brokers[0] == "plant.servicebus.windows.net:9093"
			},
			"",
		},
		"connection string by another way": {
			map[string]string{"conn": connText},
			func(o *Options, path func(string) string) {
				o.Dialect, o.ConnectionStringFile, o.Brokers = dialectEventHubs, path("conn"), []string{"10.0.0.4:9093"}
			},
			func(a *access) bool { return slices.Equal(a.brokers, []string{"10.0.0.4:9093"}) }, "",
		},
		"JAAS file": {
			map[string]string{"jaas": plainJAAS},
			func(o *Options, path func(string) string) { o.JAASFile = path("jaas") },
			func(a *access) bool {
				return a.mechanism == mechanismPlain && a.user == "ada" && a.password == "hush" && len(a.remarks) == 1
			},
			"",
		},
		"JAAS file of SCRAM": {
			map[string]string{"jaas": scramJAAS},
			func(o *Options, path func(string) string) {
				o.JAASFile, o.SASL.Mechanism = path("jaas"), mechanismScram512
			},
			func(a *access) bool { return a.mechanism == mechanismScram512 && a.password == "hush" }, "",
		},
		"JAAS file of SCRAM, of which": {
			map[string]string{"jaas": scramJAAS},
			func(o *Options, path func(string) string) { o.JAASFile = path("jaas") },
			nil, "DIR/jaas:1: ScramLoginModule does for several mechanisms: set sasl.mechanism to SCRAM-SHA-256 or SCRAM-SHA-512",
		},
		"JAAS file of another mechanism": {
			map[string]string{"jaas": plainJAAS},
			func(o *Options, path func(string) string) {
				o.JAASFile, o.SASL.Mechanism = path("jaas"), mechanismScram512
			},
			nil, "DIR/jaas:1: PlainLoginModule is of the mechanism PLAIN, and sasl.mechanism is SCRAM-SHA-512",
		},
		"certificates": {
			map[string]string{"ca": string(ca), "cert": cert, "key": key},
			func(o *Options, path func(string) string) {
				o.TLS = TLSOptions{Enabled: tlsAuto, CAFile: path("ca"), CertFile: path("cert"), KeyFile: path("key"), ServerName: "hub"}
			},
			func(a *access) bool {
				return a.tls.RootCAs != nil && len(a.tls.Certificates) == 1 && a.tlsFor("x:1").ServerName == "hub"
			},
			"",
		},
		"a key that does not fit": {
			map[string]string{"cert": cert, "key": func() string { _, k := a.issue(t, "other"); return k }()},
			func(o *Options, path func(string) string) {
				o.TLS = TLSOptions{Enabled: tlsAuto, CertFile: path("cert"), KeyFile: path("key")}
			},
			nil, "tls.cert_file: DIR/cert, tls.key_file: DIR/key: tls: private key does not match public key",
		},
		"an encrypted key": {
			map[string]string{"cert": cert, "key": pemBlock("ENCRYPTED PRIVATE KEY", []byte("hush"))},
			func(o *Options, path func(string) string) {
				o.TLS = TLSOptions{Enabled: tlsAuto, CertFile: path("cert"), KeyFile: path("key")}
			},
			nil, "tls.cert_file: DIR/cert, tls.key_file: DIR/key: an encrypted private key in PEM is not supported",
		},
		"a key for a CA": {
			map[string]string{"ca": key},
			func(o *Options, path func(string) string) { o.TLS.CAFile = path("ca") },
			nil, "tls.ca_file: DIR/ca:6: the block that ends here is a PRIVATE KEY; expected a CERTIFICATE",
		},
		"no CA": {
			map[string]string{"ca": "hush"},
			func(o *Options, path func(string) string) { o.TLS.CAFile = path("ca") },
			nil, "tls.ca_file: DIR/ca:1: holds no certificate; expected PEM",
		},
		"event hubs": {
			map[string]string{"secret": "hush"},
			func(o *Options, path func(string) string) {
				o.Dialect, o.Brokers, o.SASL.Mechanism = dialectEventHubs, []string{"plant.servicebus.windows.net"}, mechanismOAuth
				o.SASL.OAuth = OAuthOptions{TokenURL: "https://login.example/token", ClientID: "me", ClientSecretFile: path("secret")}
			},
			func(a *access) bool {
				return a.tls != nil && a.oauth == tokenRequest{
					url: "https://login.example/token", clientID: "me", secret: "hush", scope: "https://plant.servicebus.windows.net/.default",
				}
			},
			"",
		},
		"event hubs by nobody": {
			nil, func(o *Options, _ func(string) string) {
				o.Dialect, o.Brokers = dialectEventHubs, []string{"plant.servicebus.windows.net"}
			}, nil,
			"dialect eventhubs needs connection_string_file, or sasl.mechanism OAUTHBEARER",
		},
		"event hubs nowhere": {
			nil, func(o *Options, _ func(string) string) { o.Dialect = dialectEventHubs }, nil, "brokers: dialect eventhubs needs the namespace's name there",
		},
		"tokens without an endpoint": {
			nil, func(o *Options, _ func(string) string) { o.SASL.Mechanism = mechanismOAuth }, nil, errNoTokenURL.Error(),
		},
		"proxy": {
			map[string]string{"proxy": "ada:hush:hush"},
			func(o *Options, path func(string) string) {
				o.Proxy, o.ProxyCredentialsFile = "http://proxy", path("proxy")
			},
			func(a *access) bool { return a.proxy.addr == "proxy:80" && a.proxy.password == "hush:hush" }, "",
		},
		"proxy credentials of no form": {
			map[string]string{"proxy": "hush"},
			func(o *Options, path func(string) string) {
				o.Proxy, o.ProxyCredentialsFile = "http://proxy", path("proxy")
			},
			nil, "proxy_credentials_file: DIR/proxy:1: expected user:password for the proxy",
		},
		"properties": {
			map[string]string{
				"trust.p12": string(store),
				"hub.properties": "bootstrap.servers=a:1, b:2\nsecurity.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nclient.id=me\ncompression.type=lz4\n" +
					"sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n  username=\"ada\" password=\"hush\";\n" +
					"ssl.truststore.location=DIR/trust.p12\nssl.truststore.password=hush\nacks=all\nsasl.login.refresh.window.factor=0.8\n",
			},
			nil,
			func(a *access) bool {
				return slices.Equal(a.brokers, []string{"a:1", "b:2"}) && a.mechanism == mechanismScram512 && a.password == "hush" &&
					a.tls != nil && a.tls.RootCAs != nil && a.clientID == "me" && a.compression == "lz4" && len(a.remarks) == 1 &&
					strings.Contains(a.remarks[0], `"acks" in line 10`) && strings.Contains(a.remarks[0], `factor" in line 11`)
			},
			"",
		},
		"properties with PEM inside": {
			map[string]string{"hub.properties": "security.protocol=SSL\nssl.keystore.type=PEM\nssl.truststore.type=PEM\n" +
				"ssl.truststore.certificates=" + oneLinePEM(string(ca)) + "\nssl.keystore.certificate.chain=" + oneLinePEM(cert) +
				"\nssl.keystore.key=" + oneLinePEM(key) + "\nsasl.mechanism=PLAIN\n"},
			nil,
			func(a *access) bool {
				return a.tls.RootCAs != nil && len(a.tls.Certificates) == 1 && a.mechanism == ""
			},
			"",
		},
		"properties over plain text": {
			map[string]string{"hub.properties": "bootstrap.servers=a:1\nsasl.mechanism=PLAIN"},
			nil,
			func(a *access) bool { return a.tls == nil && a.mechanism == "" }, "",
		},
		"properties, but settings say otherwise": {
			map[string]string{"hub.properties": "bootstrap.servers=a:1\nsecurity.protocol=SSL", "pass": "hush"},
			func(o *Options, path func(string) string) {
				o.Brokers, o.SASL = []string{"c:3"}, SASLOptions{Mechanism: mechanismPlain, Username: "eve", PasswordFile: path("pass")}
			},
			func(a *access) bool {
				return a.brokers[0] == "c:3" && a.mechanism == mechanismPlain && a.user == "eve" && a.tls != nil
			},
			"",
		},
		"properties of tokens": {
			map[string]string{"hub.properties": "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.token.endpoint.url=http://127.0.0.1:1/token\n" +
				"sasl.jaas.config=OAuthBearerLoginModule required clientId=\"me\" clientSecret=\"hush\" scope=\"s\" extension_logicalCluster=\"lc\";\n" +
				"sasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler\n"},
			nil,
			func(a *access) bool {
				return a.oauth == tokenRequest{url: "http://127.0.0.1:1/token", clientID: "me", secret: "hush", scope: "s"} && a.extensions["logicalCluster"] == "lc"
			},
			"",
		},
		"properties of Kerberos": {
			map[string]string{"hub.properties": "security.protocol=SASL_SSL\n\nsasl.kerberos.service.name=kafka"},
			nil, nil,
			`client_properties_file: DIR/hub.properties:3: "sasl.kerberos.service.name" is not supported`,
		},
		"properties without a mechanism": {
			map[string]string{"hub.properties": "\nsecurity.protocol=SASL_SSL"},
			nil, nil,
			"client_properties_file: DIR/hub.properties:2: security.protocol wants sasl.mechanism, which must be PLAIN",
		},
		"properties of an unknown mechanism": {
			map[string]string{"hub.properties": "security.protocol=SASL_SSL\nsasl.mechanism=GSSAPI"},
			nil, nil,
			"client_properties_file: DIR/hub.properties:2: sasl.mechanism must be PLAIN",
		},
		"properties with a bad JAAS": {
			map[string]string{"hub.properties": "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config=PlainLoginModule required password=\"hush\";"},
			nil, nil,
			"client_properties_file: DIR/hub.properties:3: sasl.jaas.config: PlainLoginModule has no username",
		},
		"properties that do not check names": {
			map[string]string{"hub.properties": "security.protocol=SSL\nssl.endpoint.identification.algorithm="},
			nil, nil,
			"client_properties_file: DIR/hub.properties:2: ssl.endpoint.identification.algorithm must be https",
		},
		"properties with a JKS store": {
			map[string]string{"hub.properties": "security.protocol=SSL\nssl.truststore.location=DIR/trust.jks", "trust.jks": jksMagic + "rest"},
			nil, nil,
			"client_properties_file: DIR/hub.properties:2: ssl.truststore.location DIR/trust.jks: a store of type JKS is not supported, only PEM and PKCS12",
		},
		"properties with a wrong password of a store": {
			map[string]string{"hub.properties": "security.protocol=SSL\nssl.truststore.location=DIR/trust.p12\nssl.truststore.password=hush2", "trust.p12": string(store)},
			nil, nil,
			"client_properties_file: DIR/hub.properties:2: ssl.truststore.location DIR/trust.p12: expected a trust store of type PKCS12 and its password",
		},
		"properties with a variable": {
			map[string]string{"hub.properties": "bootstrap.servers=${file:/x:y}"},
			nil, nil,
			"client_properties_file: DIR/hub.properties:1: bootstrap.servers refers to a value elsewhere by ${…}",
		},
		"properties with bad brokers": {
			map[string]string{"hub.properties": "bootstrap.servers=a"},
			nil, nil,
			"client_properties_file: DIR/hub.properties:1: bootstrap.servers must be a list of host:port",
		},
		"properties with bad compression": {
			map[string]string{"hub.properties": "compression.type=best"},
			nil, nil,
			"client_properties_file: DIR/hub.properties:1: compression.type must be none",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tc.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o := DefaultOptions()
			path := func(name string) string { return filepath.Join(dir, name) }
			if tc.files["hub.properties"] != "" {
				o.ClientPropertiesFile = path("hub.properties")
			}
			if tc.set != nil {
				tc.set(&o, path)
			}
			if err := o.Validate(); err != nil {
				t.Fatal("the settings alone:", err)
			}
			got, err := o.readAccess()
			if !strings.HasPrefix(errText(err), strings.ReplaceAll(tc.err, "DIR", dir)) || (err == nil) != (tc.err == "") {
				t.Fatalf("error %v, want %q", err, tc.err)
			}
			if strings.Contains(errText(err), secretWord) {
				t.Errorf("the error shows the secret: %v", err)
			}
			if err == nil && (!tc.check(got) || len(got.files) < len(tc.files)) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// oneLinePEM is how Kafka has a PEM text in a property.
func oneLinePEM(s string) string {
	return strings.ReplaceAll(strings.TrimSpace(s), "\n", `\n`)
}

// pemBytes is what the first block of a PEM text holds.
func pemBytes(t testing.TB, text []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("no PEM")
	}
	return block.Bytes
}
