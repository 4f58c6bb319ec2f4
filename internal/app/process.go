package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"postroad/internal/drill"
	"postroad/internal/httpserve"
	"postroad/internal/telemetry"
)

// Deps are what the command line gives a process.
type Deps struct {
	// Stdout takes what a person who started the process wants to read.
	Stdout io.Writer
	// Log takes the log.
	Log *slog.Logger
	// Version is the program's own.
	Version telemetry.Version
	// AddressesFile, where set, gets an Addresses as JSON once everything
	// listens.
	AddressesFile string
	// RecorderFile, where set, gets the counters of a drill, which survive the
	// process. See drill.Recorder.
	RecorderFile string
}

// Addresses say where the listeners of a process are, for programs that start
// one with port 0.
type Addresses struct {
	Door string `json:"door,omitempty"`
	// Gateways are by the names of their stamps.
	Gateways map[string]string `json:"gateways,omitempty"`
	// Streams are stream nodes, by their names.
	Streams map[string]string `json:"streams,omitempty"`
	Hub     string            `json:"hub,omitempty"`
	Admin   string            `json:"admin,omitempty"`
}

// writeAddresses writes the file so that a reader who sees it sees all of it.
func writeAddresses(name string, a Addresses) error {
	if name == "" {
		return nil
	}
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".new")
	if err := os.WriteFile(tmp, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	return os.Rename(tmp, name)
}

// memoryShare is the part of the container's memory limit that Go's heap may
// take before the garbage collector works harder: the rest is for stacks of the
// kernel's side, page cache and what the runtime does not count.
const memoryShare = 0.9

func newProcess(d Deps) (process, error) {
	p := process{log: d.Log, version: d.Version}
	if _, err := memlimit.Set(memlimit.WithRatio(memoryShare), memlimit.WithLogger(slog.New(slog.DiscardHandler))); err != nil {
		p.log.Debug("no memory limit taken from the control group", "err", err)
	}
	var err error
	if p.registry, err = telemetry.NewRegistry(d.Version); err != nil {
		return process{}, err
	}
	if d.RecorderFile != "" {
		if p.recorder, err = drill.NewRecorder(d.RecorderFile); err != nil {
			return process{}, err
		}
		p.log.Warn("recording for a drill", "file", d.RecorderFile)
	}
	return p, nil
}

func (p process) close() error {
	if p.recorder == nil {
		return nil
	}
	return p.recorder.Close()
}

func (p process) admin(opts httpserve.AdminOptions) (*httpserve.Admin, error) {
	a, err := httpserve.NewAdmin(opts, httpserve.AdminDeps{Log: p.log, Gatherer: p.registry})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("admin listener: %w", err))
	}
	return a, nil
}
