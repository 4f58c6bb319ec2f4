package simulation

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/stream/live"
)

// streamSeed is what a run with stream nodes came to.
type streamSeed struct {
	err    error
	log    string
	counts streamCounts
}

// simulateStreams plays one seed with stream nodes over the hub: first what the
// stamps promise is judged, then what viewers were shown.
func simulateStreams(t *testing.T, seed uint64, sabotage streamSabotage) (v streamSeed) {
	synctest.Test(t, func(*testing.T) {
		w := newWorld(seed, ordinary(seed))
		s := newStreams(w, sabotage)
		settle := s.start()
		w.play()
		settle()
		if _, v.err = w.judge(); v.err == nil {
			v.counts, v.err = s.judge()
		}
		v.log = w.log.String()
	})
	return v
}

// ordinary is what happens to the stamps while viewers look: mostly what has
// messages stored twice, or come late. One seed in five has partitions added, from
// where on keys stand in several and hardly anything can be recovered.
func ordinary(seed uint64) sabotage {
	return sabotage{options: func(p *plan) {
		p.upsets = []disturbance{{3, cutFromHub}, {2, hubOutage}, {1, holdTopic}, {4, pauseGateway}, {3, pauseForwarder}, {3, killProcess}, {2, shareFault}}
		if seed%5 == 0 {
			p.upsets = append(p.upsets, disturbance{2, addPartition})
		}
	}}
}

// manyStreams plays seeds, and fails with the log of the first that goes wrong.
func manyStreams(t *testing.T, n uint64) {
	first, n := seeds(t, n)
	var sum streamCounts
	for seed := first; seed < first+n; seed++ {
		v := simulateStreams(t, seed, streamSabotage{})
		sum.add(v.counts)
		if v.err != nil {
			t.Logf("%s", v.log)
			t.Fatalf("POSTROAD_SIMULATION_SEED=%d: %v", seed, v.err)
		}
	}
	t.Logf("%d seeds: %v", n, sum)
	if n > 1 && sum.recovered == 0 {
		t.Error("nobody was ever recovered: the runs show nothing")
	}
}

// Viewers are shown what was acknowledged, each message once, in the order of
// their partition, whichever nodes they come from and go to; or are told.
func TestSimulationStream(t *testing.T) { manyStreams(t, 3) }

// caughtStream looks for a seed that shows the sabotage, by the words of the
// judge.
func caughtStream(t *testing.T, most uint64, s streamSabotage, words ...string) {
	t.Helper()
	caughtBy(t, most, func(seed uint64) (string, error) {
		v := simulateStreams(t, seed, s)
		return v.log, v.err
	}, words...)
}

// Nodes that do not look for duplicates.
func TestTwinStreamWithoutWindow(t *testing.T) {
	caughtStream(t, 40, streamSabotage{options: func(o *live.Options) { o.Window = 0 }}, twice)
}

// Nodes that go on where they are, with a viewer who has seen more.
func TestTwinStreamWithoutFloor(t *testing.T) {
	caughtStream(t, 40, streamSabotage{subscribe: func(ctx context.Context, e *live.Engine, r live.Request) (*live.Subscription, error) {
		at, err := e.Positions(r.Subject)
		if err != nil {
			return nil, err
		}
		for _, own := range at {
			for i := range r.Since {
				if r.Since[i].Partition == own.Partition {
					r.Since[i].Next = min(r.Since[i].Next, own.Next)
				}
			}
		}
		return e.Subscribe(ctx, r)
	}}, twice)
}

// forgetfulLog hides which messages stand in the look-back: below where the topic
// ended when following began, and in the first W offsets of a scan.
type forgetfulLog struct{ *streamLog }

func (l forgetfulLog) Follow(ctx context.Context, topic string, from []int64, fn func(*live.Batch) error) error {
	bounds := l.s.bounds(topic)
	return l.streamLog.Follow(ctx, topic, from, func(b *live.Batch) error {
		if int(b.Partition) < len(bounds) {
			forget(b.Records, bounds[b.Partition].End)
		}
		return fn(b)
	})
}

func (l forgetfulLog) Scan(ctx context.Context, topic string, p int32, from, to int64, fn func([]live.Record) error) error {
	return l.streamLog.Scan(ctx, topic, p, from, to, func(rs []live.Record) error {
		forget(rs, from+window)
		return fn(rs)
	})
}

func forget(rs []live.Record, below int64) {
	for i := range rs {
		rs[i].HasID = rs[i].HasID && rs[i].Offset >= below
	}
}

// Nodes that look back nowhere.
func TestTwinStreamWithoutLookBack(t *testing.T) {
	caughtStream(t, 40, streamSabotage{log: func(l *streamLog) live.Log { return forgetfulLog{l} }}, twice)
}

// gappyLog loses a piece of what is followed now and then.
type gappyLog struct{ *streamLog }

func (l gappyLog) Follow(ctx context.Context, topic string, from []int64, fn func(*live.Batch) error) error {
	began := time.Now()
	return l.streamLog.Follow(ctx, topic, from, func(b *live.Batch) error {
		if n := len(b.Records); n > 3 && time.Since(began) > 5*time.Second {
			b.Records = b.Records[:n-1]
		}
		return fn(b)
	})
}

// Nodes that miss a record.
func TestTwinStreamWithGaps(t *testing.T) {
	caughtStream(t, 40, streamSabotage{log: func(l *streamLog) live.Log { return gappyLog{l} }}, lost, "last value")
}
