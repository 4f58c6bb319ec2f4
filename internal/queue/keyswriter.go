package queue

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const (
	// keyFlushInterval is how often keys are written.
	keyFlushInterval = time.Second
	// keyCoverBytes is how much of a lane may be without a key and without a
	// word of it in a key file, and keyCoverAtEnd how much when the lane ends:
	// about what a process that starts later has to read again.
	keyCoverBytes = 4 << 20
	keyCoverAtEnd = 256 << 10
	// keyMostPending bounds the keys that wait to be written, at 72 bytes
	// each. Beyond it those that wait are dropped.
	keyMostPending = 1 << 16
	// keyRetryAfter is how long no key is written after an error.
	keyRetryAfter = 10 * time.Second
	// keySweepInterval is how often old key files are looked for.
	keySweepInterval = 10 * time.Minute
)

// keyLog writes the keys of this process's lanes to key files, off the way of
// an acknowledgement: the committer only hands them over. Whatever goes wrong
// here costs that keys are read from the lane's segments later, or, where those
// are gone, that a repeat is stored again; it never fails or delays a request.
type keyLog struct {
	q    *Queue
	kick chan struct{}

	mu sync.Mutex
	// lanes are those with something to write, in order; the last one may be
	// growing. Guarded by mu.
	lanes []*laneKeys
	// own are all lanes that this process has written. Guarded by mu.
	own map[string]bool
	// covered says of lanes up to which seq coverKeys found key files to go.
	// Guarded by coverMu, which is held over I/O.
	coverMu sync.Mutex
	covered map[string]uint64

	// file and retryAt, until when nothing is written after an error, are owned
	// by loop.
	file    keyFileWriter
	retryAt time.Time

	unwritten prometheus.Counter
	damaged   prometheus.Counter
}

// laneKeys is what is to be written of one lane.
type laneKeys struct {
	lane string
	// from and to are the seqs behind and up to which the records are all there.
	from, to uint64
	records  []keyRecord
	// bytes is how much was appended to the lane, told how much of it when a
	// block was last written.
	bytes, told int64
	// ended says that nothing will be added.
	ended bool
}

func newKeyLog(q *Queue) *keyLog {
	f := promauto.With(q.deps.Registerer)
	return &keyLog{
		q: q, kick: make(chan struct{}, 1), own: make(map[string]bool), covered: make(map[string]uint64),
		unwritten: f.NewCounter(prometheus.CounterOpts{
			Name: "postroad_queue_unwritten_keys_total", Help: "Idempotency keys that could not be written to a key file; they are read from the lane where that is still there.",
		}),
		damaged: f.NewCounter(prometheus.CounterOpts{
			Name: "postroad_queue_damaged_key_blocks_total", Help: "Parts of key files that could not be read; their keys are read from the lane where that is still there.",
		}),
	}
}

// committed takes note of requests that were acknowledged. Called by the
// committer, after the fence was checked.
func (k *keyLog) committed(w *writer, requests []*request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.laneOf(w.lane.id)
	for _, r := range requests {
		if r.key != nil {
			r.key.seq = r.place.Seq
			l.records = append(l.records, *r.key)
		}
	}
	l.to, l.bytes = w.next-1, w.bytes
	if len(l.records) > keyMostPending { // nobody writes: a gap
		k.unwritten.Add(float64(len(l.records)))
		l.records, l.from = nil, l.to
	}
	if len(l.records) >= keyBlockKeys {
		select {
		case k.kick <- struct{}{}:
		default:
		}
	}
}

// laneOf returns the lane that grows. Called with mu held.
func (k *keyLog) laneOf(id string) *laneKeys {
	n := len(k.lanes)
	if n > 0 && k.lanes[n-1].lane == id {
		return k.lanes[n-1]
	}
	if n > 0 {
		k.lanes[n-1].ended = true
	}
	l := &laneKeys{lane: id}
	k.lanes = append(k.lanes, l)
	k.own[id] = true
	return l
}

// isOwn reports whether this process has written to the lane.
func (k *keyLog) isOwn(lane string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.own[lane]
}

