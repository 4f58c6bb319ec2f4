package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// SpreadReport is what became of the clients of one node that was killed.
type SpreadReport struct {
	StreamReport
	// Cut is how many clients the node had.
	Cut int
	// Back and Complete are how long after the kill the last of them was
	// subscribed again, and the last client had all that was acknowledged by
	// the time when everyone was back.
	Back, Complete time.Duration
	// Dials are how many connections were made again in each piece of time after
	// the kill, Subscribed how many clients were subscribed again.
	Dials, Subscribed []int
	// Bucket is how long such a piece is.
	Bucket time.Duration
}

// Spike is the most connections that were made in one piece of time, against the
// mean of those from the first to the last in which any were.
func (r SpreadReport) Spike() float64 {
	first := slices.IndexFunc(r.Dials, func(n int) bool { return n > 0 })
	if first < 0 {
		return 0
	}
	used, sum := r.Dials[first:], 0
	for _, n := range used {
		sum += n
	}
	return float64(slices.Max(used)) * float64(len(used)) / float64(sum)
}

// String is the report for a person.
func (r SpreadReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "a node with %d of the clients was killed: all were back after %.2f s and complete after %.2f s; the most connections in %v were %.2f times the mean",
		r.Cut, r.Back.Seconds(), r.Complete.Seconds(), r.Bucket, r.Spike())
	histogram(&b, "connected", r.Dials)
	histogram(&b, "subscribed", r.Subscribed)
	return b.String() + "\n" + r.StreamReport.String()
}

func histogram(b *strings.Builder, what string, counts []int) {
	fmt.Fprintf(b, "\n%s after seconds:", what)
	for i, n := range counts {
		if n > 0 {
			fmt.Fprintf(b, " %.2f: %d", (time.Duration(i) * spreadBucket).Seconds(), n)
		}
	}
}

// spreadBucket is how finely it is looked at when clients come back.
const spreadBucket = 250 * time.Millisecond

// Spread kills one node of several and looks at when its clients are back and
// complete, at those of the other nodes, too.
func Spread(ctx context.Context, o StreamOptions) (report SpreadReport, err error) {
	began := time.Now()
	a, err := newAudience(ctx, o)
	if err != nil {
		return SpreadReport{}, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	if err = a.watch(ctx); err == nil {
		err = a.loaded(ctx, func(ctx context.Context) error { return a.killOne(ctx, &report) })
	}
	if err == nil {
		err = a.judge(ctx)
	}
	a.report.Took = time.Since(began)
	a.sum()
	report.StreamReport = a.report
	return report, err
}

// killOne kills a node while the load runs.
func (a *audience) killOne(ctx context.Context, report *SpreadReport) error {
	if err := rest(ctx, a.Rest); err != nil {
		return err
	}
	victim := a.nodes.addresses()[0]
	report.Cut = a.nodes.balancer.Open(victim)
	killed := time.Now()
	a.report.Killed++
	if err := a.nodes.kill(victim); err != nil {
		return err
	}
	err := Until(ctx, 2*startTimeout, "every client is back", func() (bool, error) {
		return len(a.stats.since(killed)) >= report.Cut && a.stats.count() == a.Clients, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %d of %d are\n%s", err, len(a.stats.since(killed)), report.Cut, a.failures())
	}
	by := time.Now()
	report.Bucket = spreadBucket
	for _, b := range a.stats.since(killed) {
		report.Back = max(report.Back, b.at.Sub(killed))
		report.Subscribed = bucket(report.Subscribed, b.at.Sub(killed))
	}
	for _, at := range a.stats.dialledSince(killed) {
		report.Dials = bucket(report.Dials, at.Sub(killed))
	}
	if err := a.caughtUp(ctx, by); err != nil {
		return err
	}
	report.Complete = time.Since(killed)
	return rest(ctx, a.Rest)
}

// bucket counts one more at a time after the kill.
func bucket(counts []int, after time.Duration) []int {
	i := int(after / spreadBucket)
	counts = append(counts, make([]int, max(0, i+1-len(counts)))...)
	counts[i]++
	return counts
}

// caughtUp waits until every client of one key has all that was acknowledged by
// a time. Those of partitions are left to the verdict: what they are due is
// known only once the hub was read.
func (a *audience) caughtUp(ctx context.Context, by time.Time) error {
	origins, due := a.load.whole(), make(map[string][]int32)
	for _, p := range a.ledger.acknowledged(by) {
		if o := origins[p]; o.hasKey {
			due[o.key] = append(due[o.key], a.prints.id(p))
		}
	}
	waiting := slices.DeleteFunc(slices.Clone(a.views), func(v *view) bool { return v.subject.all || v.subject.key == nil })
	return Until(ctx, 2*startTimeout, "every client is complete", func() (bool, error) {
		waiting = slices.DeleteFunc(waiting, func(v *view) bool { return v.has(due[string(v.subject.key)]) })
		return len(waiting) == 0, nil
	})
}

// has reports whether all of some messages were seen.
func (v *view) has(ids []int32) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	seen := make(map[int32]bool, len(v.seen))
	for _, id := range v.seen {
		seen[id] = true
	}
	return !slices.ContainsFunc(ids, func(id int32) bool { return !seen[id] })
}
