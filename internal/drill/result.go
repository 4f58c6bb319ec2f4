package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// Result is the verdict on what a reader of a hub sees.
type Result struct {
	Verdict Verdict
	// Early is how many acknowledged messages were not there yet when the
	// stamps first said that everything was in the hub: 0, where their status
	// is true.
	Early int
	// Status is what the process said of itself in the end, where the verdict
	// is bad, and the end of its log.
	Status string
}

// String is the verdict for a person.
func (r Result) String() string {
	text := r.Verdict.String() + r.Status
	if r.Early > 0 {
		text = fmt.Sprintf("%d messages were not in the hub yet when the status said that none was missing\n", r.Early) + text
	}
	return text
}

// drainLimit is how long forwarding what is left may take, reading it back too.
const drainLimit = 2 * time.Minute

// Judge waits until a process has forwarded all it has, by its own account, and
// judges what a reader of the hub sees. What is missing then is waited for: a
// message that comes late is not lost.
func (b *Binary) Judge(ctx context.Context, l *Ledger, p *Process, hub, topic string) (Result, error) {
	if err := p.WaitDrained(ctx, drainLimit); err != nil {
		return Result{}, err
	}
	return b.judgeDrained(ctx, l, p, hub, topic)
}

// judgeDrained is Judge of processes that have forwarded everything, by their
// own account; p is one of them.
func (b *Binary) judgeDrained(ctx context.Context, l *Ledger, p *Process, hub, topic string) (Result, error) {
	result, err := b.JudgeHub(ctx, l, hub, topic)
	if err == nil && !result.Verdict.OK() {
		result.Status, err = p.statusText(ctx)
	}
	return result, err
}

// JudgeHub judges what a reader of the hub sees of processes that have forwarded
// everything, as their own account was asked for elsewhere.
func (b *Binary) JudgeHub(ctx context.Context, l *Ledger, hub, topic string) (Result, error) {
	first, err := b.read(ctx, l, hub, topic)
	result := Result{Verdict: first, Early: first.Lost.Count}
	if err != nil || first.Lost.Count == 0 {
		return result, err
	}
	for came := time.Now(); time.Since(came) < cmp.Or(b.Late, lateLimit) && result.Verdict.Lost.Count > 0; {
		if err := rest(ctx, latePause); err != nil {
			return result, err
		}
		before := result.Verdict.Lost.Count
		if result.Verdict, err = b.read(ctx, l, hub, topic); err != nil {
			return result, err
		}
		if result.Verdict.Lost.Count < before {
			came = time.Now()
		}
	}
	return result, nil
}

// lateLimit is how long nothing of what is missing may come before it is taken
// for lost, latePause the rest between two looks.
const (
	lateLimit = 30 * time.Second
	latePause = time.Second
)

// read judges what a reader of the hub sees now.
func (b *Binary) read(ctx context.Context, l *Ledger, hub, topic string) (Verdict, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, drainLimit, fmt.Errorf("reading the topic took more than %v", drainLimit))
	defer cancel()
	panel := newPanel(l)
	if err := b.Tail(ctx, hub, topic, func(r Record) error { panel.saw(r); return nil }); err != nil {
		return Verdict{}, errors.Join(err, context.Cause(ctx))
	}
	return panel.verdict()
}