// loop writes keys and removes old files until stop is closed, which comes after
// the last commit.
func (k *keyLog) loop(stop <-chan struct{}) {
	flush, sweep := time.NewTicker(keyFlushInterval), time.NewTicker(keySweepInterval)
	defer flush.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-flush.C:
			k.flush(false)
		case <-k.kick:
			k.flush(false)
		case <-sweep.C:
			k.sweep()
		case <-stop:
			k.flush(true)
			if err := k.file.close(k.q); err != nil {
				k.q.deps.Log.Warn("key file may not be on stable storage", "err", err)
			}
			return
		}
	}
}

// flush writes what waits; last says that nothing will come after it.
func (k *keyLog) flush(last bool) {
	if !last && k.q.deps.Now().Before(k.retryAt) {
		return
	}
	for {
		b, more := k.take(last)
		if b.lane == "" {
			return
		}
		if err := k.file.write(k.q, b.lane, keyBlock{from: b.from, to: b.to, records: b.records}); err != nil {
			k.unwritten.Add(float64(len(b.records)))
			k.q.deps.Log.Warn("idempotency keys not written, a later process reads them from the lane", "lane", b.lane, "keys", len(b.records), "err", err)
			k.retryAt = k.q.deps.Now().Add(keyRetryAfter)
			if !last {
				return
			}
		}
		if !more {
			return
		}
	}
}

// take returns what is to be written next; no lane where there is nothing. Lanes
// that ended and have nothing left are forgotten.
func (k *keyLog) take(last bool) (b laneKeys, more bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, l := range k.lanes {
		silent, ending := l.bytes-l.told, l.ended || last
		worth := len(l.records) > 0 || silent >= keyCoverBytes ||
			ending && l.to > l.from && (silent >= keyCoverAtEnd || k.file.name.lane == l.lane)
		if !worth {
			continue
		}
		b = *l
		l.from, l.records, l.told = l.to, nil, l.bytes
		more = i+1 < len(k.lanes)
		break
	}
	k.lanes = slices.DeleteFunc(k.lanes, func(l *laneKeys) bool { return l.ended && len(l.records) == 0 })
	return b, more
}

// roomForKeys keeps key files out of the reserve: on a full disk it is messages
// and progress that need it.
func (q *Queue) roomForKeys(n int64) error {
	space, err := q.deps.FS.Space(q.opts.Dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", q.opts.Dir, err)
	}
	if space.Free < n+q.opts.ReserveBytes {
		return fmt.Errorf("%d bytes free, %d and the reserve of %d are needed", space.Free, n, q.opts.ReserveBytes)
	}
	return nil
}

// sweep removes key files in which every key is older than Deps.KeysRetain: those
// of this process's lanes, and those of lanes that are gone. Those of other lanes
// stay, since they save the next process from reading what is long expired. A
// file's age is in its name.
func (k *keyLog) sweep() {
	files, err := k.q.keyFiles()
	if err != nil {
		k.q.deps.Log.Warn("old key files not removed", "err", err)
		return
	}
	oldest := k.q.deps.Now().Add(-k.q.deps.KeysRetain - keyFileSpan)
	var kept map[string]bool
	for _, f := range files {
		if !f.begun().Before(oldest) || f == k.file.name {
			continue
		}
		if !k.isOwn(f.lane) {
			if kept == nil {
				if kept, err = k.q.laneNames(); err != nil {
					k.q.deps.Log.Warn("old key files not removed", "err", err)
					return
				}
			}
			if kept[f.lane] {
				continue
			}
		}
		if err := k.q.deps.FS.Remove(f.path(k.q.at)); err != nil && !missing(err) {
			k.q.deps.Log.Warn("old key file not removed", "file", f.name(), "err", err)
		}
	}
}

// laneNames lists the lanes that there are. On a share the list may be old: no
// more than keys may hang on it.
func (q *Queue) laneNames() (map[string]bool, error) {
	entries, err := q.deps.FS.ReadDir(q.at.lanes())
	if err != nil {
		return nil, fmt.Errorf("list lanes: %w", err)
	}
	names := make(map[string]bool, len(entries))
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names, nil
}
