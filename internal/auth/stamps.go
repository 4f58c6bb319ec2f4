package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Stamp is another stamp that may come.
type Stamp struct {
	// Name is that stamp's own name.
	Name string
	// TokenFile holds its bearer token.
	TokenFile string
}

// Stamps tell which stamp a request comes from. They are safe for concurrent use.
type Stamps struct {
	all []known
}

type known struct {
	name   string
	secret *Secret
}

// NewStamps knows the given stamps. Their files need not be there yet: a stamp
// without one is not let in.
func NewStamps(all []Stamp) *Stamps {
	s := &Stamps{}
	for _, one := range all {
		s.all = append(s.all, known{one.Name, NewSecret(one.TokenFile)})
	}
	return s
}

// ErrUnknown: the request comes from nobody who is known.
var ErrUnknown = errors.New("no stamp that is known")

// Identify returns the name of the stamp whose token the request bears. The error
// matches ErrUnknown, or, where the tokens of some stamps cannot be read and it
// may be one of those, ErrSecret.
//
// All tokens are compared, by their hashes, so that the time taken tells neither
// how much of a token is right nor whose it is.
func (s *Stamps) Identify(r *http.Request) (string, error) {
	fields := r.Header["Authorization"]
	if len(fields) != 1 {
		return "", fmt.Errorf("%w: no bearer token", ErrUnknown)
	}
	scheme, token, _ := strings.Cut(fields[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", fmt.Errorf("%w: no bearer token", ErrUnknown)
	}
	given := sha256.Sum256([]byte(token))
	name, unread := "", error(nil)
	for _, k := range s.all {
		value, err := k.secret.Value()
		if err != nil {
			unread = err
			continue
		}
		own := sha256.Sum256([]byte(value))
		if subtle.ConstantTimeCompare(given[:], own[:]) == 1 {
			name = k.name
		}
	}
	switch {
	case name != "":
		return name, nil
	case unread != nil:
		return "", unread
	}
	return "", fmt.Errorf("%w: the token is nobody's", ErrUnknown)
}
