package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The most that the options of the benchmarks may say.
const (
	maxRounds   = 1000
	maxMessages = 100_000_000
	// maxMessageBytes keeps a batch of a load below the gateway's limit.
	maxMessageBytes = 64 << 10
)

func validSite(binary, dir string) error {
	if binary == "" || dir == "" {
		return fmt.Errorf("binary, dir: %q, %q: both must be named", binary, dir)
	}
	return nil
}

func validBacklog(rounds, messages, bytes int) error {
	return errors.Join(within("rounds", rounds, maxRounds), within("messages", messages, maxMessages), within("bytes", bytes, maxMessageBytes))
}

// within reports an option that is not between 1 and most.
func within(name string, n, most int) error {
	if n < 1 || n > most {
		return fmt.Errorf("%s: %d: must be between 1 and %d", name, n, most)
	}
	return nil
}

// workplace is where a benchmark runs: a machine, and a new directory on the
// disk that is measured.
type workplace struct {
	machine Machine
	dir     string
	deps    Deps
}

// newWorkplace makes a directory below one that is there, for options that can
// work. The caller removes it.
func newWorkplace(o interface{ Validate() error }, below string, d Deps) (*workplace, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := machineOf(below, d.Version)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(below, "postroad-bench-")
	if err != nil {
		return nil, fmt.Errorf("directory for the benchmark: %w", err)
	}
	return &workplace{m, dir, d.filled()}, nil
}

func (w *workplace) remove() error { return os.RemoveAll(w.dir) }

// inRounds does once for each round, from 1 on, in a directory of its own that
// is removed after it, and returns what each measured.
func inRounds[R any](w *workplace, rounds int, once func(i int, dir string) (R, error)) ([]R, error) {
	var all []R
	for i := 1; i <= rounds; i++ {
		dir := filepath.Join(w.dir, fmt.Sprintf("round-%d", i))
		r, err := once(i, dir)
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			return nil, fmt.Errorf("round %d: %w", i, err)
		}
		all = append(all, r)
	}
	return all, nil
}
