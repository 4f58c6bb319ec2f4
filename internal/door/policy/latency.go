package policy

import (
	"math/bits"
	"time"
)

// latency estimates, for one origin, a quantile of how long answers take to begin
// and whether they take longer than they used to. It counts in buckets that grow
// by a fourth of a doubling, so that an estimate is at most 19 % too high, and
// halves the counts now and then, so that it follows what happens.
type latency struct {
	buckets [latencyBuckets]uint32
	total   uint32
	seen    uint64
	// Moving means of the bucket number: recent over about 16 answers, usual over
	// about 256.
	recent, usual float64
	// late says of the last 8 answers, a bit each, whether they took longer than
	// the delay of a hedge.
	late uint8
}

const (
	latencyBuckets = 96
	latencyUnit    = 64 * time.Microsecond // what the first bucket ends at
	halveAt        = 4096

	// fewest is how many answers an estimate takes.
	fewest = 20
	// slowBy is how many buckets above what is usual is slow: a factor of 2.8.
	slowBy = 6
	// slowFor is how long that is believed without another answer.
	slowFor = 2 * time.Second
)

// bucketOf returns the number of the bucket of d: 4 for each doubling.
func bucketOf(d time.Duration) int {
	x := uint64(max(d, 0) / (latencyUnit / 8)) // 8 is the first bucket's upper end
	if x < 8 {
		return 0
	}
	top := bits.Len64(x) - 1 // at least 3
	quarter := int(x>>(top-2)) & 3
	return min((top-3)*4+quarter+1, latencyBuckets-1)
}

// bucketEnd is the upper end of a bucket.
func bucketEnd(b int) time.Duration {
	if b == 0 {
		return latencyUnit
	}
	b-- // the bucket before it ends at (4+quarter)/4 of a power of two
	return latencyUnit << (b / 4) * time.Duration(5+b%4) / 4
}

// add counts one answer and reports whether it is time to look at the quantile
// again.
func (l *latency) add(took time.Duration) bool {
	b := bucketOf(took)
	l.buckets[b]++
	l.total++
	l.seen++
	if l.total >= halveAt {
		l.total = 0
		for i := range l.buckets {
			l.buckets[i] /= 2
			l.total += l.buckets[i]
		}
	}
	x := float64(b)
	l.recent += (x - l.recent) * max(1.0/16, 1/float64(l.seen))
	l.usual += (x - l.usual) * max(1.0/256, 1/float64(l.seen))
	return l.seen%16 == 0 || l.seen == fewest
}

// slow reports whether answers take much longer than usual, after one that was
// late or not. The mean needs some answers to see it; those that come after the
// delay of a hedge, which at the quantile q is rare, show it before.
func (l *latency) slow(late bool, q float64) bool {
	l.late <<= 1
	if late {
		l.late |= 1
	}
	return l.seen >= fewest && (l.recent-l.usual >= slowBy || bits.OnesCount8(l.late) >= 2+int(16*(1-q)))
}

// delay is how long to wait before a hedge.
func (l *latency) delay(h *Hedge) time.Duration {
	if l.seen < fewest {
		return h.Start
	}
	q := float64(l.quantile(h.Quantile)) * h.Factor
	if !(q < float64(h.Most)) {
		return h.Most
	}
	return max(h.Least, time.Duration(q))
}

func (l *latency) quantile(q float64) time.Duration {
	want := q * float64(l.total)
	sum := 0.0
	for b, n := range l.buckets {
		sum += float64(n)
		if sum >= want && n > 0 {
			return bucketEnd(b)
		}
	}
	return bucketEnd(latencyBuckets - 1)
}
