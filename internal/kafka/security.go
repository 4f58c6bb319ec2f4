package kafka

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SASLOptions say how this process proves to the hub who it is. Secrets are in
// the files that they name, which are read again when they change.
type SASLOptions struct {
	// Mechanism is PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER. Empty, it
	// is what connection_string_file, jaas_file or client_properties_file says,
	// and without those the hub is not told who we are.
	Mechanism string `yaml:"mechanism"`
	// Username is the user of PLAIN and SCRAM.
	Username string `yaml:"username"`
	// PasswordFile names the file that holds the password of PLAIN and SCRAM. A
	// line break at its end does not count.
	PasswordFile string `yaml:"password_file"`
	// OAuth says where the tokens of OAUTHBEARER come from.
	OAuth OAuthOptions `yaml:"oauth"`
}

// OAuthOptions say where tokens come from: from a token endpoint, by client
// credentials (RFC 6749 section 4.4).
type OAuthOptions struct {
	// TokenURL is the token endpoint, an https URL; http is taken only for this
	// machine itself.
	TokenURL string `yaml:"token_url"`
	// ClientID is the identity for which a token is asked.
	ClientID string `yaml:"client_id"`
	// ClientSecretFile names the file that holds the secret of the client. A
	// line break at its end does not count.
	ClientSecretFile string `yaml:"client_secret_file"`
	// AssertionFile names the file that holds a signed token of the platform
	// (workload identity, RFC 7523), which proves who we are in place of a
	// secret. It is read for each token.
	AssertionFile string `yaml:"assertion_file"`
	// Scope is what the token is to be good for. In dialect eventhubs it is
	// https://NAMESPACE.servicebus.windows.net/.default where it is empty.
	Scope string `yaml:"scope"`
	// Audience is sent as the parameter of that name, where it is not empty.
	Audience string `yaml:"audience"`
}

// TLSOptions encrypt the connections to the hub. Files are PEM, and are read
// again when they change.
type TLSOptions struct {
	// Enabled is true, false or auto. With auto there is TLS in dialect
	// eventhubs, where another setting of this section is given, and where
	// connection_string_file or client_properties_file asks for it. Default auto.
	Enabled string `yaml:"enabled"`
	// CAFile names the certificates that the hub's are checked against. Empty,
	// they are those of the system.
	CAFile string `yaml:"ca_file"`
	// CertFile names the certificate by which the hub knows this process, and
	// those of its issuers, with key_file.
	CertFile string `yaml:"cert_file"`
	// KeyFile names the private key of cert_file.
	KeyFile string `yaml:"key_file"`
	// ServerName is the name that the certificates of all brokers must be for.
	// Empty, it is the host name of each.
	ServerName string `yaml:"server_name"`
}

// The values of hub.tls.enabled.
const (
	tlsAuto = "auto"
	tlsOn   = "true"
	tlsOff  = "false"
)

// The mechanisms.
const (
	mechanismPlain    = "PLAIN"
	mechanismScram256 = "SCRAM-SHA-256"
	mechanismScram512 = "SCRAM-SHA-512"
	mechanismOAuth    = "OAUTHBEARER"
)

const mechanismNames = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"

func knownMechanism(name string) bool {
	return slices.Contains([]string{mechanismPlain, mechanismScram256, mechanismScram512, mechanismOAuth}, name)
}

// problems collects what is wrong with settings, each "path: value: rule".
type problems []error

func (p *problems) check(ok bool, field, value, rule string) {
	if !ok {
		*p = append(*p, fmt.Errorf("%s: %s: %s", field, strconv.Quote(value), rule))
	}
}

// accessProblems returns what is wrong with the settings of how the hub is
// reached. No file is looked at: that is done where a Sink or Reader is made.
func (o Options) accessProblems() []error {
	var p problems
	p.check(slices.Contains([]string{dialectKafka, dialectEventHubs, dialectPostroad}, o.Dialect), "dialect", o.Dialect, "must be kafka, eventhubs or postroad")
	if o.Dialect == dialectEventHubs {
		p.eventHubs(o)
	}
	p.sasl(o)
	p.oauth(o.SASL)
	p.tls(o)
	p.proxy(o)
	return p
}

