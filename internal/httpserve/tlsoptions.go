package httpserve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// TLSOptions say how a listener shows who it is, and what it asks of clients. All
// files are PEM. They are read again when they change; while what they hold cannot
// be used, what they held before is. Connections that exist live on.
type TLSOptions struct {
	// CertFile holds the certificate of the listener, followed by those between it
	// and the authority. Empty serves without TLS: HTTP/1.1, and HTTP/2 with prior
	// knowledge (h2c). With it, HTTP/1.1 and HTTP/2 as the client asks by ALPN.
	CertFile string `yaml:"cert_file"`
	// KeyFile holds the private key of cert_file.
	KeyFile string `yaml:"key_file"`
	// Certificates are further ones, for other names: the first that fits the name
	// which a client asks for is shown, cert_file first of all.
	Certificates []Certificate `yaml:"certificates"`
	// ClientAuth says whether clients must show a certificate: none, request (one
	// that is shown must be good, and none need be) or require. Default none.
	ClientAuth string `yaml:"client_auth"`
	// ClientCAFile holds the authorities that certificates of clients must be of.
	ClientCAFile string `yaml:"client_ca_file"`
	// MinVersion is the least version that clients must speak: 1.2 or 1.3. Default
	// 1.2.
	MinVersion string `yaml:"min_version"`
	// CheckInterval is the time between two looks at the files. Default 5s.
	CheckInterval time.Duration `yaml:"check_interval"`
}

// Certificate is a certificate with its key.
type Certificate struct {
	// CertFile holds the certificate, followed by those between it and the
	// authority.
	CertFile string `yaml:"cert_file"`
	// KeyFile holds its private key.
	KeyFile string `yaml:"key_file"`
}

// Values of TLSOptions.ClientAuth.
const (
	ClientAuthNone    = "none"
	ClientAuthRequest = "request"
	ClientAuthRequire = "require"
)

// DefaultTLSOptions serve without TLS.
func DefaultTLSOptions() TLSOptions {
	return TLSOptions{ClientAuth: ClientAuthNone, MinVersion: "1.2", CheckInterval: 5 * time.Second}
}

// Enabled says whether the listener speaks TLS.
func (o TLSOptions) Enabled() bool { return o.CertFile != "" || len(o.Certificates) > 0 }

// Validate returns every problem of the options, joined. It reads no file.
func (o TLSOptions) Validate() error {
	errs := []error{durationWithin("check_interval", o.CheckInterval, 10*time.Millisecond, time.Hour)}
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if (o.CertFile == "") != (o.KeyFile == "") {
		fail("key_file: %q: must be given together with cert_file", o.KeyFile)
	}
	for i, c := range o.Certificates {
		if c.CertFile == "" || c.KeyFile == "" {
			fail("certificates[%d]: must have both cert_file and key_file", i)
		}
	}
	switch o.ClientAuth {
	case ClientAuthNone:
		if o.ClientCAFile != "" {
			fail("client_auth: none: must be request or require where client_ca_file is given")
		}
	case ClientAuthRequest, ClientAuthRequire:
		if o.ClientCAFile == "" {
			fail("client_ca_file: empty: must be given where client_auth is %s", o.ClientAuth)
		}
		if !o.Enabled() {
			fail("client_auth: %s: must be none without a certificate of the listener's own", o.ClientAuth)
		}
	default:
		fail("client_auth: %q: must be none, request or require", o.ClientAuth)
	}
	if _, err := tlsVersion(o.MinVersion); err != nil {
		fail("min_version: %q: must be 1.2 or 1.3", o.MinVersion)
	}
	return errors.Join(errs...)
}

func tlsVersion(s string) (uint16, error) {
	switch s {
	case "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("no version %q", s)
}

// pairs are all certificates in their order.
func (o TLSOptions) pairs() []Certificate {
	var all []Certificate
	if o.CertFile != "" {
		all = append(all, Certificate{CertFile: o.CertFile, KeyFile: o.KeyFile})
	}
	return append(all, o.Certificates...)
}
