package config

import (
	"errors"
	"fmt"
	"regexp"

	"postroad/internal/console"
	"postroad/internal/forward"
	"postroad/internal/gateway"
	"postroad/internal/httpserve"
	"postroad/internal/kafka"
	"postroad/internal/queue"
	"postroad/internal/telemetry"
)

// Stamp are the settings of "postroad stamp", "postroad gateway" and "postroad
// forward": those of a stamp's parts, a section each. The halves take all of
// them and pass over what they do not run: one file serves a whole stamp, and
// what only both halves together can get wrong (see Validate) is found by each.
type Stamp struct {
	// Stamp says which stamp this is; answers, records and metrics carry it.
	Stamp Identity `yaml:"stamp"`
	// HTTP is the listener that clients and front doors reach the gateway at.
	// "postroad forward" does not open it.
	HTTP httpserve.TrafficOptions `yaml:"http"`
	// Gateway accepts messages over HTTP. "postroad forward" passes over it.
	Gateway gateway.Options `yaml:"gateway"`
	// Queue keeps accepted messages on stable storage. Every process that
	// shares the directory must be given the same ttl and takeover_margin.
	Queue queue.Options `yaml:"queue"`
	// Hub is where messages go, and how it is reached. "postroad gateway" never
	// reaches it and needs only batch_max_bytes, which bounds what it accepts.
	Hub kafka.Options `yaml:"hub"`
	// Forward sends messages from the queue to the hub. "postroad gateway"
	// passes over it.
	Forward forward.Options `yaml:"forward"`
	// Admin is the listener for operators: probes, metrics, status, console.
	// Each process on one machine needs an address of its own.
	Admin httpserve.AdminOptions `yaml:"admin"`
	// Console is the page on the admin listener that shows and sends messages.
	// It is there in "postroad stamp" only, which has both a gateway to send to
	// and the hub to read.
	Console console.Options `yaml:"console"`
	// Log says what is logged to standard error, and how.
	Log telemetry.LogOptions `yaml:"log"`
}

// Identity says which stamp this is.
type Identity struct {
	// Name tells this stamp from all others, such as "onprem" or
	// "cloud-green": 1 to 63 of a-z, 0-9 and "-".
	Name string `yaml:"name"`
	// Region is where the stamp stands, for people to read.
	Region string `yaml:"region"`
	// Zone is the part of the region that fails as one, for people to read.
	Zone string `yaml:"zone"`
}

// DefaultStamp are the settings of a production stamp before anything is
// said: clients reach it at port 8081 of every interface, operators from the
// machine itself.
func DefaultStamp() Stamp {
	s := Stamp{
		HTTP:    httpserve.DefaultTrafficOptions(),
		Gateway: gateway.DefaultOptions(),
		Queue:   queue.DefaultOptions(),
		Hub:     kafka.DefaultOptions(),
		Forward: forward.DefaultOptions(),
		Admin:   httpserve.DefaultAdminOptions(),
		Console: console.DefaultOptions(),
		Log:     telemetry.DefaultLogOptions(),
	}
	s.HTTP.Listen = ":8081"
	return s
}

// recordOverhead is the room that a record batch of one message needs beside
// what message.max_bytes counts: the framing, and the headers that the
// forwarder adds, in bytes.
const recordOverhead = 4096

// Validate returns what no section can know of itself: a message that the
// gateway accepts must fit in what is sent to the hub, or it would be accepted
// and then found too large; and the topics that the settings themselves send to
// must be allowed, or what is accepted for them would be held for ever.
func (s Stamp) Validate() error {
	var errs []error
	most := s.Hub.BatchMaxBytes - recordOverhead
	if s.Gateway.Message.MaxBytes > most {
		errs = append(errs, fmt.Errorf("gateway.message.max_bytes: %d: must be at most %d, which is hub.batch_max_bytes less %d for what is added to a message",
			s.Gateway.Message.MaxBytes, most, recordOverhead))
	}
	for _, t := range []struct{ path, topic string }{
		{"gateway.classic.topic", s.Gateway.Classic.Topic}, {"forward.dead_letter_topic", s.Forward.DeadLetterTopic},
	} {
		if t.topic != "" && !s.Hub.Topics.Allows(t.topic) {
			errs = append(errs, fmt.Errorf("%s: %s: must be allowed by hub.topics.allow", t.path, quote(t.topic)))
		}
	}
	return errors.Join(errs...)
}

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Validate returns every problem of the identity, joined.
func (i Identity) Validate() error {
	var errs []error
	if !validName.MatchString(i.Name) {
		errs = append(errs, fmt.Errorf("name: %s: must be 1 to 63 of a-z, 0-9 and -, with - only inside", quote(i.Name)))
	}
	for _, f := range []struct{ path, value string }{{"region", i.Region}, {"zone", i.Zone}} {
		if len(f.value) > 128 {
			errs = append(errs, fmt.Errorf("%s: %s: must have at most 128 bytes", f.path, quote(f.value)))
		}
	}
	return errors.Join(errs...)
}
