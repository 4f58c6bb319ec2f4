package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// statusReport is the answer of GET /admin/v1/status as this command reads it.
// Members that it does not know are passed through by --json and else ignored.
type statusReport struct {
	Stamps  []stampStatus  `json:"stamps"`
	Streams []streamStatus `json:"streams"`
}

// stampStatus is the state of one stamp.
type stampStatus struct {
	Name    string    `json:"name"`
	Region  string    `json:"region,omitempty"`
	Zone    string    `json:"zone,omitempty"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Part is "gateway" or "forward" of a process that is only that half of a
	// stamp, and knows only that.
	Part string `json:"part,omitempty"`
	// Gateway is the base URL of the stamp's gateway.
	Gateway string `json:"gateway,omitempty"`
	// Accepting says whether a POST would be taken now; Refusing is why not.
	Accepting bool          `json:"accepting"`
	Refusing  string        `json:"refusing,omitempty"`
	Queue     queueStatus   `json:"queue"`
	Flow      flowStatus    `json:"flow,omitzero"`
	Forward   forwardStatus `json:"forward"`
	Hub       hubStatus     `json:"hub"`
}

// Parts of a stamp that may run alone.
const (
	partGateway = "gateway"
	partForward = "forward"
)

type queueStatus struct {
	Dir                 string  `json:"dir,omitempty"`
	Lanes               int     `json:"lanes"`
	UnforwardedMessages int64   `json:"unforwarded_messages"`
	UnreadLanes         int64   `json:"unread_lanes,omitempty"`
	Listing             bool    `json:"listing,omitempty"`
	UnforwardedBytes    int64   `json:"unforwarded_bytes"`
	OldestAgeSeconds    float64 `json:"oldest_age_seconds"`
	DiskFreeBytes       int64   `json:"disk_free_bytes"`
	DiskTotalBytes      int64   `json:"disk_total_bytes,omitempty"`
	Space               struct {
		QuotaBytes           int64   `json:"quota_bytes,omitempty"`
		UsedBytes            int64   `json:"used_bytes,omitempty"`
		ReplayMissingSeconds float64 `json:"replay_missing_seconds,omitempty"`
	} `json:"space,omitzero"`
	FileSystem struct {
		Type    string `json:"type,omitempty"`
		Verdict string `json:"verdict,omitempty"`
	} `json:"file_system,omitzero"`
	// DamagedMessages were set aside because their bytes are damaged.
	DamagedMessages int64 `json:"damaged_messages,omitempty"`
}

type forwardStatus struct {
	Breaker breakerStatus `json:"breaker"`
	// Chains are the chains of lanes being drained.
	Chains         []chainStatus `json:"chains,omitempty"`
	ForwardedTotal int64         `json:"forwarded_total"`
	RatePerSecond  float64       `json:"rate_per_second"`
	// DeadTotal were refused by the hub for good and set aside.
	DeadTotal int64 `json:"dead_total,omitempty"`
	// DuplicateTotal were late and left out, because another stamp had sent them.
	DuplicateTotal int64     `json:"duplicate_total,omitempty"`
	LastError      string    `json:"last_error,omitempty"`
	LastErrorAt    time.Time `json:"last_error_at,omitzero"`
}

// breakerStatus is the state of the breaker around the hub: "closed" lets
// messages through, "open" keeps them, "half-open" tries.
type breakerStatus struct {
	State   string    `json:"state"`
	Cause   string    `json:"cause,omitempty"`
	Own     bool      `json:"own,omitempty"` // it lies in the process, not in the hub
	Since   time.Time `json:"since,omitzero"`
	NextTry time.Time `json:"next_try,omitzero"`
}

// chainStatus is the state of a chain of lanes: "held" where the hub refuses
// its messages until somebody changes something, although it can be reached.
type chainStatus struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`
	Error   string    `json:"error,omitempty"`
	NextTry time.Time `json:"next_try,omitzero"`
	// Topics are those with which something is the matter.
	Topics []topicStatus `json:"topics,omitempty"`
}

// topicStatus is the state of one topic of a chain: "held" where the hub refuses
// just that one, "recovering" where it is being tried again.
type topicStatus struct {
	Topic   string    `json:"topic"`
	State   string    `json:"state"`
	Aside   bool      `json:"aside,omitempty"`
	Error   string    `json:"error,omitempty"`
	NextTry time.Time `json:"next_try,omitzero"`
}

type hubStatus struct {
	Name       string   `json:"name,omitempty"`
	Generation int      `json:"generation,omitempty"`
	Dialect    string   `json:"dialect,omitempty"`
	Brokers    []string `json:"brokers"`
	// LastAnswer is when it last answered anything.
	LastAnswer time.Time `json:"last_answer,omitzero"`
	// ThrottledSeconds is how long it made the stamp wait within the last
	// minute, because of a quota.
	ThrottledSeconds float64   `json:"throttled_seconds,omitempty"`
	ThrottledAt      time.Time `json:"throttled_at,omitzero"`
	// Trouble is what is wrong with files that the settings name.
	Trouble string `json:"trouble,omitempty"`
}

