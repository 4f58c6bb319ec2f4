package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// ledger is what a test knows of a queue from its answers alone. Values are
// unique, and appended one group after the other.
type ledger struct {
	groups []answered
	// order is the place of each value in the order of appending; those that
	// were appended at the same time share one.
	order map[string]int
	steps int
	group map[string]int // by value
	// places is where each value was seen, by an answer or by a reader.
	places map[string]message.Place
	// settled and maybe are the next seq of each lane as saved, by a Save
	// that returned nil and by any.
	settled, maybe map[string]uint64
}

// answered is one Append and its answer.
type answered struct {
	values []string
	err    error
}

func newLedger() *ledger {
	return &ledger{
		order: map[string]int{}, group: map[string]int{}, places: map[string]message.Place{},
		settled: map[string]uint64{}, maybe: map[string]uint64{},
	}
}

// append stores a group of messages under the values and notes the answer.
func (l *ledger) append(ctx context.Context, q *queue.Queue, values ...string) error {
	l.steps++
	p, err := store(ctx, q, values)
	l.note(values, p, err)
	return err
}

func store(ctx context.Context, q *queue.Queue, values []string) (message.Place, error) {
	msgs := make([]message.Message, 0, len(values))
	for _, v := range values {
		msgs = append(msgs, msg(v))
	}
	return q.Append(ctx, msgs)
}

// note keeps the answer to one group.
func (l *ledger) note(values []string, p message.Place, err error) {
	for i, v := range values {
		l.order[v], l.group[v] = l.steps, len(l.groups)
		if err == nil {
			l.places[v] = message.Place{Lane: p.Lane, Seq: p.Seq + uint64(i)}
		}
	}
	l.groups = append(l.groups, answered{values, err})
}

// burst appends groups at the same time, so that one sync is for several.
// between is called when the first is being synced and all others wait.
func (l *ledger) burst(ctx context.Context, q *queue.Queue, disk *faultfs.FS, groups [][]string, between func()) {
	l.steps++
	hold := make(chan struct{})
	heal := disk.When(syncs(segments), faultfs.Delay(func(faultfs.Op) { <-hold }))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, values := range groups {
		wg.Go(func() {
			p, err := store(ctx, q, values)
			mu.Lock()
			defer mu.Unlock()
			l.note(values, p, err)
		})
		if i == 0 {
			synctest.Wait()
		}
	}
	synctest.Wait()
	heal()
	between()
	close(hold)
	wg.Wait()
}

// save marks everything of the lane below next as settled.
func (l *ledger) save(ctx context.Context, c *queue.Claim, p message.Progress) error {
	err := c.Save(ctx, p)
	for _, lane := range p.Lanes {
		l.maybe[lane.Lane] = max(l.maybe[lane.Lane], lane.Next)
		if err == nil {
			l.settled[lane.Lane] = max(l.settled[lane.Lane], lane.Next)
		}
	}
	return err
}

// surelyNot reports whether an error says that nothing was stored.
func surelyNot(err error) bool {
	return errors.Is(err, message.ErrNotStored) || errors.Is(err, message.ErrFull) ||
		errors.Is(err, message.ErrTooLarge) || errors.Is(err, message.ErrInvalid)
}

// check holds what was drained, chain by chain, against the answers.
func (l *ledger) check(chains [][]message.Stored) error {
	drained := map[string]message.Place{}
	for _, chain := range chains {
		last := -1
		for _, m := range chain {
			v := string(m.Value)
			at, known := l.order[v]
			if !known {
				return fmt.Errorf("%q was drained and never appended", short(v))
			}
			if _, twice := drained[v]; twice {
				return fmt.Errorf("%q was drained twice", short(v))
			}
			if at < last {
				return fmt.Errorf("%q was drained out of order", short(v))
			}
			if p, ok := l.places[v]; ok && p != m.Place {
				return fmt.Errorf("%q is at %v, was at %v", short(v), m.Place, p)
			}
			if m.Seq < l.settled[m.Lane] {
				return fmt.Errorf("%q was drained again: seq %d of a lane settled below %d", short(v), m.Seq, l.settled[m.Lane])
			}
			drained[v], last = m.Place, at
		}
	}
	for _, g := range l.groups {
		if err := l.checkGroup(g, drained); err != nil {
			return err
		}
	}
	for v, p := range drained {
		l.places[v] = p
	}
	return nil
}

// checkChain drains a chain that is offered and holds it against the answers.
func (l *ledger) checkChain(t *testing.T, q *queue.Queue) {
	t.Helper()
	msgs, err := drainChain(claim(t, q), false)
	if err == nil {
		err = l.check([][]message.Stored{msgs})
	}
	if err != nil {
		t.Error(err)
	}
}

