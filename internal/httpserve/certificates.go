package httpserve

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxPEMBytes is the largest file of certificates or keys that is read, in bytes.
const maxPEMBytes = 4 << 20

// expiresSoon is how long before its end a certificate is warned of.
const expiresSoon = 14 * 24 * time.Hour

// identity is what the files of a TLSOptions held at one time.
type identity struct {
	config  *tls.Config
	content [sha256.Size]byte // of all files together, and the settings
	expires time.Time         // the first of the listener's certificates to end
	names   []string          // of the first one
}

// readIdentity reads all files. Its errors name the setting and the file, and
// nothing of what stands in it.
func readIdentity(o TLSOptions) (*identity, error) {
	version, err := tlsVersion(o.MinVersion)
	if err != nil {
		return nil, err
	}
	id := &identity{config: &tls.Config{MinVersion: version, NextProtos: []string{"h2", "http/1.1"}}}
	sum := sha256.New()
	fmt.Fprintf(sum, "%q", []string{o.MinVersion, o.ClientAuth})
	for _, p := range o.pairs() {
		pair, err := readPair(p, sum)
		if err != nil {
			return nil, err
		}
		if id.expires.IsZero() || pair.Leaf.NotAfter.Before(id.expires) {
			id.expires = pair.Leaf.NotAfter
		}
		id.config.Certificates = append(id.config.Certificates, pair)
	}
	id.names = id.config.Certificates[0].Leaf.DNSNames
	if err := id.readClientCAs(o, sum); err != nil {
		return nil, err
	}
	sum.Sum(id.content[:0])
	return id, nil
}

func readPair(p Certificate, sum io.Writer) (tls.Certificate, error) {
	cert, err := readPEM("cert_file", p.CertFile, sum)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readPEM("key_file", p.KeyFile, sum)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cert_file %s with key_file %s: %w", p.CertFile, p.KeyFile, err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return tls.Certificate{}, fmt.Errorf("cert_file %s: %w", p.CertFile, err)
		}
	}
	return pair, nil
}

// readClientCAs reads what clients are judged by. With certificates of clients
// there are no session tickets: a client whose authority was taken out of the file
// must not come back with one.
func (id *identity) readClientCAs(o TLSOptions, sum io.Writer) error {
	switch o.ClientAuth {
	case ClientAuthRequest:
		id.config.ClientAuth = tls.VerifyClientCertIfGiven
	case ClientAuthRequire:
		id.config.ClientAuth = tls.RequireAndVerifyClientCert
	default:
		return nil
	}
	b, err := readPEM("client_ca_file", o.ClientCAFile, sum)
	if err != nil {
		return err
	}
	id.config.ClientCAs = x509.NewCertPool()
	if !id.config.ClientCAs.AppendCertsFromPEM(b) {
		return fmt.Errorf("client_ca_file %s: holds no certificate", o.ClientCAFile)
	}
	id.config.SessionTicketsDisabled = true
	return nil
}

func readPEM(setting, path string, sum io.Writer) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	defer f.Close() //nolint:errcheck // opened for reading: nothing to lose
	b, err := io.ReadAll(io.LimitReader(f, maxPEMBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", setting, path, err)
	}
	if len(b) > maxPEMBytes {
		return nil, fmt.Errorf("%s %s: has more than %d bytes", setting, path, maxPEMBytes)
	}
	fmt.Fprintf(sum, "%d:", len(b))
	_, _ = sum.Write(b) // a hash takes everything
	return b, nil
}

// certificates are what a listener shows, read again from the files as they
// change.
type certificates struct {
	log  *slog.Logger
	seen func(*identity, error) // told of each look that brought something; for metrics

	now atomic.Pointer[identity]

	mu      sync.Mutex
	opts    TLSOptions // guarded by mu
	trouble string     // guarded by mu: what was wrong at the last look
	told    bool       // guarded by mu: the log has it
}

func newCertificates(o TLSOptions, log *slog.Logger, seen func(*identity, error)) (*certificates, error) {
	id, err := readIdentity(o)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	c := &certificates{log: log, seen: seen, opts: o}
	c.take(id)
	return c, nil
}

// config is for the server: each handshake is by what was read last.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.now.Load().config, nil },
	}
}

// reload reads the files that o names, and uses them from now on. On an error
// nothing has changed.
func (c *certificates) reload(o TLSOptions) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, err := readIdentity(o)
	if err != nil {
		c.seen(nil, err)
		return fmt.Errorf("tls: %w", err)
	}
	c.opts, c.trouble, c.told = o, "", false
	c.takeChanged(id)
	return nil
}

// look reads the files again. What is wrong with them is logged at the second look
// that finds the same: a certificate and its key are often replaced one after the
// other.
func (c *certificates) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, err := readIdentity(c.opts)
	if err == nil {
		c.trouble, c.told = "", false
		c.takeChanged(id)
		return
	}
	c.seen(nil, err)
	if text := err.Error(); text != c.trouble {
		c.trouble, c.told = text, false
		return
	}
	if !c.told {
		c.told = true
		c.log.Error("certificates cannot be used, those read before still are", "err", err)
	}
}

func (c *certificates) takeChanged(id *identity) {
	if id.content != c.now.Load().content {
		c.take(id)
	}
}

func (c *certificates) take(id *identity) {
	c.now.Store(id)
	c.seen(id, nil)
	left := time.Until(id.expires)
	args := []any{"names", id.names, "expires", id.expires.UTC()}
	switch {
	case left <= 0:
		c.log.Error("certificate has expired, clients will refuse it", args...)
	case left < expiresSoon:
		c.log.Warn("certificate expires soon", args...)
	default:
		c.log.Info("certificate in use", args...)
	}
}

// run looks at the files until ctx ends.
func (c *certificates) run(ctx context.Context) {
	for {
		c.mu.Lock()
		every := c.opts.CheckInterval
		c.mu.Unlock()
		t := time.NewTimer(every)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
			c.look()
		}
	}
}

var errTLSSwitched = errors.New("tls: takes effect at the next start: a listener cannot begin or cease to speak TLS")
