package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Options are the settings of a stamp that relays to another (hub.dialect:
// postroad).
type Options struct {
	// URL is where the other stamp's gateway is reached, as https://host or
	// https://host:port, without a path. http is taken only for this machine
	// itself. Default "".
	URL string `yaml:"url"`
	// TokenFile names the file that holds this stamp's bearer token, 16
	// characters or more, the same as in gateway.relay.stamps there. It is read
	// again when it changes. Default "".
	TokenFile string `yaml:"token_file"`
	// Streams is how many batches of one topic may be under way at the same time,
	// 1 to 64; messages of one key are all in one of them, in order. Default 8.
	Streams int `yaml:"streams"`
	// BatchBytes is how large a batch may be before compression, 65536 to
	// 8388608. Less is sent at a time where the way is slow, or where the other
	// stamp takes less. Default 1048576 (1 MiB).
	BatchBytes int `yaml:"batch_bytes"`
	// Compression of batches: zstd or none. What does not become smaller is sent
	// as it is. Default zstd.
	Compression string `yaml:"compression"`
}

// DefaultOptions returns the settings that apply where none are given.
func DefaultOptions() Options {
	return Options{Streams: 8, BatchBytes: 1 << 20, Compression: "zstd"}
}

// Validate returns every problem of the settings, joined. url and token_file are
// wanted only where there is one.
func (o Options) Validate() error { return errors.Join(o.ProblemsIn("", false)...) }

// ProblemsIn returns every problem of the settings, each with its path below the
// section; used says that they are those by which the hub is reached.
func (o Options) ProblemsIn(section string, used bool) (errs []error) {
	if section != "" {
		section += "."
	}
	check := func(ok bool, field string, value any, rule string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s%s: %v: %s", section, field, value, rule))
		}
	}
	if used || o.URL != "" {
		check(validURL(o.URL), "url", strconv.Quote(o.URL), "must be https://host[:port] without a path; http is for this machine only")
		check(o.TokenFile != "", "token_file", `""`, "must name the file of this stamp's token")
	}
	check(o.Streams >= 1 && o.Streams <= 64, "streams", o.Streams, "must be between 1 and 64")
	check(o.BatchBytes >= 64<<10 && o.BatchBytes <= 8<<20, "batch_bytes", o.BatchBytes, "must be between 65536 and 8388608")
	check(o.Compression == "zstd" || o.Compression == "none", "compression", strconv.Quote(o.Compression), "must be zstd or none")
	return errs
}

func validURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return false
	}
	local := u.Hostname() == "127.0.0.1" || u.Hostname() == "::1" || u.Hostname() == "localhost"
	return u.Scheme == "https" || u.Scheme == "http" && local
}

// TLS says how the other stamp is recognised, and this one by it. Files are PEM
// and are read again when they change.
type TLS struct {
	// CAFile holds the certificates that the other's is checked against; empty
	// for those of the system.
	CAFile string
	// CertFile and KeyFile are this stamp's own certificate, where one is asked
	// for on the way.
	CertFile, KeyFile string
	// ServerName is the name that the other's certificate must be for; empty for
	// the host of the URL.
	ServerName string
}

// Deps are what a Sink is given beside its settings.
type Deps struct {
	// Log receives state changes; nil drops them.
	Log *slog.Logger
	// Stamp is the name of this stamp.
	Stamp string
	// Name and Generation tell the hub behind the other stamp from others
	// (hub.name, hub.generation).
	Name       string
	Generation int
	// TLS is used where the URL is https.
	TLS TLS
	// Proxy is the URL of an HTTP proxy that is asked to CONNECT; empty for none.
	// ProxyCredentialsFile holds user:password for it.
	Proxy, ProxyCredentialsFile string
	// DialTimeout is how long opening a connection may take, RequestTimeout how
	// long an answer may; zero is 5 s and 10 s.
	DialTimeout, RequestTimeout time.Duration
	// Allow lists names and patterns of the topics that may be sent; empty for
	// all.
	Allow []string
	// MayWrite, if not nil, is asked before each write to the other stamp, and
	// keeps it from happening by an error: because the claims of this process may
	// be others' by now. It must be quick.
	MayWrite func() error

	transport http.RoundTripper // nil but in tests
}

func (d *Deps) setDefaults() {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.DialTimeout <= 0 {
		d.DialTimeout = 5 * time.Second
	}
	if d.RequestTimeout <= 0 {
		d.RequestTimeout = 10 * time.Second
	}
}
