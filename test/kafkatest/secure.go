package kafkatest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// User is known to all mechanisms with a password, which is Password; it is also
// the name in the certificate of clients.
const (
	User     = "alice"
	Password = "alice-secret"
)

func scramMechanisms() []string { return []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} }

// keys are the files of a secure cluster.
type keys struct {
	// ca is the authority's certificate.
	ca     string
	client pair
	// node has the key and the certificate of all nodes in one file, as Kafka
	// takes them.
	node string
}

// pair are the files of a certificate and its key.
type pair struct{ cert, key string }

// authority issues certificates.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// secure makes keys, and the issuer of tokens.
func (c *cluster) secure() (err error) {
	dir := filepath.Join(c.dir, "keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	a, err := newAuthority(dir)
	if err != nil {
		return fmt.Errorf("make keys: %w", err)
	}
	k := &keys{ca: filepath.Join(dir, "ca.crt"), node: filepath.Join(dir, "node.pem")}
	node, err := a.issue("node", "kafka", x509.ExtKeyUsageServerAuth)
	if err != nil {
		return fmt.Errorf("make keys: %w", err)
	}
	if k.client, err = a.issue("client", User, x509.ExtKeyUsageClientAuth); err != nil {
		return fmt.Errorf("make keys: %w", err)
	}
	var both []byte
	for _, file := range []string{node.key, node.cert} {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		both = append(both, text...)
	}
	if err := os.WriteFile(k.node, both, 0o600); err != nil {
		return err
	}
	c.keys = k
	c.issuer, err = newIssuer()
	return err
}

// validFor is longer than any test.
const validFor = 24 * time.Hour

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kafkatest authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validFor),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{dir, cert, key}, writePEM(filepath.Join(dir, "ca.crt"), "CERTIFICATE", der)
}

// issue makes a key and a certificate for 127.0.0.1 with a common name.
func (a *authority) issue(file, name string, usage x509.ExtKeyUsage) (pair, error) {
	p := pair{filepath.Join(a.dir, file+".crt"), filepath.Join(a.dir, file+".key")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return p, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return p, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validFor),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return p, err
	}
	if err := writePEM(p.cert, "CERTIFICATE", der); err != nil {
		return p, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return p, err
	}
	return p, writePEM(p.key, "PRIVATE KEY", private)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// secureSettings are what the secure listeners need, and the authorizer.
func (c *cluster) secureSettings() map[string]string {
	const security = "org.apache.kafka.common.security."
	s := map[string]string{
		"ssl.keystore.type":       "PEM",
		"ssl.keystore.location":   c.keys.node,
		"ssl.truststore.type":     "PEM",
		"ssl.truststore.location": c.keys.ca,
		// The name of who comes with a certificate is its common name.
		"ssl.principal.mapping.rules":        `RULE:^CN=([^,]+).*$/$1/,DEFAULT`,
		"listener.name.mtls.ssl.client.auth": "required",
		"listener.name.sasl.ssl.client.auth": "none",
		"sasl.enabled.mechanisms":            strings.Join(append(scramMechanisms(), "PLAIN", "OAUTHBEARER"), ","),
		// Who comes by the plain listener has no name and may do everything.
		"authorizer.class.name":                  "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":                            "User:ANONYMOUS",
		"allow.everyone.if.no.acl.found":         "true",
		"listener.name.sasl.plain." + jaas:       c.plainUsers(security + "plain.PlainLoginModule"),
		"listener.name.sasl.oauthbearer." + jaas: security + "oauthbearer.OAuthBearerLoginModule required;",
		"listener.name.sasl.oauthbearer.sasl.server.callback.handler.class": security +
			"oauthbearer.OAuthBearerValidatorCallbackHandler",
	}
	// Without the validator's name Kafka 4.1 takes the one that is for clients,
	// which looks at no signature. It does not look for that name behind the
	// mechanism's.
	for name, value := range map[string]string{
		"jwks.endpoint.url":   c.issuer.JWKSURL(),
		"jwt.validator.class": security + "oauthbearer.BrokerJwtValidator",
		"expected.issuer":     c.issuer.URL(),
		"expected.audience":   Audience,
		"clock.skew.seconds":  "0", // the clock is the same
	} {
		s["listener.name.sasl.sasl.oauthbearer."+name] = value
	}
	for _, mechanism := range scramMechanisms() {
		s["listener.name.sasl."+strings.ToLower(mechanism)+"."+jaas] = security + "scram.ScramLoginModule required;"
	}
	return s
}

const jaas = "sasl.jaas.config"

// plainUsers is the JAAS line of PLAIN, which holds its users.
func (c *cluster) plainUsers(module string) string {
	users := map[string]string{User: Password}
	maps.Copy(users, c.opts.PlainUsers)
	line := module + " required"
	for _, name := range slices.Sorted(maps.Keys(users)) {
		line += fmt.Sprintf(" user_%s=%q", name, users[name])
	}
	return line + ";"
}

// revocation is what keeps a user from all topics. Once there is a rule for
// them, whoever no rule allows is kept out, so the others are allowed by one.
func revocation(user string) *kadm.ACLBuilder {
	return kadm.NewACLs().Topics("*").ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpAll).
		Allow("User:*").AllowHosts("*").Deny("User:" + user).DenyHosts("*")
}