// flowStatus is what went through a stamp in the last half minute; nil rates are
// not known.
type flowStatus struct {
	InPerSecond       *float64 `json:"in_per_second,omitempty"`
	InBytesPerSecond  float64  `json:"in_bytes_per_second,omitempty"`
	OutPerSecond      float64  `json:"out_per_second,omitempty"`
	OutBytesPerSecond float64  `json:"out_bytes_per_second,omitempty"`
	// DrainSeconds is how long what waits lasts at this rate; NeverDrains says
	// that it does not become less.
	DrainSeconds float64 `json:"drain_seconds,omitempty"`
	NeverDrains  bool    `json:"never_drains,omitempty"`
}

type statusCommand struct {
	Admin string        `help:"Admin listener of the stamp, or of a half of one (${default})." default:"http://127.0.0.1:9600" placeholder:"URL"`
	Watch bool          `help:"Show it again and again until interrupted." short:"w"`
	Every time.Duration `help:"How often --watch looks." default:"1s"`
	JSON  bool          `help:"Print the answer as it came; with --watch one line each time."`
}

// Run shows the state of a stamp.
func (c *statusCommand) Run(ctx context.Context, out streams) error {
	if c.Every < 10*time.Millisecond {
		return usagef("--every: %s: must be at least 10ms", c.Every)
	}
	base, err := baseURL("--admin", c.Admin)
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	fetch := func(ctx context.Context) ([]byte, error) { return fetchStatus(ctx, client, base) }
	if c.Watch {
		return c.watch(ctx, out, base, fetch)
	}
	body, err := fetch(ctx)
	if err != nil {
		return fmt.Errorf("%w (--admin names another address)", err)
	}
	if c.JSON {
		_, err := out.out.Write(append(bytes.TrimSpace(body), '\n'))
		return err
	}
	report, err := parseStatus(body)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out.out, strings.Join(drawStatus(report, time.Now(), terminalOf(out.out)), "\n")+"\n")
	return err
}

// statusLimit is the largest answer that is read, in bytes.
const statusLimit = 16 << 20

func fetchStatus(ctx context.Context, client *http.Client, base string) ([]byte, error) {
	url := base + "/admin/v1/status"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", url, bare(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, statusLimit))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s: %s", url, resp.Status, problemText(resp.Header, body))
	}
	return body, nil
}

func parseStatus(body []byte) (statusReport, error) {
	var report statusReport
	if err := json.Unmarshal(body, &report); err != nil {
		return statusReport{}, fmt.Errorf("read the status: %w", err)
	}
	return report, nil
}

// watch shows the state until ctx ends. On a terminal it redraws a screen of
// its own and leaves the last view on the usual one; elsewhere views follow
// each other. An admin listener that does not answer is shown, not given up.
func (c *statusCommand) watch(ctx context.Context, out streams, base string, fetch func(context.Context) ([]byte, error)) error {
	screen := newScreen(out.out)
	defer screen.close()
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	view := watched{base: base, every: c.Every}
	for {
		body, err := fetch(ctx)
		if ctx.Err() != nil {
			return nil
		}
		now := time.Now()
		if c.JSON {
			err = printCompact(out, body, err)
		} else {
			view.take(body, err, now)
			err = screen.show(view.lines(now, terminalOf(out.out)))
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// printCompact writes an answer in one line, and a failure to standard error.
func printCompact(out streams, body []byte, failed error) error {
	if failed != nil {
		fmt.Fprintln(out.err, "postroad:", failed)
		return nil
	}
	var line bytes.Buffer
	if err := json.Compact(&line, body); err != nil {
		return fmt.Errorf("read the status: %w", err)
	}
	line.WriteByte('\n')
	_, err := out.out.Write(line.Bytes())
	return err
}

// watched is the last state seen and how current it is.
type watched struct {
	base   string
	every  time.Duration
	report statusReport
	seen   time.Time // zero before the first answer
	failed error     // of the last try
	since  time.Time // of the first failure in a row
}

func (w *watched) take(body []byte, err error, now time.Time) {
	if err == nil {
		var report statusReport
		if report, err = parseStatus(body); err == nil {
			w.report, w.seen = report, now
		}
	}
	if err != nil && w.failed == nil {
		w.since = now
	}
	w.failed = err
}

func (w *watched) lines(now time.Time, t terminal) []string {
	head := fmt.Sprintf("postroad status  %s  %s  every %s", now.Format(time.TimeOnly), w.base, w.every)
	lines := []string{t.paint(dim, head), ""}
	if w.failed != nil {
		const word = "NO ANSWER"
		text := fmt.Sprintf(" for %s: %s", age(now.Sub(w.since)), printable([]byte(w.failed.Error())))
		lines = append(lines, t.paint(red, word)+shorten(text, cmp.Or(t.width, usualWidth)-len(word)))
		if w.seen.IsZero() {
			return lines
		}
		lines = append(lines, fmt.Sprintf("what follows is from %s:", w.seen.Format(time.TimeOnly)), "")
	}
	return append(lines, drawStatus(w.report, now, t)...)
}
