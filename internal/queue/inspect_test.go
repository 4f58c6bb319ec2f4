package queue

import (
	"fmt"
	"path/filepath"
	"reflect"
	"testing"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
)

// many makes a directory of n lanes, each a chain of its own with a claim.
func many(t testing.TB, fsys durable.FS, dir string, n int) *rawQueue {
	q := newRawQueue(t, fsys, dir)
	for range n {
		l := q.lane(q.newID(), laneInfo{})
		l.add(rawMessage("messages", "k", "v"))
		l.seal()
		q.claim(l.info.Owner.Process, 1, "released", message.LaneProgress{Lane: l.id, Next: 2})
	}
	return q
}

// Show: listing 10,000 lanes is bounded by a number of file operations a lane, of
// which none reads a message.
func TestListCosts(t *testing.T) {
	disk := faultfs.New(1)
	const lanes = 10_000
	q := many(t, disk, "queue", lanes)
	before, from := disk.Ops(), len(disk.Trace())
	l, err := q.inspect().List(t.Context())
	q.must(err)
	if len(l.Lanes) != lanes || len(l.Claims) != lanes || l.Unforwarded != 0 {
		t.Fatalf("%d lanes, %d claims, %d waiting", len(l.Lanes), len(l.Claims), l.Unforwarded)
	}
	// Lane, fence and heartbeat: 9; list of the lane: 1; list of the chain: 1;
	// claim and revocation: 6; progress: 5.
	const most = 22
	if got := float64(disk.Ops()-before) / lanes; got > most+0.1 {
		t.Errorf("%.1f operations a lane, at most %d", got, most)
	}
	read := 0
	for _, op := range disk.Trace()[from:] {
		if op.Kind.Changes() {
			t.Fatalf("%v changes the directory", op)
		}
		if filepath.Ext(op.Name) == ".seg" {
			t.Fatalf("%v reads a segment", op)
		}
		read += op.Length
	}
	if perLane := read / lanes; perLane > 7*smallFile {
		t.Errorf("%d bytes asked for a lane", perLane)
	}
}

// unsynced is a file system on which nothing is synced: what a benchmark makes
// of ten thousand lanes need not survive.
type unsynced struct{ durable.OS }

type unsyncedFile struct{ durable.File }

func (unsynced) SyncDir(string) error { return nil }

func (unsyncedFile) Datasync() error { return nil }

func (u unsynced) Create(name string) (durable.File, error) {
	f, err := u.OS.Create(name)
	return unsyncedFile{f}, err
}

func (u unsynced) OpenWrite(name string) (durable.File, error) {
	f, err := u.OS.OpenWrite(name)
	return unsyncedFile{f}, err
}

func BenchmarkList(b *testing.B) {
	q := many(b, unsynced{}, filepath.ToSlash(b.TempDir()), 10_000)
	for b.Loop() {
		l, err := q.inspect().List(b.Context())
		if err != nil || len(l.Lanes) != 10_000 {
			b.Fatal(len(l.Lanes), err)
		}
	}
}

// mixed is a directory with one of everything; see TestListing.
type mixed struct {
	*rawQueue
	first, second, side, dead *rawLane
	chain, forwarder          string
}

func makeMixed(t testing.TB, fsys durable.FS, dir string) *mixed {
	m := &mixed{rawQueue: newRawQueue(t, fsys, dir)}
	q := m.rawQueue
	m.chain, m.forwarder = q.newID(), q.newID()
	m.first = q.lane(m.chain, laneInfo{})
	m.first.add(rawMessage("messages", "truck-1", "hello"), rawMessage("messages", "truck-2", "on the road"))
	m.first.add(rawMessage("orders", "o-1", "too large for this hub"))
	m.first.add(rawMessage("alarms", "a-1", "fire"))
	odd := rawMessage("messages", "truck-1", "\xff\x00")
	odd.Headers, odd.Repeat = nil, true
	m.first.add(odd)
	m.first.seal()
	m.second = q.lane(m.chain, laneInfo{Predecessor: m.first.id})
	m.second.add(rawMessage("messages", "truck-1", "one"))
	m.second.add(rawMessage("messages", "truck-1", "two"), rawMessage("messages", "truck-2", "three"))
	m.second.beat()
	m.side = q.lane(m.forwarder, laneInfo{Kind: kindSide, Of: m.chain, Topic: "alarms"})
	fire := rawMessage("alarms", "a-1", "fire")
	fire.Moved = &message.Place{Lane: m.first.id, Seq: 4}
	m.side.add(fire)
	m.side.beat()
	m.dead = q.lane(m.forwarder, laneInfo{Kind: kindDead})
	gone := q.newID()
	for i, why := range []string{"MESSAGE_TOO_LARGE: the record is too large", "INVALID_RECORD: no key in a compacted topic", "INVALID_TIMESTAMP", "MESSAGE_TOO_LARGE"} {
		letter := rawMessage("orders", fmt.Sprint("o-", i+1), fmt.Sprint("order ", i+1))
		if letter.Moved = (&message.Place{Lane: gone, Seq: uint64(40 + i)}); i == 0 {
			letter = rawMessage("orders", "o-1", "too large for this hub")
			letter.Moved = &message.Place{Lane: m.first.id, Seq: 3}
		}
		letter.Reason = why
		m.dead.add(letter)
	}
	m.dead.beat()
	for _, k := range []mark{{3, 3, LetterReleased}, {4, 4, LetterDiscarded}} {
		q.must(durable.WriteNew(fsys, q.at.laneFile(m.dead.id, k.name()), []byte("{}\n")))
	}
	q.claim(m.chain, 1, "", message.LaneProgress{Lane: m.first.id, Next: 6}, message.LaneProgress{Lane: m.second.id, Next: 2})
	return m
}

