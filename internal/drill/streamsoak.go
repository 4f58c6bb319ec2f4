package drill

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// SoakReport is what a node held before and after a time of churn, both with no
// client, after a garbage collection.
type SoakReport struct {
	StreamReport
	Before, After Memory
	// Connections is how many were made in all.
	Connections int
}

// Memory is what a process holds.
type Memory struct {
	// Live is about what the last garbage collection left of the heap, in bytes:
	// half of where the next begins.
	Live float64
	// Goroutines is how many run, Files how many descriptors are open, and
	// Resident the memory that the system gave, in bytes.
	Goroutines, Files, Resident float64
}

func (m Memory) String() string {
	return fmt.Sprintf("%.1f MiB live heap, %.0f goroutines, %.0f descriptors, %.1f MiB resident", m.Live/(1<<20), m.Goroutines, m.Files, m.Resident/(1<<20))
}

// String is the report for a person.
func (r SoakReport) String() string {
	return fmt.Sprintf("%d connections; before: %s; after: %s; %s", r.Connections, r.Before, r.After, r.happened())
}

// Soak lets clients come and go at one node for a time, while messages are sent,
// after a first round in which what is kept for good has grown to its bounds.
func Soak(ctx context.Context, o StreamOptions, warm, long time.Duration) (report SoakReport, err error) {
	began := time.Now()
	a, err := newAudience(ctx, o)
	if err != nil {
		return SoakReport{}, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	node := a.nodes.running[a.nodes.addresses()[0]]
	for i, d := range []time.Duration{warm, long} {
		if err := a.churn(ctx, d); err != nil {
			return report, err
		}
		m, err := settled(ctx, node)
		if err != nil {
			return report, err
		}
		a.Logf("after %v: %s", d, m)
		if report.After = m; i == 0 {
			report.Before = m
		}
	}
	a.report.Took = time.Since(began)
	a.sum()
	report.StreamReport = a.report
	for _, n := range a.report.Codes {
		report.Connections += n
	}
	return report, nil
}

// churn lets all clients in, cuts some of them again and again, and sends all of
// them away.
func (a *audience) churn(ctx context.Context, d time.Duration) error {
	if err := a.watch(ctx); err != nil {
		return err
	}
	end := time.Now().Add(d)
	err := a.loaded(ctx, func(ctx context.Context) error {
		for time.Now().Before(end) {
			if err := rest(ctx, a.Rest); err != nil {
				return err
			}
			a.report.Cuts++
			a.nodes.balancer.Cut(a.Clients / 10)
		}
		return nil
	})
	if err == nil {
		err = a.everyone(ctx)
	}
	a.unwatch()
	a.watching.Wait()
	if text := a.complaints(); err == nil && text != "" {
		err = fmt.Errorf("clients complain: %s", text)
	}
	a.views = nil
	return err
}

// collectionLimit is longer than the runtime leaves a process without a garbage
// collection.
const collectionLimit = 3 * time.Minute

// settled waits for a second garbage collection after now, since the first only
// frees what finalizers and pools hold on to, and returns what is left.
func settled(ctx context.Context, p *Process) (m Memory, err error) {
	last, seen := 0.0, 0
	err = Until(ctx, 2*collectionLimit, "memory was collected", func() (bool, error) {
		if err := rest(ctx, time.Second); err != nil {
			return false, err
		}
		v, err := p.Metrics(ctx)
		if err != nil {
			return false, err
		}
		if at := v["go_memstats_last_gc_time_seconds"]; at != last {
			last = at
			seen++
		}
		// The next collection begins when the heap is twice what this one left.
		m = Memory{v["go_memstats_next_gc_bytes"] / 2, v["go_goroutines"], v["process_open_fds"], v["process_resident_memory_bytes"]}
		return seen > 2, nil
	})
	return m, err
}

// Metrics asks a process for its metrics, those without labels.
func (p *Process) Metrics(ctx context.Context) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Addresses.Admin+"/metrics", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	req.Close = true // nothing of it stays behind
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	defer resp.Body.Close()
	values := make(map[string]float64)
	lines := bufio.NewScanner(io.LimitReader(resp.Body, 16<<20))
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil && !strings.HasPrefix(name, "#") {
			values[name] = n
		}
	}
	return values, lines.Err()
}
