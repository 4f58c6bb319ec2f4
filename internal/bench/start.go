package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"postroad/internal/drill"
	"postroad/internal/kafka"
)

// StartOptions say how the start of `postroad dev` is measured.
type StartOptions struct {
	// Binary is the binary to start, Dir a directory on the disk to be
	// measured; what is written goes into a new one below it, which is removed
	// again.
	Binary, Dir string
	// Rounds is how many times it is started in each state of its data.
	Rounds int
	// Messages is how many messages there are in the data that is not fresh.
	Messages int
}

// DefaultStartOptions take about half a minute.
func DefaultStartOptions() StartOptions { return StartOptions{Rounds: 5, Messages: 20_000} }

// Validate reports every option that cannot work.
func (o StartOptions) Validate() error {
	return errors.Join(validSite(o.Binary, o.Dir), within("rounds", o.Rounds, maxRounds), within("messages", o.Messages, 10_000_000))
}

// StartReport is what Start measured.
type StartReport struct {
	Machine Machine      `json:"machine"`
	Options StartOptions `json:"options"`
	// BinaryBytes is the size of the binary.
	BinaryBytes int64 `json:"binary_bytes"`
	// Starts are by the state of the data.
	Starts []StartTimes `json:"starts"`
}

// StartTimes are milliseconds from starting the process.
type StartTimes struct {
	Data string `json:"data"`
	// Listening is when it has said where it listens, Answered when a first
	// message posted to the door is acknowledged, Shown when a reader of the
	// hub has it.
	Listening Figure `json:"listening_ms"`
	Answered  Figure `json:"answered_ms"`
	Shown     Figure `json:"shown_ms"`
}

// The states of the data.
const (
	dataFresh   = "no data"
	dataStopped = "data, stopped before"
	dataKilled  = "data, killed before"
)

// start is a run under way.
type start struct {
	opts   StartOptions
	deps   Deps
	binary drill.Binary
	data   string // filled
	n      int    // starts so far
	times  map[string]*startRounds
}

type startRounds struct{ listening, answered, shown []float64 }

// Start measures how long `postroad dev` takes from its start until a first
// message is at a reader who attached as soon as it listened: on no data, on
// data after a clean stop, and after SIGKILL, in turn.
func Start(ctx context.Context, o StartOptions, d Deps) (report *StartReport, err error) {
	w, err := newWorkplace(o, o.Dir, d)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.remove()) }()
	info, err := os.Stat(o.Binary)
	if err != nil {
		return nil, fmt.Errorf("binary: %w", err)
	}
	s := &start{
		opts: o, deps: w.deps, data: filepath.Join(w.dir, "filled"), times: make(map[string]*startRounds),
		binary: drill.Binary{Path: o.Binary, Dir: w.dir},
	}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	report = &StartReport{Machine: w.machine, Options: o, BinaryBytes: info.Size()}
	for _, state := range []string{dataFresh, dataStopped, dataKilled} {
		t := s.times[state]
		report.Starts = append(report.Starts, StartTimes{state, figureOf(t.listening), figureOf(t.answered), figureOf(t.shown)})
	}
	return report, nil
}

func (s *start) run(ctx context.Context) error {
	if err := s.fill(ctx); err != nil {
		return fmt.Errorf("fill the data: %w", err)
	}
	for range s.opts.Rounds {
		fresh := filepath.Join(s.binary.Dir, fmt.Sprintf("fresh-%d", s.n))
		p, err := s.once(ctx, dataFresh, fresh)
		if err != nil {
			return err
		}
		if err := errors.Join(p.Stop(), os.RemoveAll(fresh)); err != nil {
			return err
		}
		// The process that is measured after a clean stop is killed, and the
		// one measured after that is stopped for the next round.
		if p, err = s.once(ctx, dataStopped, s.data); err != nil {
			return err
		}
		if err := p.Kill(); err != nil {
			return err
		}
		if p, err = s.once(ctx, dataKilled, s.data); err != nil {
			return err
		}
		if err := p.Stop(); err != nil {
			return err
		}
	}
	return nil
}

// devTopic is the topic that `postroad dev` has from the start.
const devTopic = "messages"

// fill makes data with some messages in the hub, and stops cleanly.
func (s *start) fill(ctx context.Context) error {
	p, err := s.binary.Start(ctx, drill.DevArgs(s.data)...)
	if err != nil {
		return err
	}
	err = s.fillFrom(ctx, p)
	if err == nil {
		err = p.WaitDrained(ctx, drainLimit)
	}
	return errors.Join(err, p.Stop())
}

func (s *start) fillFrom(ctx context.Context, p *drill.Process) error {
	c, err := drill.Dial(ctx, p.Addresses.Door)
	if err != nil {
		return err
	}
	defer c.Close()
	line := append(append([]byte(`{"value":"`), bytes.Repeat([]byte{'x'}, valueBytes)...), "\"}\n"...)
	for left := s.opts.Messages; left > 0; left -= batchMessages {
		body := bytes.Repeat(line, min(left, batchMessages))
		if _, err := s.post(ctx, c, p, "application/x-ndjson", body); err != nil {
			return err
		}
	}
	return nil
}

