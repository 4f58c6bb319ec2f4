package console

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Options are the settings of the console.
type Options struct {
	// RecentMessages is how many messages of the hub are kept in memory for
	// pages that are opened or fall behind.
	RecentMessages int `yaml:"recent_messages"`
	// ShownBytes is how much of a key or a value is kept and shown, in bytes;
	// the page says where it is not all.
	ShownBytes int `yaml:"shown_bytes"`
	// MaxViewers is how many pages may watch at once; one more is answered 503.
	MaxViewers int `yaml:"max_viewers"`
	// SendTimeout is how long an endpoint may take to answer a message sent
	// from the page.
	SendTimeout time.Duration `yaml:"send_timeout"`
	// ProbeTimeout is how long an endpoint may take to say how it is.
	ProbeTimeout time.Duration `yaml:"probe_timeout"`
}

// DefaultOptions suit one operator and a screen.
func DefaultOptions() Options {
	return Options{
		RecentMessages: 200,
		ShownBytes:     4 << 10,
		MaxViewers:     100,
		SendTimeout:    30 * time.Second,
		ProbeTimeout:   time.Second,
	}
}

// Validate returns every problem of the options, joined.
func (o Options) Validate() error {
	return errors.Join(
		within("recent_messages", o.RecentMessages, 1, 10_000),
		within("shown_bytes", o.ShownBytes, 16, 64<<10),
		within("max_viewers", o.MaxViewers, 1, 10_000),
		within("send_timeout", o.SendTimeout, 10*time.Millisecond, 10*time.Minute),
		within("probe_timeout", o.ProbeTimeout, 10*time.Millisecond, time.Minute),
	)
}

func within[T int | time.Duration](path string, v, least, most T) error {
	if v < least || v > most {
		return fmt.Errorf("%s: %v: must be between %v and %v", path, v, least, most)
	}
	return nil
}

// Kind says what an endpoint is.
type Kind string

// The kinds of endpoints.
const (
	KindDoor  Kind = "door"
	KindStamp Kind = "stamp"
)

// Endpoint is something the page can send to.
type Endpoint struct {
	// Name is what the page shows and asks for; unique.
	Name string
	Kind Kind
	// URL is where it listens, as http://host:port.
	URL string
}

func (e Endpoint) validate() error {
	u, err := url.Parse(e.URL)
	switch {
	case e.Name == "":
		return errors.New("an endpoint has no name")
	case e.Kind != KindDoor && e.Kind != KindStamp:
		return fmt.Errorf("endpoint %s: kind %q is neither door nor stamp", e.Name, e.Kind)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("endpoint %s: %q is not the address of a listener", e.Name, e.URL)
	}
	return nil
}