func TestListing(t *testing.T) {
	m := makeMixed(t, faultfs.New(1), "queue")
	q := m.rawQueue
	q.must(q.fsys.Mkdir(q.at.lane("notes")))
	q.must(durable.WriteNew(q.fsys, q.at.quarantine()+"/"+m.first.id+".1.4096.json",
		[]byte(`{"lane":"`+m.first.id+`","segment":1,"offset":4096,"first_seq":1,"last_seq":2,"kind":"damage","reason":"r"}`)))
	unfinished := q.newID()
	q.must(q.fsys.Mkdir(q.at.lane(unfinished)))
	l, err := q.inspect().List(t.Context())
	q.must(err)
	type row struct {
		lane, kind, state, chain, topic string
		first, durable, settled         uint64
		waiting, letters                uint64
	}
	var got []row
	for _, v := range l.Lanes {
		got = append(got, row{v.Lane, v.Kind, v.State, v.Chain, v.Topic, v.FirstSeq, v.DurableSeq, v.SettledBelow, v.Unforwarded, v.OpenLetters})
	}
	want := []row{
		{m.first.id, KindAccepted, LaneSealed, m.chain, "", 1, 5, 6, 0, 0},
		{m.second.id, KindAccepted, LaneLive, m.chain, "", 1, 3, 2, 2, 0},
		{m.side.id, KindSide, LaneLive, m.chain, "alarms", 1, 1, 1, 1, 0},
		{m.dead.id, KindDead, LaneLive, m.forwarder, "", 1, 4, 0, 0, 2},
		{unfinished, KindAccepted, LaneUnfinished, unfinished, "", 0, 0, 1, 0, 0},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("lanes\n%+v, want\n%+v", got, want)
	}
	if len(l.Claims) != 1 || l.Claims[0].State != ClaimHeld || l.Claims[0].Epoch != 1 || l.Claims[0].Owner.Host != "forwarder-1" {
		t.Errorf("claims %+v", l.Claims)
	}
	if l.Unforwarded != 3 || l.OpenLetters != 2 || len(l.Others) != 1 || len(l.Quarantine) != 1 || l.Quarantine[0].LastSeq != 2 {
		t.Errorf("listing %+v", l)
	}
	if got := found(q.check()); got != "notice notes; notice "+m.first.id+".1.4096 1-2" {
		t.Errorf("check: %q", got)
	}
}

// What became of each message of a directory with one of everything.
func TestFate(t *testing.T) {
	m := makeMixed(t, faultfs.New(1), "queue")
	for _, tc := range []struct {
		lane *rawLane
		seq  uint64
		fate string
		to   message.Place
	}{
		{m.first, 1, FateForwarded, message.Place{}},
		{m.first, 3, FateDead, message.Place{Lane: m.dead.id, Seq: 1}},
		{m.first, 4, FateHeld, message.Place{Lane: m.side.id, Seq: 1}},
		{m.first, 5, FateForwarded, message.Place{}},
		{m.second, 1, FateForwarded, message.Place{}},
		{m.second, 2, FateQueued, message.Place{}},
		{m.side, 1, FateHeld, message.Place{}},
		{m.dead, 1, FateDead, message.Place{}},
		{m.dead, 3, LetterReleased, message.Place{}},
		{m.dead, 4, LetterDiscarded, message.Place{}},
	} {
		f, err := m.inspect().Message(t.Context(), message.Place{Lane: tc.lane.id, Seq: tc.seq})
		if err != nil || f.Fate != tc.fate || f.Elsewhere != tc.to {
			t.Errorf("message %d of lane %s: %s, %v, %v; want %s, %v", tc.seq, tc.lane.id, f.Fate, f.Elsewhere, err, tc.fate, tc.to)
		}
	}
	p := m.second.add(rawMessage("messages", "k", "new")) // the heartbeat does not know it
	if f, err := m.inspect().Message(t.Context(), p); err != nil || f.Fate != FateUnacknowledged {
		t.Errorf("written just now: %s, %v", f.Fate, err)
	}
}

func FuzzParseMark(f *testing.F) {
	f.Add("00000000000000000001-00000000000000000003.released")
	f.Add("00000000000000000001-00000000000000000003.discarded")
	f.Add("18446744073709551615-18446744073709551615.released")
	f.Add("lane")
	f.Fuzz(func(t *testing.T, name string) {
		m, ok := parseMark(name)
		if ok && (m.name() != name || m.first == 0 || m.first > m.last) {
			t.Errorf("%q is read as %+v", name, m)
		}
	})
}

func TestCovered(t *testing.T) {
	marks := []mark{{5, 9, LetterReleased}, {2, 3, LetterDiscarded}, {3, 6, LetterReleased}, {20, 30, LetterReleased}}
	for last, want := range map[uint64]uint64{0: 0, 1: 0, 2: 1, 4: 3, 9: 8, 19: 8, 25: 14, 100: 19} {
		if got := covered(marks, last); got != want {
			t.Errorf("covered up to %d: %d, want %d", last, got, want)
		}
	}
	for seq, want := range map[uint64]string{1: LetterOpen, 2: LetterDiscarded, 3: LetterReleased, 10: LetterOpen, 30: LetterReleased} {
		if got := stateOf(marks, seq); got != want {
			t.Errorf("seq %d is %s, want %s", seq, got, want)
		}
	}
}