// post posts to the door until it is acknowledged: its probes may not have
// found a stamp yet.
func (s *start) post(ctx context.Context, c *drill.Conn, p *drill.Process, contentType string, body []byte) (time.Time, error) {
	host, err := drill.HostOf(p.Addresses.Door)
	if err != nil {
		return time.Time{}, err
	}
	request := drill.AppendPost(nil, host, "/v1/topics/"+devTopic+"/messages", contentType, nil, body)
	var refused error
	err = drill.Until(ctx, patience, "the door takes a message", func() (bool, error) {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return false, err
		}
		a, err := c.Do(request)
		if err != nil {
			return false, err
		}
		if drill.Judged(a.Status) != drill.Acknowledged {
			refused = fmt.Errorf("answer %d: %.300s", a.Status, a.Body)
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return time.Time{}, errors.Join(err, refused)
	}
	return time.Now(), nil
}

// once starts the process on data in a state and measures. The caller ends the
// process.
func (s *start) once(ctx context.Context, state, data string) (*drill.Process, error) {
	s.n++
	p, err := s.binary.Start(ctx, drill.DevArgs(data)...)
	if err != nil {
		return nil, err
	}
	listening := time.Now()
	answered, shown, err := s.firstMessage(ctx, p)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w; the log ends:\n%s", state, err, p.LogTail()), p.Kill())
	}
	t := s.times[state]
	if t == nil {
		t = &startRounds{}
		s.times[state] = t
	}
	since := func(at time.Time) float64 { return float64(milliseconds(at.Sub(p.Started))) }
	t.listening = append(t.listening, since(listening))
	t.answered = append(t.answered, since(answered))
	t.shown = append(t.shown, since(shown))
	s.deps.Progress("%s: listening after %.0f ms, first message shown after %.0f ms", state, since(listening), since(shown))
	return p, nil
}

// firstMessage attaches a reader, posts a message and waits until the reader
// has it.
func (s *start) firstMessage(ctx context.Context, p *drill.Process) (answered, shown time.Time, err error) {
	opts := kafka.DefaultOptions()
	opts.Brokers = []string{p.Addresses.Hub}
	r, err := kafka.NewReader(opts, kafka.Deps{})
	if err != nil {
		return answered, shown, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no message shown within %v", patience))
	defer cancel()
	c, err := drill.Dial(ctx, p.Addresses.Door)
	if err != nil {
		return answered, shown, err
	}
	defer c.Close()
	value := fmt.Appendf(nil, "first message of start %d", s.n)
	posted := make(chan error, 1)
	errShown := errors.New("shown")
	err = r.Follow(ctx, kafka.FollowOptions{Topic: devTopic, From: kafka.FromEnd(), Ready: func() {
		go func() {
			var err error
			answered, err = s.post(ctx, c, p, "text/plain", value)
			if err != nil {
				cancel()
			}
			posted <- err
		}()
	}}, func(r kafka.Record) error {
		if !bytes.Equal(r.Value, value) {
			return fmt.Errorf("a message nobody sent: %.40q", r.Value)
		}
		shown = time.Now()
		return errShown
	})
	if !errors.Is(err, errShown) {
		return answered, shown, errors.Join(err, context.Cause(ctx))
	}
	return answered, shown, <-posted
}

// Targets of P1.
const (
	startTargetMS  = 2000
	binaryTargetMB = 60
)

// Goals compares the report with the targets.
func (r *StartReport) Goals() []Goal {
	var goals []Goal
	for _, s := range r.Starts {
		goals = append(goals, atMost("P1, "+s.Data+": start to first message shown", startTargetMS, s.Shown.Median, "ms"))
	}
	return append(goals, atMost("P1: size of the binary", binaryTargetMB, float64(r.BinaryBytes)/1e6, "MB"))
}

// Write prints the report as Markdown tables.
func (r *StartReport) Write(w io.Writer) error {
	p := &printer{w: w}
	p.machine(r.Machine)
	p.f("%d starts of `postroad dev` in each state, in turn; milliseconds from the start of the process, median (least–most).\n", r.Options.Rounds)
	p.f("The binary has %.1f MB; data is %d messages of %d B in the hub.\n\n", float64(r.BinaryBytes)/1e6, r.Options.Messages, valueBytes)
	var rows [][]string
	for _, s := range r.Starts {
		rows = append(rows, []string{s.Data, spread(s.Listening, "%.0f"), spread(s.Answered, "%.0f"), spread(s.Shown, "%.0f")})
	}
	p.table([]string{"", "listening", "first message acknowledged", "first message shown"}, rows)
	p.goals(r.Goals())
	return p.err
}
