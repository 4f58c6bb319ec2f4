package kafka

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// access is how the hub is reached, by what the settings and the files that
// they name say at one time. It is not changed once made.
type access struct {
	brokers     []string
	clientID    string // "" where no file says it
	compression string // "" where no file says it

	tls     *tls.Config         // nil without TLS; its ServerName is empty unless set
	trusted []*x509.Certificate // what files say is to be trusted

	mechanism  string // "" where the hub is not told who we are
	user       string
	password   string
	delegated  bool // user and password are a delegation token's
	oauth      tokenRequest
	extensions map[string]string

	proxy *proxyAccess // nil where the hub is reached directly

	files   map[string][sha256.Size]byte // what was read, by path
	remarks []string                     // what an operator should know
}

// maxSecretFile is the largest file that is read, in bytes.
const maxSecretFile = 1 << 20

// reading reads files and remembers what was in them.
type reading struct {
	files map[string][sha256.Size]byte
}

// file returns the content of a file.
func (r *reading) file(path string) ([]byte, error) {
	b, err := readSecretFile(path)
	if err != nil {
		return nil, err
	}
	r.files[path] = sha256.Sum256(b)
	return b, nil
}

func readSecretFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err // names the path
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxSecretFile:
		return nil, fmt.Errorf("%s: has more than %d bytes", path, maxSecretFile)
	}
	return b, nil
}

// secret returns the one line that a file holds.
func (r *reading) secret(path, what string) (string, error) {
	b, err := r.file(path)
	if err != nil {
		return "", err
	}
	return oneLine(path, b, what)
}

func oneLine(path string, b []byte, what string) (string, error) {
	s := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case s == "":
		return "", fmt.Errorf("%s:1: is empty; expected %s", path, what)
	case strings.ContainsAny(s, "\r\n"):
		return "", fmt.Errorf("%s:2: expected nothing after %s in the first line", path, what)
	case strings.ContainsRune(s, 0):
		return "", fmt.Errorf("%s:1: expected %s as text, not as binary data", path, what)
	}
	return s, nil
}

// draft is an access in the making. Each source lays what it says over what
// the sources before said.
type draft struct {
	access
	secure   string // tlsOn, tlsOff, or "" where nobody said
	login    *loginModule
	loginOf  string // where login stands
	certs    []tls.Certificate
	tokenURL string
}

// readAccess reads everything that says how the hub is reached: first
// client_properties_file, then over it connection_string_file, jaas_file, and
// the settings themselves.
func (o Options) readAccess() (*access, error) {
	r := &reading{files: map[string][sha256.Size]byte{}}
	d := &draft{}
	for _, step := range []func(*draft, *reading) error{
		o.fromProperties, o.fromConnectionString, o.fromJAAS, o.fromSettings, o.fromTLS, o.finishSASL, o.fromProxy,
	} {
		if err := step(d, r); err != nil {
			return nil, err
		}
	}
	o.finishTLS(d)
	d.files = r.files
	a := d.access
	return &a, nil
}

func (o Options) fromConnectionString(d *draft, r *reading) error {
	if o.ConnectionStringFile == "" {
		return nil
	}
	b, err := r.file(o.ConnectionStringFile)
	if err != nil {
		return fmt.Errorf("connection_string_file: %w", err)
	}
	c, err := parseConnectionString(b)
	if err != nil {
		return fmt.Errorf("connection_string_file: %w", inFile(o.ConnectionStringFile, err))
	}
	d.brokers = []string{c.broker}
	d.secure = tlsOff
	if c.tls {
		d.secure = tlsOn
	}
	d.mechanism, d.user, d.password, d.login = mechanismPlain, connectionUser, c.password, nil
	return nil
}

func (o Options) fromJAAS(d *draft, r *reading) error {
	if o.JAASFile == "" {
		return nil
	}
	b, err := r.file(o.JAASFile)
	if err != nil {
		return fmt.Errorf("jaas_file: %w", err)
	}
	m, err := parseJAASFile(b)
	if err != nil {
		return fmt.Errorf("jaas_file: %w", inFile(o.JAASFile, err))
	}
	d.login, d.loginOf = &m, o.JAASFile
	return nil
}

// fromSettings lays the settings over what files say. A setting at its default
// says nothing.
func (o Options) fromSettings(d *draft, r *reading) (err error) {
	def := DefaultOptions()
	if len(d.brokers) == 0 || len(o.Brokers) != 1 || o.Brokers[0] != def.Brokers[0] {
		d.brokers = o.Brokers
		if o.Dialect == dialectEventHubs && slices.Equal(o.Brokers, def.Brokers) {
			return errors.New("brokers: dialect eventhubs needs the namespace's name there, as NAMESPACE.servicebus.windows.net, or connection_string_file")
		}
	}
	s := o.SASL
	if s.Mechanism != "" {
		d.mechanism = s.Mechanism
	}
	if s.Username != "" {
		d.user, d.login = s.Username, nil
	}
	if s.PasswordFile != "" {
		if d.password, err = r.secret(s.PasswordFile, "the password"); err != nil {
			return fmt.Errorf("sasl.password_file: %w", err)
		}
	}
	return nil
}

