package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

// fromTLS lays hub.tls over what files say.
func (o Options) fromTLS(d *draft, r *reading) (err error) {
	t := o.TLS
	if t.Enabled == tlsOn || t.Enabled == tlsOff {
		d.secure = t.Enabled
	} else if t.given() || o.Dialect == dialectEventHubs && d.secure == "" {
		d.secure = tlsOn
	}
	if t.CAFile != "" {
		if d.trusted, err = r.roots(t.CAFile, storePEM, ""); err != nil {
			return fmt.Errorf("tls.ca_file: %w", err)
		}
	}
	if t.CertFile == "" || t.KeyFile == "" {
		return nil
	}
	cert, err := r.file(t.CertFile)
	if err != nil {
		return fmt.Errorf("tls.cert_file: %w", err)
	}
	key, err := r.file(t.KeyFile)
	if err != nil {
		return fmt.Errorf("tls.key_file: %w", err)
	}
	pair, err := keyPair(cert, key)
	if err != nil {
		return fmt.Errorf("tls.cert_file: %s, tls.key_file: %s: %w", t.CertFile, t.KeyFile, err)
	}
	d.certs = []tls.Certificate{pair}
	return nil
}

// finishTLS makes the configuration of connections.
func (o Options) finishTLS(d *draft) {
	if d.secure != tlsOn {
		if d.mechanism == mechanismPlain || d.mechanism == mechanismOAuth {
			d.remarks = append(d.remarks, "credentials go to the hub unencrypted: there is no TLS")
		}
		return
	}
	d.tls = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: d.certs, ServerName: o.TLS.ServerName}
	if len(d.trusted) > 0 {
		d.tls.RootCAs = x509.NewCertPool()
		for _, c := range d.trusted {
			d.tls.RootCAs.AddCert(c)
		}
	}
}

// besides is the configuration for what is not the hub and on the way to it, a
// proxy or a token endpoint: of the same site, or on the Internet.
func (a *access) besides(name string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	pool, err := x509.SystemCertPool()
	if err != nil || len(a.trusted) == 0 {
		return c // whoever has no system's certificates hears so from the connection
	}
	for _, cert := range a.trusted {
		pool.AddCert(cert)
	}
	c.RootCAs = pool
	return c
}

// tlsFor is the configuration of a connection to addr; nil without TLS.
func (a *access) tlsFor(addr string) *tls.Config {
	if a.tls == nil || a.tls.ServerName != "" {
		return a.tls
	}
	c := a.tls.Clone()
	c.ServerName = addr
	if host, _, err := net.SplitHostPort(addr); err == nil {
		c.ServerName = host
	}
	return c
}

// The types of key and trust stores.
const (
	storePEM    = "PEM"
	storePKCS12 = "PKCS12"
	storeJKS    = "JKS"
)

var errJKS = errors.New("a store of type JKS is not supported, only PEM and PKCS12; convert it by: " +
	"keytool -importkeystore -srckeystore OLD -destkeystore NEW -deststoretype PKCS12")

// jksMagic begins a file of type JKS.
const jksMagic = "\xfe\xed\xfe\xed"

// roots reads the certificates of a trust store.
func (r *reading) roots(path, kind, password string) ([]*x509.Certificate, error) {
	b, err := r.file(path)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(string(b), jksMagic) {
		return nil, fmt.Errorf("%s: %w", path, errJKS)
	}
	if kind == storePEM {
		return pemRoots(path, b)
	}
	certs, err := pkcs12.DecodeTrustStore(b, password)
	if err != nil {
		return nil, fmt.Errorf("%s: expected a trust store of type PKCS12 and its password: %w", path, err)
	}
	return certs, nil
}

// pemRoots returns the certificates of a PEM text.
func pemRoots(of string, b []byte) (certs []*x509.Certificate, err error) {
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		line := 1 + strings.Count(string(b[:len(b)-len(rest)]), "\n")
		if block.Type != "CERTIFICATE" && block.Type != "TRUSTED CERTIFICATE" {
			return nil, fmt.Errorf("%s:%d: the block that ends here is a %s; expected a CERTIFICATE", of, line, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: the certificate that ends here cannot be read: %w", of, line, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s:1: holds no certificate; expected PEM: -----BEGIN CERTIFICATE-----", of)
	}
	return certs, nil
}

// keyPair joins certificate and key, both PEM.
func keyPair(cert, key []byte) (tls.Certificate, error) {
	for rest := key; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return tls.Certificate{}, errors.New("an encrypted private key in PEM is not supported; decrypt it by openssl pkcs8, or use a store of type PKCS12")
		}
	}
	return tls.X509KeyPair(cert, key)
}

// keyStore reads a certificate with its key, and those of its issuers.
func (r *reading) keyStore(path, kind, password string) (tls.Certificate, error) {
	b, err := r.file(path)
	if err != nil {
		return tls.Certificate{}, err
	}
	if strings.HasPrefix(string(b), jksMagic) {
		return tls.Certificate{}, fmt.Errorf("%s: %w", path, errJKS)
	}
	if kind == storePEM {
		pair, err := keyPair(b, b)
		if err != nil {
			return pair, fmt.Errorf("%s: expected the private key and its certificates as PEM: %w", path, err)
		}
		return pair, nil
	}
	key, leaf, issuers, err := pkcs12.DecodeChain(b, password)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s: expected a key store of type PKCS12 and its password: %w", path, err)
	}
	pair := tls.Certificate{PrivateKey: key, Leaf: leaf, Certificate: [][]byte{leaf.Raw}}
	for _, c := range issuers {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair, nil
}

// refusedByTLS reports whether an error is that one side does not trust, or
// does not understand, the other: which lasts until somebody changes something.
// A connection that breaks off during the handshake says nothing.
func refusedByTLS(err error) bool {
	var (
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
	)
	return errors.As(err, &verify) || errors.As(err, &record) || refusedByPeer(err)
}

// refusedByPeer reports whether the other side said that it does not trust or
// understand this one.
func refusedByPeer(err error) bool {
	var op *net.OpError
	// crypto/tls does not export the type of what the other side alerts to.
	if !errors.As(err, &op) || op.Op != "remote error" {
		return false
	}
	for _, alert := range []string{
		"certificate", "handshake failure", "protocol version", "access denied", "insufficient security", "unrecognized name",
		"unknown PSK", "no application protocol",
	} {
		if strings.Contains(op.Err.Error(), alert) {
			return true
		}
	}
	return false
}
