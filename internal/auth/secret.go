package auth

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// Secret is a secret that a file holds. It is safe for concurrent use.
type Secret struct {
	file string

	mu     sync.Mutex
	looked time.Time // guarded by mu, and all below: when the file was looked at
	size   int64
	mod    time.Time
	value  string
	err    error
}

// NewSecret returns the secret in a file, which need not be there yet.
func NewSecret(file string) *Secret { return &Secret{file: file} }

const (
	// maxSecret is the largest secret, in bytes.
	maxSecret = 16 << 10
	// minSecret is the shortest one that is taken for a secret.
	minSecret = 16
	// lookEvery is how long a file counts as it was, so that a flood of requests
	// does not become one of system calls.
	lookEvery = 250 * time.Millisecond
)

// ErrSecret: a file holds no secret that can be used.
var ErrSecret = errors.New("no usable secret")

// Value returns the secret without the line break at its end. The file is read
// again when its time or size has changed; while it cannot be read, the last
// value stays good: a file is often replaced in two steps.
func (s *Secret) Value() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.looked) < lookEvery && (s.value != "" || s.err != nil) {
		return s.result()
	}
	s.looked = now
	info, err := os.Stat(s.file)
	if err == nil && s.err == nil && s.value != "" && info.Size() == s.size && info.ModTime().Equal(s.mod) {
		return s.value, nil
	}
	var value string
	if err == nil {
		value, err = readSecret(s.file)
	}
	if err != nil {
		s.err = fmt.Errorf("%w in %s: %w", ErrSecret, s.file, err)
		return s.result()
	}
	s.value, s.err, s.size, s.mod = value, nil, info.Size(), info.ModTime()
	return s.value, nil
}

// result is what is known. The caller holds mu.
func (s *Secret) result() (string, error) {
	if s.value != "" {
		return s.value, nil
	}
	return "", s.err
}

func readSecret(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // opened for reading: nothing to lose
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	value := strings.TrimRight(string(b), "\r\n")
	switch {
	case len(value) > maxSecret:
		return "", fmt.Errorf("it has more than %d bytes", maxSecret)
	case len(value) < minSecret:
		return "", fmt.Errorf("it has %d bytes; at least %d", len(value), minSecret)
	case strings.Trim(value, tokenChars) != "":
		return "", errors.New("it holds a character that no bearer token has")
	}
	return value, nil
}

// tokenChars are what a bearer token may hold (RFC 6750, section 2.1).
const tokenChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="
