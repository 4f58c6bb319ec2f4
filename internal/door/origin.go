package door

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// OriginStatus is the state of one origin, for the admin API and the console.
type OriginStatus struct {
	Name     string    `json:"name"`
	URL      string    `json:"url"`
	Priority int       `json:"priority"`
	Healthy  bool      `json:"healthy"`
	Since    time.Time `json:"since"`  // when it became so
	Reason   string    `json:"reason"` // why
}

// origin is one stamp and what the door thinks of it.
type origin struct {
	name     string
	url      *url.URL
	priority int
	rule     Probe
	log      *slog.Logger
	metrics  *metrics

	mu      sync.Mutex
	healthy bool      // guarded by mu
	since   time.Time // guarded by mu
	reason  string    // guarded by mu
	passes  int       // probes passed in a row; guarded by mu
	fails   int       // probes failed in a row; guarded by mu
}

// newOrigin trusts an origin until something speaks against it: the first
// request need not wait for a probe, and a failed connection costs it nothing.
func newOrigin(o Origin, u *url.URL, rule Probe, log *slog.Logger, m *metrics) *origin {
	m.healthy.WithLabelValues(o.Name).Set(1)
	return &origin{
		name: o.Name, url: u, priority: max(o.Priority, 1), rule: rule, log: log.With("origin", o.Name), metrics: m,
		healthy: true, since: time.Now(), reason: "not probed yet",
	}
}

func (o *origin) status() OriginStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	return OriginStatus{Name: o.name, URL: o.url.String(), Priority: o.priority, Healthy: o.healthy, Since: o.since, Reason: o.reason}
}

func (o *origin) isHealthy() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.healthy
}

// unreachable takes the origin out at once: no connection could be opened.
func (o *origin) unreachable(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.passes = 0
	o.set(false, err.Error())
}

// probed counts one probe; err is nil if it passed.
func (o *origin) probed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.passes = 0
		o.fails++
		if o.fails >= o.rule.Unhealthy {
			o.set(false, err.Error())
		}
		return
	}
	o.fails = 0
	o.passes++
	if o.passes >= o.rule.Healthy {
		o.set(true, "probes pass")
	}
}

// set changes the state where it differs. The caller holds mu.
func (o *origin) set(healthy bool, reason string) {
	if o.healthy == healthy {
		if healthy {
			o.reason = reason
		}
		return
	}
	lasted := time.Since(o.since).Round(time.Millisecond)
	o.healthy, o.since, o.reason = healthy, time.Now(), reason
	o.metrics.changed(o.name, healthy)
	if healthy {
		o.log.Info("origin is healthy", "reason", reason, "unhealthy_for", lasted)
		return
	}
	o.log.Warn("origin is unhealthy", "reason", reason, "healthy_for", lasted)
}

// watch probes the origin until ctx ends, at once and then every interval.
func (o *origin) watch(ctx context.Context, client *http.Client) {
	tick := time.NewTicker(o.rule.Interval)
	defer tick.Stop()
	for {
		err := o.probe(ctx, client)
		if ctx.Err() != nil {
			return // the probe may have failed for that reason
		}
		o.probed(err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// probe asks once. A redirect is an answer other than 200.
func (o *origin) probe(ctx context.Context, client *http.Client) error {
	ctx, cancel := context.WithTimeout(ctx, o.rule.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url.String()+o.rule.Path, http.NoBody)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	req.Header.Set("User-Agent", "postroad-door")
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10) // what it says is not looked at
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("probe: %s answered %d", o.rule.Path, res.StatusCode)
	}
	return nil
}