func (p *problems) sasl(o Options) {
	s := o.SASL
	p.check(s.Mechanism == "" || knownMechanism(s.Mechanism), "sasl.mechanism", s.Mechanism, "must be "+mechanismNames+", or empty")
	fromFile := cmp.Or(o.ConnectionStringFile, o.JAASFile, o.ClientPropertiesFile) != ""
	switch s.Mechanism {
	case mechanismPlain, mechanismScram256, mechanismScram512:
		p.check(s.Username != "" || fromFile, "sasl.username", "", "must be given with sasl.mechanism "+s.Mechanism)
		p.check(s.PasswordFile != "" || fromFile, "sasl.password_file", "", "must be given with sasl.mechanism "+s.Mechanism)
	case "":
		p.check(s.Username == "" || fromFile, "sasl.username", s.Username, "needs sasl.mechanism")
		p.check(s.PasswordFile == "" || fromFile, "sasl.password_file", s.PasswordFile, "needs sasl.mechanism")
		p.check(s.OAuth == (OAuthOptions{}) || fromFile, "sasl.oauth.token_url", s.OAuth.TokenURL, "needs sasl.mechanism OAUTHBEARER")
	}
	p.check(s.PasswordFile == "" || s.Username != "", "sasl.password_file", s.PasswordFile, "needs sasl.username")
	if o.ConnectionStringFile != "" {
		// Else larger requests would be sent than Event Hubs takes.
		p.check(o.Dialect == dialectEventHubs, "connection_string_file", o.ConnectionStringFile, "is of dialect eventhubs")
		p.check(s.Mechanism == "" || s.Mechanism == mechanismPlain, "sasl.mechanism", s.Mechanism, "must be PLAIN or empty with connection_string_file")
		p.check(s.Username == "", "sasl.username", s.Username, "must be empty with connection_string_file, which says it")
		p.check(s.PasswordFile == "", "sasl.password_file", s.PasswordFile, "must be empty with connection_string_file, which holds it")
		p.check(o.JAASFile == "", "jaas_file", o.JAASFile, "must be empty with connection_string_file")
	}
	if o.JAASFile != "" {
		p.check(s.Username == "", "sasl.username", s.Username, "must be empty with jaas_file, which says it")
		p.check(s.PasswordFile == "", "sasl.password_file", s.PasswordFile, "must be empty with jaas_file, which holds it")
	}
}

func (p *problems) oauth(s SASLOptions) {
	o := s.OAuth
	if s.Mechanism != mechanismOAuth && s.Mechanism != "" {
		p.check(o == (OAuthOptions{}), "sasl.oauth.token_url", o.TokenURL, "sasl.oauth is of sasl.mechanism OAUTHBEARER only")
		return
	}
	if strings.Contains(o.TokenURL, "@") {
		*p = append(*p, errors.New("sasl.oauth.token_url: (not shown): must be without user and password"))
	} else if o.TokenURL != "" {
		p.check(tokenURLRule(o.TokenURL) == "", "sasl.oauth.token_url", o.TokenURL, tokenURLRule(o.TokenURL))
	}
	p.check(o.ClientSecretFile == "" || o.AssertionFile == "", "sasl.oauth.assertion_file", o.AssertionFile, "must be empty with client_secret_file: one of the two proves who we are")
}

// tokenURLRule returns the rule that the URL of a token endpoint breaks, or "".
// A client's secret goes there, so it must be encrypted or not leave the
// machine.
func tokenURLRule(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || strings.Contains(s, "@") || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https":
		return "must be an https URL without user and fragment"
	case u.Scheme == "http" && !thisMachine(u.Hostname()):
		return "must be https: a secret is sent there"
	}
	return ""
}

func thisMachine(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (p *problems) tls(o Options) {
	t := o.TLS
	p.check(slices.Contains([]string{tlsAuto, tlsOn, tlsOff}, t.Enabled), "tls.enabled", t.Enabled, "must be true, false or auto")
	p.check((t.CertFile == "") == (t.KeyFile == ""), "tls.key_file", t.KeyFile, "must be given with tls.cert_file, and only with it")
	if t.Enabled == tlsOff {
		p.check(!t.given(), "tls.enabled", t.Enabled, "must not be false where other settings of tls are given")
		p.check(o.ConnectionStringFile == "", "tls.enabled", t.Enabled, "must not be false with connection_string_file")
	}
}

// given reports whether one of the settings asks for TLS without saying so.
func (t TLSOptions) given() bool {
	return cmp.Or(t.CAFile, t.CertFile, t.KeyFile, t.ServerName) != ""
}

func (p *problems) proxy(o Options) {
	if o.Proxy == "" {
		p.check(o.ProxyCredentialsFile == "", "proxy_credentials_file", o.ProxyCredentialsFile, "needs proxy")
		return
	}
	u, err := url.Parse(o.Proxy)
	if strings.Contains(o.Proxy, "@") { // it may hold a password, and is not shown
		*p = append(*p, errors.New("proxy: (not shown): must be without user and password, which are given in proxy_credentials_file"))
		return
	}
	p.check(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.Fragment == "",
		"proxy", o.Proxy, "must be http://host:port or https://host:port")
}

// eventHubs are the rules of the dialect, see dialect.go for their sources.
func (p *problems) eventHubs(o Options) {
	p.check(o.Compression == "none" || o.Compression == "gzip", "compression", o.Compression, "must be none in dialect eventhubs, or gzip where the tier is Premium or Dedicated")
	if o.BatchMaxBytes > eventHubsMaxBatch {
		*p = append(*p, fmt.Errorf("batch_max_bytes: %d: must be at most %d in dialect eventhubs, which closes connections over larger requests", o.BatchMaxBytes, eventHubsMaxBatch))
	}
	if o.RequestTimeout < eventHubsMinTimeout {
		*p = append(*p, fmt.Errorf("request_timeout: %v: must be at least %v in dialect eventhubs", o.RequestTimeout, eventHubsMinTimeout))
	}
	p.check(o.SASL.Mechanism == "" || o.SASL.Mechanism == mechanismPlain || o.SASL.Mechanism == mechanismOAuth,
		"sasl.mechanism", o.SASL.Mechanism, "must be PLAIN or OAUTHBEARER in dialect eventhubs")
}

// eventHubsMinTimeout is the least a producer may wait for an answer.
const eventHubsMinTimeout = 10 * time.Second
