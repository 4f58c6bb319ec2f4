package auth

import (
	"errors"
	"fmt"
	"strings"
)

// Secret is a secret that a file holds. It is safe for concurrent use.
type Secret struct{ watched watched[string] }

// NewSecret returns the secret in a file, which need not be there yet.
func NewSecret(file string) *Secret {
	return &Secret{watched[string]{file: file, most: maxSecret, parse: func(b []byte) (string, error) { return parseSecret(b, minSecret) }}}
}

const (
	// maxSecret is the largest secret, in bytes.
	maxSecret = 16 << 10
	// minSecret is the shortest one that is taken for a secret.
	minSecret = 16
)

// ErrSecret: a file holds no secret that can be used.
var ErrSecret = errors.New("no usable secret")

// Value returns the secret without the line break at its end. The file is read
// again when its time or size has changed; while it cannot be read, the last
// value stays good: a file is often replaced in two steps.
func (s *Secret) Value() (string, error) {
	value, err := s.watched.get()
	if err != nil {
		return "", fmt.Errorf("%w in %s: %w", ErrSecret, s.watched.file, err)
	}
	return value, nil
}

// parseSecret takes a secret of at least so many bytes out of a file.
func parseSecret(b []byte, least int) (string, error) {
	value := strings.TrimRight(string(b), "\r\n")
	switch {
	case len(value) < least:
		return "", fmt.Errorf("it has %d bytes; at least %d", len(value), least)
	case strings.Trim(value, tokenChars) != "":
		return "", errors.New("it holds a character that no bearer token has")
	}
	return value, nil
}

// tokenChars are what a bearer token may hold (RFC 6750, section 2.1).
const tokenChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="
