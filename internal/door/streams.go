package door

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// isStream tells the paths that stream nodes serve.
func isStream(path string) bool {
	if rest, ok := strings.CutPrefix(path, "/v1/topics/"); ok {
		_, what, _ := strings.Cut(rest, "/")
		return what == "stream" || what == "last" || what == "history"
	}
	return strings.HasPrefix(path, "/connection/") || strings.HasPrefix(path, "/demo/") || path == "/demo"
}

// addStreams makes the origins' stream nodes origins of their own, with health of
// their own: a stamp whose gateway is down may still have a stream node that is
// not, and the other way round.
func (d *Door) addStreams(o Options, config *tls.Config) error {
	for _, or := range o.Origins {
		if or.Stream == "" {
			continue
		}
		u, err := parseURL(or.Stream)
		if err != nil {
			return fmt.Errorf("origin %s: stream: %w", or.Name, err)
		}
		or.Name += "/stream"
		d.streams = append(d.streams, newOrigin(or, u, o.Probe, d.log, d.metrics))
	}
	if len(d.streams) == 0 {
		return nil
	}
	slices.SortStableFunc(d.streams, byPriority)
	d.streamCarrier = newCarrier(o, d.streams, d.metrics, config)
	d.streamed = endWithDrain(d.proxy(d.streamCarrier))
	return nil
}

// StreamStatus returns the stream nodes in the order in which they are tried.
func (d *Door) StreamStatus() []OriginStatus { return statusOf(d.streams) }

// carries returns the proxy for a path.
func (d *Door) carries(path string) http.Handler {
	if d.streamed != nil && isStream(path) {
		return d.streamed
	}
	return d.proxied
}
