package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// peers is the program of bench/peers, which measures stores of others and a
// bare producer in a process of its own.
type peers struct{ path string }

// peerStore is what it says of a store.
type peerStore struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Version string `json:"version"`
}

// title names the store and its version for a table.
func (s peerStore) title() string { return strings.TrimSpace(s.About + " " + s.Version) }

// call runs the program and reads its answer.
func (p peers) call(ctx context.Context, answer any, args ...string) error {
	cmd := exec.CommandContext(ctx, p.path, args...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %.500s", err, exit.Stderr)
		}
		return fmt.Errorf("%s %s: %w", filepath.Base(p.path), args[0], err)
	}
	if err := json.Unmarshal(out, answer); err != nil {
		return fmt.Errorf("%s %s: %w: %.200q", filepath.Base(p.path), args[0], err, out)
	}
	return nil
}

// stores lists the stores.
func (p peers) stores(ctx context.Context) ([]peerStore, error) {
	var all []peerStore
	return all, p.call(ctx, &all, "list")
}

// store measures one of them in a new directory below dir, and returns the
// records per second.
func (p peers) store(ctx context.Context, name, dir string, writers int, d time.Duration) (rate float64, err error) {
	var m struct {
		Writers int     `json:"writers"`
		Bytes   int     `json:"bytes"`
		Records int64   `json:"records"`
		Seconds float64 `json:"seconds"`
	}
	dir = filepath.Join(dir, "peer-"+name)
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	err = p.call(ctx, &m, "store", "--name", name, "--dir", dir, "--writers", strconv.Itoa(writers),
		"--bytes", strconv.Itoa(valueBytes), "--seconds", strconv.FormatFloat(d.Seconds(), 'f', -1, 64))
	if err != nil {
		return 0, err
	}
	if m.Writers != writers || m.Bytes != valueBytes || m.Seconds <= 0 {
		return 0, fmt.Errorf("%s measured something else than it was asked for: %+v", name, m)
	}
	return float64(m.Records) / m.Seconds, nil
}

// produced is what a bare producer did.
type produced struct {
	Records int64   `json:"records"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// produce lets a bare producer produce the records of one topic to another.
func (p peers) produce(ctx context.Context, hub, from, to string, records int) (produced, error) {
	var done produced
	err := p.call(ctx, &done, "produce", "--brokers", hub, "--from", from, "--to", to, "--records", strconv.Itoa(records))
	if err == nil && (done.Records != int64(records) || done.Seconds <= 0) {
		err = fmt.Errorf("the bare producer did something else than it was asked for: %+v", done)
	}
	return done, err
}
