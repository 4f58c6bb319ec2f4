package queue

import (
	"errors"
	"testing"

	"postroad/internal/message"
)

// How full a queue is: by what waits, by its quota, by what others leave it of the
// disk, and full where it refuses.
func TestFullness(t *testing.T) {
	const mib = 1 << 20
	for name, test := range map[string]struct {
		quota, free, waiting int64
		unknown, refuses     bool
		want                 float64
	}{
		"nothing waits":                        {free: 1000 * mib},
		"as much waits as there is room":       {free: 564 * mib, waiting: 500 * mib, want: 0.5},
		"history takes what room there is":     {free: 256 * mib},
		"half-way to the reserve":              {free: 160 * mib, want: 0.5},
		"nothing but the reserve":              {free: 64 * mib, want: 1},
		"less than the reserve":                {free: 10 * mib, want: 1},
		"a quarter of the quota":               {quota: 1128 * mib, free: 100_000 * mib, waiting: 250 * mib, want: 0.25},
		"more than the quota":                  {quota: 512 * mib, free: 100_000 * mib, waiting: 500 * mib, want: 1},
		"the disk is nearer than the quota":    {quota: 1 << 40, free: 564 * mib, waiting: 500 * mib, want: 0.5},
		"the file system does not say":         {unknown: true, waiting: 500 * mib},
		"the quota does, the disk does not":    {quota: 1128 * mib, unknown: true, waiting: 500 * mib, want: 0.5},
		"it refuses, whatever the numbers say": {free: 1000 * mib, refuses: true, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			q := &Queue{opts: DefaultOptions()}
			q.opts.QuotaBytes = test.quota
			q.deps.Part = Writes
			q.setTrouble(errors.New("no lane"))
			if test.refuses {
				q.setTrouble(asFull(message.ErrFull))
			}
			s := Status{UnforwardedBytes: test.waiting, DiskFreeBytes: test.free, DiskTotalBytes: 1 << 42}
			if test.unknown {
				s.DiskTotalBytes = 0
			}
			if got := q.fullness(s); got < test.want-0.01 || got > test.want+0.01 {
				t.Errorf("%.3f, want %.3f", got, test.want)
			}
		})
	}
}
