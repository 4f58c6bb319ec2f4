package gateway

import (
	"context"
	"maps"
	"math/bits"
	"slices"
	"sync"
	"time"

	"postroad/internal/message"
)

// relayIndex remembers which relayed messages this process has stored, by where
// the stamp that sent them keeps them. A message that comes again, because an
// answer was lost, is answered from it; and a stamp that does not know what of its
// messages got here asks for it.
//
// An entry is a word of 64 seqs of one topic and lane. It takes about 100 bytes,
// so a lane of one topic costs less than 2 bytes a message, and the worst mix of
// topics 100. Entries are forgotten after the retention, and the oldest early
// where there are too many.
type relayIndex struct {
	retention time.Duration
	max       int

	mu      sync.Mutex
	streams map[relayStream]*relayLane // guarded by mu, and all below
	order   []relayWord                // words by when they were begun, from first on
	first   int
	// forgot is the newest time at which something was added to a word that is
	// forgotten, in microseconds.
	forgot int64
	// running are the requests that store, of each stamp; each closes its channel
	// when it is done.
	running map[string]map[chan struct{}]struct{}
}

// relayStream is a topic of a lane of another stamp.
type relayStream struct{ stamp, topic, lane string }

// relayLane is what is known of a stream.
type relayLane struct {
	// turn has a token while messages of it are being stored: a lock that is held
	// while the disk is written, and that a request may give up waiting for.
	turn chan struct{}
	// words and users are guarded by the index's mu.
	words map[uint64]relayBits
	users int
}

// relayBits are 64 seqs and when the last of them was added, in microseconds.
type relayBits struct {
	set  uint64
	last int64
}

type relayWord struct {
	stream relayStream
	number uint64
}

func newRelayIndex(o RelayOptions) *relayIndex {
	return &relayIndex{
		retention: o.Retention, max: o.MaxEntries,
		streams: map[relayStream]*relayLane{}, running: map[string]map[chan struct{}]struct{}{},
	}
}

// begin notes a request of a stamp that may store something, until end is called.
func (x *relayIndex) begin(stamp string) (end func()) {
	done := make(chan struct{})
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.running[stamp] == nil {
		x.running[stamp] = map[chan struct{}]struct{}{}
	}
	x.running[stamp][done] = struct{}{}
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		close(done)
		if delete(x.running[stamp], done); len(x.running[stamp]) == 0 {
			delete(x.running, stamp)
		}
	}
}

// await waits for the requests of a stamp that have begun by now. The error is
// ctx's.
func (x *relayIndex) await(ctx context.Context, stamp string) error {
	x.mu.Lock()
	all := slices.Collect(maps.Keys(x.running[stamp]))
	x.mu.Unlock()
	for _, done := range all {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// enter takes the turns of the streams of a batch, so that a message that comes
// twice at the same time is stored once. The lanes are in order and each there
// once. The function that it returns gives them back. The error is ctx's.
func (x *relayIndex) enter(ctx context.Context, stamp, topic string, lanes []string) (leave func(), err error) {
	used := make([]*relayLane, len(lanes))
	x.mu.Lock()
	for i, lane := range lanes {
		used[i] = x.stream(relayStream{stamp, topic, lane})
		used[i].users++
	}
	x.mu.Unlock()
	held := 0
	leave = func() {
		for _, l := range used[:held] {
			<-l.turn
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		for i, l := range used {
			l.users--
			x.drop(relayStream{stamp, topic, lanes[i]}, l)
		}
	}
	for _, l := range used {
		select {
		case l.turn <- struct{}{}:
			held++
		case <-ctx.Done():
			leave()
			return nil, ctx.Err()
		}
	}
	return leave, nil
}

// stream finds or makes a stream. The caller holds mu.
func (x *relayIndex) stream(s relayStream) *relayLane {
	l := x.streams[s]
	if l == nil {
		l = &relayLane{turn: make(chan struct{}, 1), words: map[uint64]relayBits{}}
		x.streams[s] = l
	}
	return l
}

// drop forgets a stream of which nothing is known. The caller holds mu.
func (x *relayIndex) drop(s relayStream, l *relayLane) {
	if l.users == 0 && len(l.words) == 0 {
		delete(x.streams, s)
	}
}

// has reports whether a message is known to be stored.
func (x *relayIndex) has(stamp, topic string, at message.Place) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := x.streams[relayStream{stamp, topic, at.Lane}]
	return l != nil && l.words[at.Seq/64].set&(1<<(at.Seq%64)) != 0
}

// add notes that messages are stored.
func (x *relayIndex) add(stamp, topic string, places []message.Place, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	at := now.UnixMicro()
	for _, p := range places {
		s := relayStream{stamp, topic, p.Lane}
		l := x.stream(s)
		w, there := l.words[p.Seq/64]
		if !there {
			x.order = append(x.order, relayWord{s, p.Seq / 64})
		}
		l.words[p.Seq/64] = relayBits{w.set | 1<<(p.Seq%64), max(w.last, at)}
	}
	x.forget(now)
}

// forget drops words that are too old or too many. The caller holds mu.
func (x *relayIndex) forget(now time.Time) {
	oldest := now.Add(-x.retention).UnixMicro()
	for x.first < len(x.order) {
		w := x.order[x.first]
		l := x.streams[w.stream]
		b := l.words[w.number]
		if len(x.order)-x.first <= x.max && b.last >= oldest {
			break
		}
		x.forgot = max(x.forgot, b.last)
		delete(l.words, w.number)
		x.drop(w.stream, l)
		x.first++
	}
	if x.first > 1024 && x.first > len(x.order)/2 {
		x.order = append([]relayWord(nil), x.order[x.first:]...)
		x.first = 0
	}
}

// since calls yield for each stream of a topic with the runs of seqs of the words
// to which something was added since a time, in microseconds; they may hold older
// ones, too. It returns the time from which on all is known.
func (x *relayIndex) since(stamp, topic string, from int64, yield func(lane string, runs [][2]uint64)) (complete int64) {
	type found struct {
		lane string
		runs [][2]uint64
	}
	var all []found
	x.mu.Lock()
	for s, l := range x.streams {
		if s.stamp != stamp || s.topic != topic {
			continue
		}
		var numbers []uint64
		for n, w := range l.words {
			if w.last >= from {
				numbers = append(numbers, n)
			}
		}
		slices.Sort(numbers)
		var runs [][2]uint64
		for _, n := range numbers {
			runs = appendRuns(runs, n, l.words[n].set)
		}
		if len(runs) > 0 {
			all = append(all, found{s.lane, runs})
		}
	}
	complete = x.forgot + 1
	x.mu.Unlock()
	for _, f := range all {
		yield(f.lane, f.runs)
	}
	return complete
}

// appendRuns adds the seqs of a word, which is above those that are there.
func appendRuns(runs [][2]uint64, number, set uint64) [][2]uint64 {
	for set != 0 {
		low := uint64(bits.TrailingZeros64(set))
		n := uint64(bits.TrailingZeros64(^(set >> low)))
		first := number*64 + low
		if k := len(runs); k > 0 && runs[k-1][1]+1 == first {
			runs[k-1][1] = first + n - 1
		} else {
			runs = append(runs, [2]uint64{first, first + n - 1})
		}
		if low+n >= 64 {
			return runs
		}
		set &^= (1<<n - 1) << low
	}
	return runs
}

// len returns how many entries there are.
func (x *relayIndex) len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.order) - x.first
}
