package faults

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// takeovers is how many faults of a takeover are tried in a sample.
const takeovers = 15

// The promise holds whatever call fails, or is the last one, of a process that
// takes over what another has left. Here the files are known before the process
// starts, so that each fault is for the first call of its kind on one of them.
func TestFaultAtTakeover(t *testing.T) {
	b := newBench(t)
	all := b.takeoverFaults()
	b.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if testing.Short() {
		all = all[:3]
	}
	tally := make(tally)
	for _, s := range all[:min(takeovers, len(all))] {
		if !b.play(tally, s) {
			t.Errorf("%v has not hit %s", s.inject, s.inject.path)
		}
	}
	t.Log(tally)
}

// takeoverFaults are the faults that a takeover without one gives occasion for:
// each kind at each call on each file that was there before, or whose name was
// known.
func (b *bench) takeoverFaults() []script {
	b.t.Helper()
	sound := b.sound(script{takeover: true})
	queue := filepath.Join(b.dir, fmt.Sprintf("queue-%03d", b.runs))
	var known []place
	first, err := firstChain(queue)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range sound.calls {
		at, ok := first.place(c.path)
		at.call = c.name
		if ok && !slices.Contains(known, at) {
			known = append(known, at)
		}
	}
	var all []script
	for _, at := range known {
		for _, kind := range kinds {
			if slices.Contains(kind.calls, at.call) {
				all = append(all, script{
					takeover: true, target: at.path,
					inject: &injection{call: at.call, do: kind.do, when: 1},
				})
			}
		}
	}
	if len(all) < takeovers {
		b.t.Fatalf("a takeover gives occasion for %d faults only: %+v", len(all), known)
	}
	return all
}

// place is a file of any queue's first chain, by what it is rather than by its
// random name, and a call on it.
type place struct{ call, dir, file string }

// firstLane and firstProcess stand for the random names.
const (
	firstLane    = "LANE"
	firstProcess = "PROCESS"
)

// chain is the first one of a queue: that of the process that went first.
type chain struct{ lane, process string }

// firstChain reads which it is. Ids sort by the time that they were made.
func firstChain(queue string) (chain, error) {
	var c chain
	for dir, id := range map[string]*string{"lanes": &c.lane, "claims": &c.process} {
		found, err := filepath.Glob(filepath.Join(queue, dir, "*"))
		if err != nil {
			return chain{}, err
		}
		if len(found) == 0 {
			return chain{}, fmt.Errorf("%s: %s is empty: %w", queue, dir, fs.ErrNotExist)
		}
		*id = filepath.Base(slices.Min(found))
	}
	return c, nil
}

var epoch = regexp.MustCompile(`\.0*(\d+)$`)

// place tells which file a path in the queue is; false where its name cannot be
// known before the process starts.
func (c chain) place(path string) (place, bool) {
	path = strings.NewReplacer(c.lane, firstLane, c.process, firstProcess).Replace(path)
	dir, file := filepath.Split(path)
	if n := epoch.FindStringSubmatch(file); n != nil {
		if e, err := strconv.Atoi(n[1]); err != nil || e > 2 {
			return place{}, false // an epoch after that of the takeover
		}
	}
	if strings.HasSuffix(file, ".seg") && file != "00000001.seg" {
		return place{}, false // how many there are differs
	}
	return place{dir: dir, file: file}, path != "" && !random.MatchString(path)
}

// random matches the id of another lane or process.
var random = regexp.MustCompile(`[0-9A-HJKMNP-TV-Z]{26}`)

// path is where the file stands in a queue.
func (at place) path(queue string) (string, error) {
	c, err := firstChain(queue)
	if err != nil {
		return "", err
	}
	name := strings.NewReplacer(firstLane, c.lane, firstProcess, c.process).Replace(at.dir + at.file)
	return filepath.Join(queue, name), nil
}
