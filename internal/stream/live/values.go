package live

// keyState is what a partition knows of one key. It is kept while there is a last
// value or an audience. Guarded by the partition's lock.
type keyState struct {
	key string
	// shown is the highest offset of this key that was shown live; -1 for none.
	shown int64
	// last is the last value: that of the latest accept time, then offset.
	last *Record
	// Those with a last value form a list in the order in which it was set, which
	// is the order of its offset.
	newer, older *keyState
	audiences    []*audience
	// burst and wanted are of the batch in hand.
	burst  []*Record
	wanted int
}

// values are the last values of a partition. Guarded by its lock.
type values struct {
	keys           map[string]*keyState
	newest, oldest *keyState
	count          int
	bytes          int64
	maxCount       int
	maxBytes       int64
	// forgotten is the highest offset shown of a key that has no state any more.
	forgotten int64
	evicted   uint64
}

func newValues(maxCount int, maxBytes int64) values {
	return values{keys: map[string]*keyState{}, maxCount: maxCount, maxBytes: maxBytes, forgotten: -1}
}

// state returns the state of a key, and makes it where there is none. That a key
// was known and forgotten is not remembered key by key, so a new state begins with
// what any of them may have been shown.
func (v *values) state(key []byte) *keyState {
	if ks := v.keys[string(key)]; ks != nil {
		return ks
	}
	return v.make(string(key))
}

func (v *values) make(key string) *keyState {
	ks := &keyState{key: key, shown: v.forgotten}
	v.keys[key] = ks
	return ks
}

// set makes r the last value of its key unless the one there was accepted later.
// Kafka's order does not say which is the latest: what was sent by a stamp that
// was cut off arrives after what was accepted later elsewhere.
func (v *values) set(ks *keyState, r *Record, latestOffset bool) {
	if ks.last != nil && r.Accepted.Before(ks.last.Accepted) && !latestOffset {
		return
	}
	if ks.last != nil {
		v.unlink(ks)
	}
	ks.last = r
	v.link(ks)
	for v.count > v.maxCount || v.bytes > v.maxBytes {
		v.evict(v.oldest)
	}
}

func (v *values) link(ks *keyState) {
	ks.older, ks.newer = v.newest, nil
	if v.newest != nil {
		v.newest.newer = ks
	} else {
		v.oldest = ks
	}
	v.newest = ks
	v.count++
	v.bytes += valueBytes(ks)
}

func (v *values) unlink(ks *keyState) {
	if ks.newer != nil {
		ks.newer.older = ks.older
	} else {
		v.newest = ks.older
	}
	if ks.older != nil {
		ks.older.newer = ks.newer
	} else {
		v.oldest = ks.newer
	}
	ks.newer, ks.older = nil, nil
	v.count--
	v.bytes -= valueBytes(ks)
}

// valueBytes is what a last value counts: its key stands in the map and in the
// record.
func valueBytes(ks *keyState) int64 { return int64(len(ks.key)) + recordBytes(ks.last) }

func (v *values) evict(ks *keyState) {
	v.unlink(ks)
	ks.last = nil
	v.evicted++
	v.release(ks)
}

// release forgets a key of which nothing is kept and that nobody hears.
func (v *values) release(ks *keyState) {
	if ks.last == nil && len(ks.audiences) == 0 && ks.wanted == 0 {
		v.forgotten = max(v.forgotten, ks.shown)
		delete(v.keys, ks.key)
	}
}

// shown is the highest offset that a key may have been shown at.
func (v *values) shown(key string) int64 {
	if ks := v.keys[key]; ks != nil {
		return ks.shown
	}
	return v.forgotten
}

// all appends the last values in order of offset.
func (v *values) all(to []*Record) []*Record {
	for ks := v.oldest; ks != nil; ks = ks.newer {
		to = append(to, ks.last)
	}
	return to
}
