package kafka

import (
	"strings"
	"testing"
	"time"
)

func TestAccessSettings(t *testing.T) {
	for name, tc := range map[string]struct {
		set  func(o *Options)
		want []string // problems, in order; each begins so
	}{
		"defaults":        {func(*Options) {}, nil},
		"unknown dialect": {func(o *Options) { o.Dialect = "rabbit" }, []string{`dialect: "rabbit": must be kafka, eventhubs or postroad`}},
		"event hubs":      {func(o *Options) { o.Dialect, o.Brokers = dialectEventHubs, []string{"ns.example"} }, nil},
		"event hubs, too much": {
			func(o *Options) {
				o.Dialect, o.Compression, o.BatchMaxBytes, o.RequestTimeout = dialectEventHubs, "zstd", 1046528, 5*time.Second
				o.SASL = SASLOptions{Mechanism: mechanismScram256, Username: "u", PasswordFile: "p"}
			},
			[]string{
				`compression: "zstd": must be none in dialect eventhubs`, "batch_max_bytes: 1046528: must be at most 1045504",
				"request_timeout: 5s: must be at least 10s", `sasl.mechanism: "SCRAM-SHA-256": must be PLAIN or OAUTHBEARER`,
			},
		},
		"broker without port": {func(o *Options) { o.Brokers = []string{"ns.example"} }, []string{`brokers[0]: "ns.example": must be host:port`}},
		"unknown mechanism":   {func(o *Options) { o.SASL.Mechanism = "GSSAPI" }, []string{`sasl.mechanism: "GSSAPI": must be PLAIN, SCRAM-SHA-256`}},
		"no user": {
			func(o *Options) { o.SASL.Mechanism = mechanismPlain },
			[]string{`sasl.username: "": must be given`, `sasl.password_file: "": must be given`},
		},
		"no mechanism": {
			func(o *Options) { o.SASL.Username, o.SASL.PasswordFile = "u", "p" },
			[]string{`sasl.username: "u": needs sasl.mechanism`, `sasl.password_file: "p": needs sasl.mechanism`},
		},
		"password twice": {
			func(o *Options) {
				o.JAASFile, o.SASL = "j", SASLOptions{Mechanism: mechanismPlain, Username: "u", PasswordFile: "p"}
			},
			[]string{`sasl.username: "u": must be empty with jaas_file`, `sasl.password_file: "p": must be empty with jaas_file`},
		},
		"connection string and more": {
			func(o *Options) {
				o.ConnectionStringFile, o.JAASFile, o.SASL.Mechanism, o.TLS.Enabled = "c", "j", mechanismOAuth, tlsOff
			},
			[]string{`connection_string_file: "c": is of dialect eventhubs`, `sasl.mechanism: "OAUTHBEARER": must be PLAIN or empty`, `jaas_file: "j": must be empty`, `tls.enabled: "false": must not be false with connection_string_file`},
		},
		"token endpoint in clear": {
			func(o *Options) {
				o.SASL = SASLOptions{Mechanism: mechanismOAuth, OAuth: OAuthOptions{TokenURL: "http://login.example/"}}
			},
			[]string{`sasl.oauth.token_url: "http://login.example/": must be https: a secret is sent there`},
		},
		"token endpoint here": {
			func(o *Options) {
				o.SASL = SASLOptions{Mechanism: mechanismOAuth, OAuth: OAuthOptions{TokenURL: "http://127.0.0.1:1/"}}
			}, nil,
		},
		"secret and assertion": {
			func(o *Options) {
				o.SASL = SASLOptions{Mechanism: mechanismOAuth, OAuth: OAuthOptions{ClientSecretFile: "a", AssertionFile: "b"}}
			},
			[]string{`sasl.oauth.assertion_file: "b": must be empty with client_secret_file`},
		},
		"tokens with passwords": {
			func(o *Options) {
				o.SASL = SASLOptions{Mechanism: mechanismPlain, Username: "u", PasswordFile: "p", OAuth: OAuthOptions{Scope: "s"}}
			},
			[]string{`sasl.oauth.token_url: "": sasl.oauth is of sasl.mechanism OAUTHBEARER only`},
		},
		"half a certificate": {func(o *Options) { o.TLS.CertFile = "c" }, []string{`tls.key_file: "": must be given with tls.cert_file`}},
		"TLS off, but":       {func(o *Options) { o.TLS.Enabled, o.TLS.CAFile = tlsOff, "c" }, []string{`tls.enabled: "false": must not be false`}},
		"TLS perhaps":        {func(o *Options) { o.TLS.Enabled = "maybe" }, []string{`tls.enabled: "maybe": must be true, false or auto`}},
		"proxy":              {func(o *Options) { o.Proxy, o.ProxyCredentialsFile = "https://p:3128/", "f" }, nil},
		"proxy with secret":  {func(o *Options) { o.Proxy = "http://u:hush@p" }, []string{"proxy: (not shown): must be without user and password"}},
		"broken proxy":       {func(o *Options) { o.Proxy = "http://u:hush word@p" }, []string{"proxy: (not shown): must be without user and password"}},
		"endpoint with secret": {
			func(o *Options) {
				o.SASL = SASLOptions{Mechanism: mechanismOAuth, OAuth: OAuthOptions{TokenURL: "https://u:hush@login.example/"}}
			},
			[]string{"sasl.oauth.token_url: (not shown): must be without user and password"},
		},
		"proxy of SOCKS":    {func(o *Options) { o.Proxy = "socks5://p" }, []string{`proxy: "socks5://p": must be http://host:port`}},
		"credentials alone": {func(o *Options) { o.ProxyCredentialsFile = "f" }, []string{`proxy_credentials_file: "f": needs proxy`}},
	} {
		t.Run(name, func(t *testing.T) {
			o := DefaultOptions()
			tc.set(&o)
			var got []string
			if err := o.Validate(); err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			for i := range max(len(got), len(tc.want)) {
				if i >= len(got) || i >= len(tc.want) || !strings.HasPrefix(got[i], tc.want[i]) {
					t.Fatalf("problems %q, want %q", got, tc.want)
				}
			}
			if strings.Contains(strings.Join(got, " "), "hush") {
				t.Errorf("a problem shows a secret: %q", got)
			}
		})
	}
}