// finishSASL takes user and password from the login module, and says what is
// missing for the mechanism.
func (o Options) finishSASL(d *draft, r *reading) error {
	if d.login != nil {
		if err := d.fromLogin(); err != nil {
			return inFile(d.loginOf, err)
		}
	}
	switch d.mechanism {
	case "":
		if o.Dialect == dialectEventHubs {
			return errors.New("dialect eventhubs needs connection_string_file, or sasl.mechanism OAUTHBEARER")
		}
		return nil
	case mechanismOAuth:
		return o.finishOAuth(d, r)
	case mechanismPlain, mechanismScram256, mechanismScram512:
		if d.user == "" || d.password == "" {
			return fmt.Errorf("sasl: %s needs a user and a password, by sasl.username and sasl.password_file, connection_string_file, jaas_file or client_properties_file", d.mechanism)
		}
		return nil
	}
	return fmt.Errorf("sasl: mechanism %q is not supported: must be %s", d.mechanism, mechanismNames)
}

// fromLogin lays the login module over the draft.
func (d *draft) fromLogin() error {
	m := d.login
	fits := map[string][]string{
		modulePlain: {mechanismPlain},
		moduleScram: {mechanismScram256, mechanismScram512},
		moduleOAuth: {mechanismOAuth},
	}[m.name]
	if d.mechanism == "" {
		if len(fits) > 1 {
			return &lineError{m.line, fmt.Sprintf("%s does for several mechanisms: set sasl.mechanism to %s", m.name, strings.Join(fits, " or "))}
		}
		d.mechanism = fits[0]
	}
	if !strings.Contains(strings.Join(fits, " "), d.mechanism) {
		return &lineError{m.line, fmt.Sprintf("%s is of the mechanism %s, and sasl.mechanism is %s", m.name, strings.Join(fits, " or "), d.mechanism)}
	}
	d.user, d.password = m.options["username"], m.options["password"]
	d.delegated = m.name == moduleScram && strings.EqualFold(m.options["tokenauth"], "true")
	if m.name == moduleOAuth {
		d.oauth.clientID, d.oauth.secret, d.oauth.scope = m.options["clientId"], m.options["clientSecret"], m.options["scope"]
		for name, value := range m.options {
			if ext, ok := strings.CutPrefix(name, "extension_"); ok {
				if d.extensions == nil {
					d.extensions = map[string]string{}
				}
				d.extensions[ext] = value
			}
		}
	}
	return nil
}

var errNoTokenURL = errors.New("sasl: OAUTHBEARER needs a token endpoint, by sasl.oauth.token_url or sasl.oauthbearer.token.endpoint.url in client_properties_file")

// finishOAuth lays sasl.oauth over what files say, and says what is missing.
func (o Options) finishOAuth(d *draft, r *reading) (err error) {
	s, q := o.SASL.OAuth, &d.oauth
	q.url = d.tokenURL
	for _, f := range []struct{ set, to *string }{{&s.TokenURL, &q.url}, {&s.ClientID, &q.clientID}, {&s.Scope, &q.scope}, {&s.Audience, &q.audience}} {
		if *f.set != "" {
			*f.to = *f.set
		}
	}
	if s.ClientSecretFile != "" {
		if q.secret, err = r.secret(s.ClientSecretFile, "the secret of the client"); err != nil {
			return fmt.Errorf("sasl.oauth.client_secret_file: %w", err)
		}
	}
	q.assertionFile = s.AssertionFile
	if q.assertionFile != "" {
		q.secret = ""
	}
	if q.scope == "" && o.Dialect == dialectEventHubs {
		q.scope = eventHubsScope(d.brokers)
	}
	switch {
	case q.url == "":
		return errNoTokenURL
	case tokenURLRule(q.url) != "":
		return fmt.Errorf("sasl: the token endpoint %s", tokenURLRule(q.url))
	case q.clientID == "":
		return errors.New("sasl: OAUTHBEARER needs sasl.oauth.client_id")
	case q.secret == "" && q.assertionFile == "":
		return errors.New("sasl: OAUTHBEARER needs sasl.oauth.client_secret_file or sasl.oauth.assertion_file")
	}
	return nil
}

// eventHubsScope is the scope of a token for a namespace of Event Hubs.
func eventHubsScope(brokers []string) string {
	host, _, _ := strings.Cut(brokers[0], ":")
	return "https://" + host + "/.default"
}

// same reports whether the files still hold what the access was made of.
func (a *access) same() bool {
	for path, sum := range a.files {
		b, err := readSecretFile(path)
		now := sha256.Sum256(b)
		if err != nil || !bytes.Equal(now[:], sum[:]) {
			return false
		}
	}
	return true
}
