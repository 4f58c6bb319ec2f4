package forward_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/forward"
	"postroad/internal/kafka"
	"postroad/internal/message"
)

// BenchmarkLateBacklog drains a backlog that is late: alone in its topic, and
// where another stamp has sent as much meanwhile, one in fifty of it copies of
// what is in the backlog. "fresh" is the same backlog without any of it being
// late, so that nothing is read.
func BenchmarkLateBacklog(b *testing.B) {
	for _, c := range []struct {
		name   string
		age    time.Duration
		others bool
	}{{"fresh", 0, false}, {"alone", time.Hour, false}, {"beside", time.Hour, true}} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				lateBacklog(b, c.age, c.others)
			}
		})
	}
}

const lateBacklogSize = 200000

func lateBacklog(b *testing.B, age time.Duration, others bool) {
	b.Helper()
	_, addr := startCluster(b)
	want := aged(laneA, 1, lateBacklogSize, age)
	copies := 0
	if others {
		var records []foreign
		for i, m := range msgs(laneB, 1, lateBacklogSize) {
			m.Time = want[i].Time
			if i%50 == 0 {
				m = twinOf(&want[i], true)
				copies++
			}
			records = append(records, foreign{m: m, produced: time.Now().Add(-age)})
		}
		put(b, addr, records...)
	}
	sink, err := kafka.NewSink(kafkaOptions(addr), kafka.Deps{Stamp: "here"})
	if err != nil {
		b.Fatal(err)
	}
	st := newStore("late")
	st.append(want...)
	reg := prometheus.NewRegistry()
	b.StartTimer()
	began := time.Now()
	f, stop := run(b, forward.DefaultOptions(), forward.Deps{Source: sourceOf(st), Sink: sink, Twins: sink, Registerer: reg})
	last := want[len(want)-1].Place
	if o := f.Board().Await(b.Context(), last, 1); o[0].State != message.StateForwarded {
		b.Fatal(fmt.Sprint(o))
	}
	took := time.Since(began)
	b.StopTimer()
	stop()
	if n := f.Status().DuplicateTotal; n != int64(copies) {
		b.Fatalf("%d of %d copies were left out", n, copies)
	}
	b.ReportMetric(lateBacklogSize/took.Seconds(), "messages/s")
	b.ReportMetric(counterOf(b, reg, "postroad_forward_late_read_records_total"), "read")
}
