package config

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"postroad/internal/auth"
	"postroad/internal/httpserve"
	"postroad/internal/kafka"
	"postroad/internal/stream"
	"postroad/internal/telemetry"
)

// Stream are the settings of "postroad stream": those of a stream node's parts, a
// section each.
type Stream struct {
	// Node says which node this is, for people to read.
	Node Node `yaml:"node"`
	// HTTP is the listener that clients reach the node at. Its drain_delay is how
	// long the node still takes clients after it was told to stop; stream.drain
	// follows.
	HTTP httpserve.TrafficOptions `yaml:"http"`
	// Stream is the node: its topics, its limits, how its clients leave it.
	Stream stream.Options `yaml:"stream"`
	// Hub is where messages are read, and how it is reached. Its name and
	// generation must be the same on all nodes and stamps: clients cannot take
	// their positions to a node where they differ. What is only of sending is
	// passed over.
	Hub kafka.Options `yaml:"hub"`
	// Auth says who clients are, and what each may read and publish.
	Auth auth.Options `yaml:"auth"`
	// Admin is the listener for operators: probes, metrics, status.
	Admin httpserve.AdminOptions `yaml:"admin"`
	// Log says what is logged to standard error, and how.
	Log telemetry.LogOptions `yaml:"log"`
}

// Node says which stream node this is.
type Node struct {
	// Name is told to clients and stands in the status; at most 128 bytes. Empty
	// takes the name of the machine. Default "".
	Name string `yaml:"name"`
}

// Validate returns every problem of the node's name.
func (n Node) Validate() error {
	if len(n.Name) > 128 {
		return fmt.Errorf("name: %s: must have at most 128 bytes", quote(n.Name))
	}
	return nil
}

// DefaultStream are the settings of a stream node before anything is said: clients
// reach it at port 8800 of every interface, operators from the machine itself.
func DefaultStream() Stream {
	s := Stream{
		HTTP:   httpserve.DefaultTrafficOptions(),
		Stream: stream.DefaultOptions(),
		Hub:    kafka.DefaultOptions(),
		Auth:   auth.DefaultOptions(),
		Admin:  httpserve.DefaultAdminOptions(),
		Log:    telemetry.DefaultLogOptions(),
	}
	s.HTTP.Listen = ":8800"
	return s
}

// dialectPostroad is the dialect of a stamp that sends to another one.
const dialectPostroad = "postroad"

// Validate returns what no section can know of itself: messages are read from a
// hub, which another stamp is not.
func (s Stream) Validate() error {
	var errs []error
	if s.Hub.Dialect == dialectPostroad {
		errs = append(errs, fmt.Errorf("hub.dialect: %s: must be a hub that can be read; another stamp cannot", s.Hub.Dialect))
	}
	return errors.Join(errs...)
}

const (
	// windowEntry is what the look-back takes for one offset, in bytes.
	windowEntry = 32
	// muchLookBack is the memory of look-backs for each partition above which a
	// warning is given, in bytes.
	muchLookBack = 32 << 20
	// muchRead is how many bytes a node that starts, or recovers a client, reads of
	// each partition before the first message is shown, above which a warning is
	// given; supposedBytes is the size of a message that is reckoned with.
	muchRead      = 512 << 20
	supposedBytes = 1 << 10
	// repeatsAfter is how long a message may be on its way twice, in a stamp that
	// hands on to another; see forward.
	repeatsAfter = 1024
)

// Warnings are what is allowed and still hardly meant, a line each.
func (s Stream) Warnings() []string {
	var all []string
	warn := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, t := range s.Stream.Live.Topics {
		w, of := t.Window, "stream.topics: "+t.Name+" window"
		if w == 0 {
			w, of = s.Stream.Live.Window, "stream.window, of topic "+t.Name
		}
		switch {
		case w*windowEntry > muchLookBack:
			warn("%s: %d: takes %d MiB of memory for each partition", of, w, w*windowEntry>>20)
		case w*supposedBytes > muchRead:
			warn("%s: %d: with messages of 1 KiB, %d MiB of each partition are read before a node is ready, and for each recovery from the hub", of, w, w*supposedBytes>>20)
		}
		if w < repeatsAfter {
			warn("%s: %d: a message that was sent again after a lost answer may be further away than that, and be shown twice", of, w)
		}
	}
	if s.Stream.Live.Window != s.Hub.Window {
		warn("hub.window: %d: differs from stream.window, %d: what is read here is shown by stream.window, and postroad tail by its own", s.Hub.Window, s.Stream.Live.Window)
	}
	if s.Stream.Live.LastValues.Age == 0 || s.Stream.Live.LastValues.MaxKeys == 0 {
		warn("stream.last_values: new subscribers get no last value until one comes")
	}
	if s.Auth.Anonymous.Enabled && len(s.Stream.Origins) == 1 && s.Stream.Origins[0] == "*" {
		warn("stream.origins: *: together with auth.anonymous.enabled any page that somebody in reach of this node opens may read it")
	}
	return append(all, s.timing()...)
}

// timing warns of times that do not go together.
func (s Stream) timing() []string {
	var all []string
	o := s.Stream
	if most := o.Drain.Rate * o.Drain.Timeout.Seconds(); float64(o.Limits.Connections) > most {
		all = append(all, fmt.Sprintf("stream.drain: a full node has %d connections, of which drain.rate ends %.0f within drain.timeout: they would be ended faster", o.Limits.Connections, most))
	}
	if o.Live.MaxLag < o.WebSocket.SlowFor {
		all = append(all, fmt.Sprintf("stream.max_lag: %s: shorter than websocket.slow_for, %s: clients that are slow could make the node not ready", o.Live.MaxLag, o.WebSocket.SlowFor))
	}
	return all
}

// HasSection says whether a file has a section of that name at its top; a file
// that is no YAML has none, which whoever loads it will hear of. An empty path is
// no file.
func HasSection(path, name string) (bool, error) {
	if path == "" {
		return false, nil
	}
	b, err := readFile(path)
	if err != nil {
		return false, err
	}
	return hasSection(b, name), nil
}

func hasSection(b []byte, name string) (has bool) {
	defer func() {
		if recover() != nil { // the parser's mistake must not be ours
			has = false
		}
	}()
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return false
	}
	for _, doc := range file.Docs {
		m, ok := doc.Body.(ast.MapNode)
		if !ok {
			continue
		}
		for it := m.MapRange(); it.Next(); {
			if it.Key().GetToken().Value == name {
				return true
			}
		}
	}
	return false
}
