package auth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Bearer returns the bearer token of a request; "" where it brings none. The
// error matches ErrInvalidToken: credentials of another kind, or several.
func Bearer(r *http.Request) (string, error) {
	fields := r.Header["Authorization"]
	switch len(fields) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", fmt.Errorf("%w: Authorization is there %d times", ErrInvalidToken, len(fields))
	}
	scheme, token, _ := strings.Cut(fields[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", fmt.Errorf("%w: Authorization must be a bearer token", ErrInvalidToken)
	}
	return strings.TrimSpace(token), nil
}

// Authenticate returns who a request comes from: by its bearer token, or, where
// it brings none, nobody in particular. Errors are those of Verify.
func (v *Verifier) Authenticate(r *http.Request) (*Principal, error) {
	token, err := Bearer(r)
	if err != nil {
		v.metrics.checked(err)
		return nil, err
	}
	if p, ok := v.Anonymous(); token == "" && ok {
		return p, nil
	}
	return v.Verify(r.Context(), token)
}

// IsDenied reports whether an error of Verify or Authenticate says that the
// caller is at fault, and not this side.
func IsDenied(err error) bool {
	return errors.Is(err, ErrNoToken) || errors.Is(err, ErrInvalidToken) || errors.Is(err, ErrExpired)
}

// PrincipalField is the header field in which a stream node names the client
// that it publishes for.
const PrincipalField = "Postroad-Principal"

// EncodeName writes a name as a header field may have it, DecodeName reads it.
func EncodeName(name string) string { return url.PathEscape(name) }

// DecodeName reads what EncodeName wrote, and checks that it is a name.
func DecodeName(field string) (string, error) {
	name, err := url.PathUnescape(field)
	if err != nil {
		return "", errors.New("two hexadecimal digits must follow %")
	}
	return name, CheckName(name)
}