func (l *ledger) checkGroup(g answered, drained map[string]message.Place) error {
	var out, missing []string
	for _, v := range g.values {
		p, placed := l.places[v]
		if _, ok := drained[v]; ok {
			out = append(out, short(v))
		} else if !placed || p.Seq >= l.maybe[p.Lane] {
			missing = append(missing, short(v))
		}
	}
	switch {
	case g.err == nil && len(missing) > 0:
		return fmt.Errorf("acknowledged and lost: %q at %v", missing, l.places[g.values[slices.IndexFunc(g.values, func(v string) bool { return short(v) == missing[0] })]])
	case surelyNot(g.err) && len(out) > 0:
		return fmt.Errorf("drained %q, although the answer was: %w", out, g.err)
	case g.err != nil && !surelyNot(g.err) && !errors.Is(g.err, message.ErrOutcomeUnknown):
		return fmt.Errorf("an answer of no class: %w", g.err)
	case len(out) > 0 && len(missing) > 0:
		return fmt.Errorf("half a group: %q without %q", out, missing)
	}
	return nil
}

func short(v string) string {
	head, _, _ := strings.Cut(v, " ")
	return head
}

// fill makes a value of n bytes that begins with name.
func fill(name string, n int) string { return name + " " + strings.Repeat("x", max(0, n-len(name)-1)) }

// onDisk are the collaborators of a queue on fsys, with the clocks of the bubble
// that the test runs in: nothing there waits for real time.
func onDisk(fsys durable.FS, log *slog.Logger) queue.Deps {
	began := time.Now()
	return queue.Deps{FS: fsys, Log: log, Now: time.Now, Elapsed: func() time.Duration { return time.Since(began) }}
}

var silent = slog.New(slog.DiscardHandler)

// run runs a queue until the function that is returned is called.
func run(q *queue.Queue) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- q.Run(ctx) }()
	return func() {
		cancel()
		<-done
		_ = q.Close() // what remains is the heartbeat
	}
}

// drainAll opens a queue in a new process and takes out all it holds, chain by
// chain, until none is offered for longer than a takeover can take. settle
// marks what was read as forwarded.
func drainAll(fsys durable.FS, o queue.Options, settle bool) ([][]message.Stored, error) {
	q, err := queue.Open(o, onDisk(fsys, silent))
	if err != nil {
		return nil, fmt.Errorf("reopen: %w", err)
	}
	defer run(q)()
	return drainChains(q, settle)
}

func drainChains(q *queue.Queue, settle bool) (chains [][]message.Stored, err error) {
	seen := map[string]bool{}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		c, err := q.Claim(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return chains, nil
		}
		if err != nil {
			return nil, fmt.Errorf("claim: %w", err)
		}
		if seen[c.ID()] { // only the process's own comes again
			return chains, c.Release(context.Background())
		}
		seen[c.ID()] = true
		msgs, err := drainChain(c, settle)
		if err != nil {
			return nil, err
		}
		chains = append(chains, msgs)
	}
}

// drainChain takes out what a chain holds. A chain that is not over, which is
// the process's own, is kept claimed.
func drainChain(c *queue.Claim, settle bool) (all []message.Stored, err error) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		msgs, err := c.Next(ctx, 100)
		cancel()
		if errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("next: %w", err)
		}
		all = append(all, msgs...)
	}
	if settle {
		if err := c.Save(context.Background(), upTo(all)); err != nil {
			return nil, fmt.Errorf("save: %w", err)
		}
		if err := c.Release(context.Background()); err != nil {
			return nil, fmt.Errorf("release: %w", err)
		}
	}
	return all, nil
}

// upTo is the progress of one who has forwarded msgs.
func upTo(msgs []message.Stored) message.Progress {
	var p message.Progress
	for _, m := range msgs {
		if n := len(p.Lanes); n == 0 || p.Lanes[n-1].Lane != m.Lane {
			p.Lanes = append(p.Lanes, message.LaneProgress{Lane: m.Lane})
		}
		p.Lanes[len(p.Lanes)-1].Next = m.Seq + 1
	}
	return p
}

// report is the part of a quarantine/*.json that tests look at.
type report struct {
	name     string
	Lane     string `json:"lane"`
	Segment  uint64 `json:"segment"`
	Offset   int64  `json:"offset"`
	Bytes    int    `json:"bytes"`
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
	Kind     string `json:"kind"`
	Reason   string `json:"reason"`
	content  []byte
}

// reports reads what was set aside.
func reports(t testing.TB, fsys durable.FS, dir string) []report {
	t.Helper()
	entries, err := fsys.ReadDir(path.Join(dir, "quarantine"))
	if err != nil {
		t.Fatal(err)
	}
	var all []report
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		text, err := durable.ReadFile(fsys, path.Join(dir, "quarantine", e.Name()), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		r := report{name: name}
		if err := json.Unmarshal(text, &r); err != nil {
			all = append(all, report{name: name, Kind: "cut short"})
			continue
		}
		if r.content, err = durable.ReadFile(fsys, path.Join(dir, "quarantine", name+".bytes"), 1<<30); err != nil {
			t.Errorf("%s: %v", e.Name(), err)
		}
		if len(r.content) != r.Bytes {
			t.Errorf("%s: says %d bytes, %d stand beside it", e.Name(), r.Bytes, len(r.content))
		}
		all = append(all, r)
	}
	return all
}
