package carry

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

// tlsFiles is the TLS configuration of an origin, made of files that may
// change. A change counts for new connections.
type tlsFiles struct {
	spec TLS
	// seen are the contents that current was made of; owned by load.
	seen    [][]byte
	current atomic.Pointer[tls.Config]
}

func (f *tlsFiles) config() *tls.Config { return f.current.Load() }

// load reads the files. On error the configuration stays as it was.
func (f *tlsFiles) load() error {
	_, err := f.reload()
	return err
}

// reload reads the files and reports whether something changed.
func (f *tlsFiles) reload() (changed bool, err error) {
	contents := make([][]byte, 3)
	for i, name := range []string{f.spec.CAFile, f.spec.CertFile, f.spec.KeyFile} {
		if name == "" {
			continue
		}
		if contents[i], err = os.ReadFile(name); err != nil {
			return false, fmt.Errorf("tls: %w", err)
		}
	}
	if f.current.Load() != nil && same(contents, f.seen) {
		return false, nil
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: f.spec.ServerName, NextProtos: []string{"http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(16),
	}
	if f.spec.CAFile != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(contents[0]) {
			return false, fmt.Errorf("tls: %s: holds no certificate in PEM", f.spec.CAFile)
		}
	}
	if f.spec.CertFile != "" {
		pair, err := tls.X509KeyPair(contents[1], contents[2])
		if err != nil { // its text names no content of the key
			return false, errors.Join(fmt.Errorf("tls: %s with %s", f.spec.CertFile, f.spec.KeyFile), err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	f.seen = contents
	f.current.Store(config)
	return true, nil
}

func same(a, b [][]byte) bool {
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}
