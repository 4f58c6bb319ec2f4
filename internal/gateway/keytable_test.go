package gateway

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"postroad/internal/message"
)

func entryOf(rng *rand.Rand, key uint64, at int64) keyEntry {
	h := message.NewHasher("test key")
	h.Uint(key)
	e := keyEntry{hash: h.Sum(), seq: rng.Uint64(), time: at, state: keyStored}
	binary.BigEndian.PutUint64(e.id[:], rng.Uint64())
	binary.BigEndian.PutUint64(e.id[8:], rng.Uint64())
	e.setLane(testLane)
	return e
}

// TestKeyTableAgainstModel runs random adds and expiries against a map and a
// list, and looks everything up after each step.
func TestKeyTableAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	const most = 300
	table := newKeyTable(most)
	var list []keyEntry // as added, oldest first
	now := int64(0)
	for step := range 6000 {
		now += rng.Int64N(5)
		if rng.IntN(10) == 0 {
			oldest := now - rng.Int64N(900)
			table.expire(oldest)
			for len(list) > 0 && list[0].time < oldest {
				list = list[1:]
			}
		} else {
			e := entryOf(rng, rng.Uint64N(500), now)
			if evicted := table.add(e); evicted != (len(list) == most) {
				t.Fatalf("step %d: evicted %v with %d entries", step, evicted, len(list))
			}
			if list = append(list, e); len(list) > most {
				list = list[1:]
			}
		}
		if table.len() != len(list) {
			t.Fatalf("step %d: %d entries, want %d", step, table.len(), len(list))
		}
		if step%50 == 0 {
			compareTable(t, &table, list)
		}
	}
	compareTable(t, &table, list)
	table.expire(now + 1)
	if table.len() != 0 || table.keys.used != 0 || table.ids.used != 0 {
		t.Errorf("%d entries, %d and %d slots are left", table.len(), table.keys.used, table.ids.used)
	}
	for i, c := range table.chunks {
		if c != nil {
			t.Errorf("chunk %d is not released", i)
		}
	}
}

func compareTable(t *testing.T, table *keyTable, list []keyEntry) {
	t.Helper()
	newest := make(map[message.Hash]keyEntry)
	for _, e := range list {
		newest[e.hash] = e
		if got := table.byID(e.id); got == nil || *got != e {
			t.Fatalf("by id: %+v, want %+v", got, e)
		}
	}
	for hash, e := range newest {
		if got := table.byKey(hash); got == nil || *got != e {
			t.Fatalf("by key: %+v, want %+v", got, e)
		}
	}
	if table.byKey(message.Hash{1}) != nil || table.byID(message.ID{1}) != nil {
		t.Fatal("found what was never added")
	}
}

// TestIndexWhenFull: the oldest keys go early, are counted, and a repeat of one
// is let through.
func TestIndexWhenFull(t *testing.T) {
	evicted := 0
	o := IdempotencyOptions{Retention: time.Hour, MaxKeys: 1600}
	x := newKeyIndex(o, func() { evicted++ })
	rng := rand.New(rand.NewPCG(1, 2))
	now := time.Unix(1_000_000, 0)
	const n = 5000
	for i := range uint64(n) {
		e := entryOf(rng, i, now.UnixMicro())
		if found, err := x.begin(e.hash, e.digest, now); err != nil || found.state != keyFree {
			t.Fatalf("key %d: %v, %v", i, found, err)
		}
		x.end(e)
	}
	if x.len() > o.MaxKeys || x.len()+evicted != n || x.len() < o.MaxKeys/2 {
		t.Errorf("%d keys are kept and %d evicted of %d", x.len(), evicted, n)
	}
	last, first := entryOf(rng, n-1, 0), entryOf(rng, 0, 0)
	if found, err := x.begin(last.hash, last.digest, now); err != nil || found.state != keyStored || found.first.Lane != testLane {
		t.Errorf("the newest key: %+v, %v", found, err)
	}
	if found, err := x.begin(first.hash, first.digest, now); err != nil || found.state != keyFree {
		t.Errorf("the oldest key: %+v, %v", found, err)
	}
}

// TestIndexMemory measures what a key costs; the figure stands in the
// documentation of idempotency.max_keys.
func TestIndexMemory(t *testing.T) {
	const n = 400_000
	x := newKeyIndex(IdempotencyOptions{Retention: time.Hour, MaxKeys: 1_000_000}, func() {})
	rng := rand.New(rand.NewPCG(3, 4))
	before := heap()
	for i := range uint64(n) {
		x.end(entryOf(rng, i, int64(i)))
	}
	perKey := float64(heap()-before) / n
	t.Logf("%.1f bytes a key, entry of %d", perKey, keyEntrySize)
	if x.len() != n {
		t.Fatalf("%d keys", x.len())
	}
	if perKey > 120 {
		t.Errorf("%.1f bytes a key; want at most 120", perKey)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestEntryOfAForeignLane: a lane that is no lane id cannot be given again, so
// the entry says unknown rather than name a wrong place.
func TestEntryOfAForeignLane(t *testing.T) {
	e := keyEntry{state: keyStored}
	if e.setLane("not a lane"); e.state != keyUnknown {
		t.Errorf("state %d", e.state)
	}
	e = keyEntry{state: keyStored, seq: 7}
	if e.setLane(testLane); e.state != keyStored || e.place() != (message.Place{Lane: testLane, Seq: 7}) {
		t.Errorf("place %+v", e.place())
	}
}
