package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

const (
	// maxToken is the largest token, in bytes: what a header field of a request
	// may have with room for the others.
	maxToken = 16 << 10
	// maxName is the longest name of a principal, in bytes.
	maxName = 256
	// maxChannels is how many subjects a token may ask to be subscribed to.
	maxChannels = 128
	// maxDate is the last second that a token may name, in the year 9999.
	maxDate = 253402300799
)

// header is that of a token, as far as it matters.
type header struct {
	Algorithm string         `json:"alg"`
	Key       string         `json:"kid"`
	Critical  jsontext.Value `json:"crit"`
}

// readHeader reads what a token says of its signature. It is believed in nothing
// but the choice among keys, and only where that choice is allowed. A name that
// is there twice is refused: readers differ in which one counts.
func readHeader(token string) (header, error) {
	first, _, _ := strings.Cut(token, ".")
	var h header
	b, err := base64.RawURLEncoding.Strict().DecodeString(first)
	if err != nil {
		return h, errors.New("its header is not Base64")
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, errors.New("its header is no JSON object, or says something twice")
	}
	switch {
	case h.Critical != nil:
		// RFC 7515, section 4.1.11: what is not understood must not be passed over.
		return h, errors.New("its header asks for extensions (crit)")
	case len(h.Key) > maxKeyID:
		return h, fmt.Errorf("it names its key with %d bytes; at most %d", len(h.Key), maxKeyID)
	}
	return h, nil
}

// claims are what a token says.
type claims struct {
	names ClaimsOptions

	exp, nbf, iat *jwt.NumericDate
	iss           string
	aud           jwt.ClaimStrings

	name     string
	channels []string
	// read and publish narrow what is granted, where narrowsRead and
	// narrowsPublish say so: an empty list leaves nothing.
	read, publish               []Pattern
	narrowsRead, narrowsPublish bool
}

// These let the library judge them.
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.exp, nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return c.nbf, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return c.iat, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.iss, nil }
func (c *claims) GetSubject() (string, error)                  { return c.name, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return c.aud, nil }

// UnmarshalJSON reads claims. Names that are there twice, at any depth, text
// that is not UTF-8 and values of another type than they should be are refused;
// what is not known is passed over.
func (c *claims) UnmarshalJSON(b []byte) error {
	var all map[string]jsontext.Value
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	for name, to := range map[string]**jwt.NumericDate{"exp": &c.exp, "nbf": &c.nbf, "iat": &c.iat} {
		date, err := readDate(all[name])
		if err != nil {
			return fmt.Errorf("claim %s: %w", name, err)
		}
		*to = date
	}
	for _, part := range []struct {
		name string
		read func(jsontext.Value) error
	}{
		{"iss", func(v jsontext.Value) error { return json.Unmarshal(v, &c.iss) }},
		{"aud", c.readAudience},
		{c.names.Principal, c.readName},
		{c.names.Channels, c.readChannels},
		{c.names.Permissions, c.readPermissions},
	} {
		v, ok := all[part.name]
		if !ok || part.name == "" {
			continue
		}
		if err := part.read(v); err != nil {
			return fmt.Errorf("claim %s: %w", part.name, err)
		}
	}
	if c.name == "" {
		return fmt.Errorf("claim %s is missing", c.names.Principal)
	}
	return nil
}

// readDate reads seconds since 1970.
func readDate(v jsontext.Value) (*jwt.NumericDate, error) {
	if v == nil {
		return nil, nil
	}
	seconds, err := strconv.ParseFloat(string(v), 64)
	if v.Kind() != '0' || err != nil || seconds < 0 || seconds > maxDate {
		return nil, errors.New("must be seconds since 1970")
	}
	return &jwt.NumericDate{Time: time.UnixMilli(int64(seconds * 1000)).UTC()}, nil
}

func (c *claims) readAudience(v jsontext.Value) error {
	if v.Kind() == '"' {
		var one string
		err := json.Unmarshal(v, &one)
		c.aud = jwt.ClaimStrings{one}
		return err
	}
	return json.Unmarshal(v, (*[]string)(&c.aud))
}

func (c *claims) readName(v jsontext.Value) error {
	if err := json.Unmarshal(v, &c.name); err != nil {
		return err
	}
	return CheckName(c.name)
}

func (c *claims) readChannels(v jsontext.Value) error {
	if err := json.Unmarshal(v, &c.channels); err != nil {
		return err
	}
	if len(c.channels) > maxChannels {
		return fmt.Errorf("%d subjects; at most %d", len(c.channels), maxChannels)
	}
	for i, name := range c.channels {
		c.channels[i] = strings.TrimPrefix(name, "/")
		if _, ok := parseTarget(c.channels[i]); !ok {
			return fmt.Errorf("%q is not the name of a subject", name)
		}
	}
	return nil
}

// readPermissions takes no member that it does not know: one that is written
// wrongly would narrow nothing.
func (c *claims) readPermissions(v jsontext.Value) error {
	var p struct {
		Read    *[]string `json:"read"`
		Publish *[]string `json:"publish"`
	}
	if err := json.Unmarshal(v, &p, json.RejectUnknownMembers(true)); err != nil {
		return err
	}
	for _, part := range []struct {
		texts   *[]string
		to      *[]Pattern
		narrows *bool
	}{{p.Read, &c.read, &c.narrowsRead}, {p.Publish, &c.publish, &c.narrowsPublish}} {
		if part.texts == nil {
			continue
		}
		*part.narrows = true
		for _, text := range *part.texts {
			pattern, err := ParsePattern(text)
			if err != nil {
				return err
			}
			*part.to = append(*part.to, pattern)
		}
	}
	return nil
}

// CheckName says what is wrong with the name of a principal: it becomes part of
// records and dedupe ids.
func CheckName(name string) error {
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("a name of %d bytes; must be 1 to %d", len(name), maxName)
	case !utf8.ValidString(name) || strings.IndexFunc(name, unicode.IsControl) >= 0:
		return errors.New("must be text without control characters")
	}
	return nil
}

// narrowing is the list by which a token narrows what is granted, or nil.
func narrowing(narrows bool, claim, member string, patterns []Pattern) *list {
	if !narrows {
		return nil
	}
	return &list{from: "the token's " + claim + "." + member, patterns: slices.Clip(patterns)}
}
