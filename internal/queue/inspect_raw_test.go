package queue

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"postroad/internal/durable"
	"postroad/internal/message"
	"postroad/internal/wal"
)

var inspectSeed = flag.Uint64("inspect.seed", 0, "seed of the inspector's random tests; 0 takes one by chance")

// inspectRandom returns a source whose seed is printed.
func inspectRandom(t testing.TB) *rand.Rand {
	seed := *inspectSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-inspect.seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// rawQueue is a queue directory that tests write file by file, as the processes
// that share one do, and without any of them.
type rawQueue struct {
	t    testing.TB
	fsys durable.FS
	at   layout
	time time.Time
}

func newRawQueue(t testing.TB, fsys durable.FS, dir string) *rawQueue {
	q := &rawQueue{t: t, fsys: fsys, at: layout{dir}, time: time.UnixMicro(1_700_000_000_000_000).UTC()}
	for _, sub := range []string{q.at.lanes(), q.at.claims(), q.at.quarantine()} {
		q.must(durable.MkdirAll(fsys, sub))
	}
	return q
}

func (q *rawQueue) must(err error) {
	q.t.Helper()
	if err != nil {
		q.t.Fatal(err)
	}
}

// newID returns a ULID behind all before.
func (q *rawQueue) newID() string {
	q.time = q.time.Add(time.Second)
	return ulid.MustNew(ulid.Timestamp(q.time), strings.NewReader("0123456789abcdef")).String()
}

// rawLane is a lane that is written to.
type rawLane struct {
	q       *rawQueue
	id      string
	info    laneInfo
	seg     *wal.Segment
	number  uint64
	size    int64 // of a segment
	zero    bool  // fill segments with zero bytes
	next    uint64
	durable uint64
	counter uint64
}

// lane opens a lane of a process, of the kind that info says.
func (q *rawQueue) lane(process string, info laneInfo) *rawLane {
	l := &rawLane{q: q, id: q.newID(), info: info, size: 64 << 10, next: 1}
	l.info.Format, l.info.Lane, l.info.Stamp, l.info.Created = laneFormat, l.id, "onprem", q.time
	l.info.Owner = owner{Process: process, Host: "gateway-1", BootID: "boot", PIDNamespace: "pid:[1]", PID: 7}
	q.must(q.fsys.Mkdir(q.at.lane(l.id)))
	q.must(durable.WriteNew(q.fsys, q.at.laneFile(l.id, fenceFileName), make([]byte, noteSize)))
	q.must(durable.WriteNew(q.fsys, q.at.laneFile(l.id, heartbeatFileName), make([]byte, heartbeatSize)))
	text, err := json.Marshal(l.info)
	q.must(err)
	q.must(durable.WriteNew(q.fsys, q.at.laneFile(l.id, laneFileName), append(text, '\n')))
	l.beat()
	q.must(q.fsys.SyncDir(q.at.lanes()))
	return l
}

// add writes and syncs a group and returns its place.
func (l *rawLane) add(msgs ...message.Message) message.Place {
	p, err := l.tryAdd(msgs...)
	l.q.must(err)
	return p
}

func (l *rawLane) tryAdd(msgs ...message.Message) (message.Place, error) {
	var f wal.Frames
	for i := range msgs {
		f.Add(&msgs[i])
	}
	f.Close()
	if l.seg == nil || !l.seg.Fits(f.Size()) {
		if err := l.roll(); err != nil {
			return message.Place{}, err
		}
	}
	at := message.Place{Lane: l.id, Seq: l.next}
	l.seg.Add(&f, l.next, l.durable, l.q.time)
	if err := l.seg.Commit(); err != nil {
		return message.Place{}, err
	}
	l.next += uint64(len(msgs))
	l.durable = l.next - 1
	return at, nil
}

// roll begins the next segment.
func (l *rawLane) roll() error {
	if l.seg != nil {
		l.seg.Close()
	}
	l.number++
	blank, err := wal.Prepare(l.q.fsys, l.q.at.lane(l.id), l.number, l.size, l.zero, nil)
	if err != nil {
		return err
	}
	l.seg, err = blank.Begin(ulid.MustParse(l.id), l.next, l.q.time)
	return err
}

// beat renews the heartbeat.
func (l *rawLane) beat() {
	l.counter++
	h := heartbeat{l.counter, l.durable}
	f, err := l.q.fsys.OpenWrite(l.q.at.laneFile(l.id, heartbeatFileName))
	l.q.must(err)
	_, err = f.WriteAt(h.encode(), h.slot())
	l.q.must(err)
	l.q.must(f.Datasync())
	f.Close()
}

// seal closes the lane as its writer does.
func (l *rawLane) seal() {
	l.beat()
	if l.seg != nil {
		l.seg.Close()
		l.seg = nil
	}
	l.q.must(durable.Overwrite(l.q.fsys, l.q.at.laneFile(l.id, fenceFileName), note("closed by its writer")))
}

// claim makes a claim of a chain with progress; note ends it, where not empty.
func (q *rawQueue) claim(chain string, epoch uint64, ended string, lanes ...message.LaneProgress) {
	q.must(durable.MkdirAll(q.fsys, q.at.chain(chain)))
	text, err := json.Marshal(claimInfo{Format: 1, Chain: chain, Epoch: epoch, Token: "t", Claimed: q.time, Owner: owner{Process: q.newID(), Host: "forwarder-1"}})
	q.must(err)
	q.must(durable.WriteNew(q.fsys, q.at.claimFile(chain, claimKind, epoch), text))
	b := make([]byte, noteSize)
	if ended != "" {
		b = note(ended)
	}
	q.must(durable.WriteNew(q.fsys, q.at.claimFile(chain, revokedKind, epoch), b))
	q.must(durable.WriteNew(q.fsys, q.at.claimFile(chain, progressKind, epoch), rawProgress(lanes)))
}

// rawSlot is the size of a slot in the tests' progress files: a real one has room
// for more than any test needs.
const rawSlot = 4096

// rawProgress is a progress file whose second slot holds the first value.
func rawProgress(lanes []message.LaneProgress) []byte {
	b := make([]byte, 2*rawSlot)
	slot := appendProgress(make([]byte, progressHeader), message.Progress{Lanes: lanes})
	copy(slot, progressMagic[:])
	binary.LittleEndian.PutUint64(slot[8:], 1)
	binary.LittleEndian.PutUint32(slot[16:], uint32(len(slot)-progressHeader))
	binary.LittleEndian.PutUint32(slot[4:], crc32.Checksum(slot[8:], castagnoli))
	copy(b[rawSlot:], slot)
	return b
}

func (q *rawQueue) inspect() *Inspector {
	v, err := Inspect(q.at.dir, q.fsys)
	q.must(err)
	return v
}

func (q *rawQueue) check() CheckReport {
	r, err := q.inspect().Check(q.t.Context())
	q.must(err)
	return r
}

// flip changes one byte of a file by exclusive or.
func (q *rawQueue) flip(name string, at int64, by byte) {
	q.t.Helper()
	f, err := q.fsys.OpenWrite(name)
	q.must(err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	q.must(err)
	b[0] ^= by
	_, err = f.WriteAt(b[:], at)
	q.must(err)
	q.must(f.Datasync())
}

// rawMessage is a message of a topic with a value.
func rawMessage(topic, key, value string) message.Message {
	m := message.Message{
		Topic: topic, Key: []byte(key), Value: []byte(value), Principal: "test",
		Time: time.UnixMicro(1_700_000_000_000_000).UTC(), Digest: message.Hash{1},
		Headers: []message.Header{{Name: "content-type", Value: []byte("text/plain")}},
	}
	m.ID = message.DeriveID("test", topic, value, message.Hash{1}, 0)
	return m
}

// randomGroup is a group of a shape by chance.
func randomGroup(rng *rand.Rand) (msgs []message.Message) {
	n, most := 1+rng.IntN(3), 300
	switch rng.IntN(8) {
	case 0:
		n = 1 + rng.IntN(60)
	case 1:
		most = 20_000
	}
	for range n {
		value := make([]byte, rng.IntN(most))
		for i := range value {
			value[i] = byte(rng.Uint32())
		}
		m := rawMessage("messages", fmt.Sprint(rng.IntN(9)), string(value))
		if rng.IntN(3) == 0 {
			m.Key = nil
		}
		m.ID[0] |= 1
		msgs = append(msgs, m)
	}
	return msgs
}

// scanned is what scan calls for one who wants the messages alone.
func scanned(yield func(message.Stored)) func(*wal.Group, message.Stored) error {
	return func(_ *wal.Group, m message.Stored) error {
		yield(m)
		return nil
	}
}
