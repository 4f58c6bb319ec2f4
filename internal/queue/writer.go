package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/oklog/ulid/v2"

	"postroad/internal/durable"
	"postroad/internal/message"
	"postroad/internal/wal"
)

// laneInfo is the content of a lane's file "lane".
type laneInfo struct {
	Format      int       `json:"format"`
	Lane        string    `json:"lane"`
	Stamp       string    `json:"stamp"`
	Predecessor string    `json:"predecessor,omitempty"`
	Created     time.Time `json:"created"`
	Owner       owner     `json:"owner"`
	// Kind is "" for a lane of accepted messages, kindSide or kindDead.
	Kind string `json:"kind,omitempty"`
	// Of and Topic say, of a side lane, from which chain its messages were
	// moved and which topic they are for.
	Of    string `json:"of,omitempty"`
	Topic string `json:"topic,omitempty"`
}

// Kinds of lanes beside those of accepted messages.
const (
	kindSide = "side" // of a topic that the hub refuses for now
	kindDead = "dead" // of messages that it refuses for good
)

const laneFormat = 1

// writer is the lane that this process appends to. Its methods are called by
// the committer alone, but for renew, which the heartbeat loop calls.
type writer struct {
	pulse
	lane *lane
	bin  [16]byte
	dir  string

	seg   *wal.Segment
	spare chan prepared // holds the segment that comes next, once it is made
	hurry chan struct{} // closed when the committer waits for the spare
	size  int64         // of the spare
	next  uint64        // seq of the next message
	bytes int64         // of groups added so far
	fill  bool          // segments are filled with zeros ahead
	aside bool          // for messages that a claim moves out of its chain
}

type prepared struct {
	blank *wal.Blank
	err   error
}

// firstSegmentBytes is the size of a lane's first segment; each later one is
// four times as large, up to Options.SegmentBytes, so that a quiet lane takes
// little room and a busy one is not slowed by small files.
const firstSegmentBytes = 4 << 20

// openLane makes a new lane. What a crash leaves of one that was never finished
// has no message in it. Order of the system calls: mkdir lane; fence
// (create, pwrite, fdatasync); heartbeat (the same); lane file (the same);
// first segment (create, pwrite…, fdatasync); fsync of the lane's directory, by
// each; fsync of lanes/.
func (q *Queue) openLane(predecessor string) (*writer, error) {
	w, err := q.openWriter(laneInfo{Predecessor: predecessor}, predecessor)
	if err != nil {
		return nil, err
	}
	w.lane.chain = q.own
	return w, nil
}

// openWriter makes a lane of any kind, with an id behind that of another.
func (q *Queue) openWriter(info laneInfo, after string) (*writer, error) {
	id := newLaneID(q.deps.Now(), after)
	w := &writer{
		bin: id, dir: q.at.lane(id.String()), next: 1,
		size: min(firstSegmentBytes, q.opts.SegmentBytes), fill: q.fillsZero(), aside: info.Kind != "",
	}
	w.q, w.name = q, path.Join(w.dir, heartbeatFileName)
	if err := w.room(w.size); err != nil {
		return nil, err
	}
	info.Format, info.Lane, info.Stamp = laneFormat, id.String(), q.deps.Stamp
	info.Created, info.Owner = q.deps.Now().UTC(), q.self
	w.plan(1, w.size)
	if err := w.createFiles(info); err != nil {
		w.removeFiles()
		return nil, fmt.Errorf("open lane %s: %w", id, asFull(err))
	}
	q.touchLater(q.at.lanes())
	q.touchLater(w.dir)
	w.lane = &lane{id: id.String(), info: info, q: q, own: true}
	w.lane.settled.Store(1)
	return w, nil
}

// newLaneID returns an id behind that of the predecessor, whatever the clock says:
// the order of ids is the order in which the lanes of a chain are drained.
func newLaneID(now time.Time, predecessor string) ulid.ULID {
	ms := ulid.Timestamp(now)
	if last, err := ulid.ParseStrict(predecessor); err == nil {
		ms = max(ms, last.Time()+1)
	}
	return ulid.MustNew(ms, ulid.DefaultEntropy())
}

func (w *writer) createFiles(info laneInfo) (err error) {
	fsys := w.q.deps.FS
	if err := fsys.Mkdir(w.dir); err != nil {
		return err
	}
	// The fence first: a forwarder that finds a lane without one may end it.
	if err := durable.WriteNew(fsys, path.Join(w.dir, fenceFileName), make([]byte, noteSize)); err != nil {
		return err
	}
	if err := w.create(); err != nil {
		return err
	}
	text, err := json.Marshal(info)
	if err != nil {
		return err
	}
	if err := durable.WriteNew(fsys, path.Join(w.dir, laneFileName), append(text, '\n')); err != nil {
		return err
	}
	if err := w.open(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.file.Close())
		}
	}()
	blank, err := wal.Prepare(fsys, w.dir, 1, w.size, w.fill, nil)
	if err != nil {
		return err
	}
	if err := fsys.SyncDir(w.q.at.lanes()); err != nil {
		return errors.Join(err, blank.Discard(fsys))
	}
	if w.seg, err = blank.Begin(w.bin, 1, w.q.deps.Now()); err != nil {
		return errors.Join(err, blank.Discard(fsys))
	}
	w.prepareNext()
	return nil
}

// removeFiles clears away what was made of a lane that never opened, as far as
// that goes: it holds no message. The fence goes last, as always.
func (w *writer) removeFiles() {
	for _, name := range []string{wal.Name(1), laneFileName, heartbeatFileName, fenceFileName} {
		_ = w.q.deps.FS.Remove(path.Join(w.dir, name))
	}
	_ = w.q.deps.FS.Remove(w.dir)
}

// prepareNext starts to make the segment after the current one, in a goroutine
// that ends by itself and whose result is taken by roll or discard.
func (w *writer) prepareNext() {
	w.size = min(4*w.seg.Size(), w.q.opts.SegmentBytes)
	w.spare, w.hurry = make(chan prepared, 1), make(chan struct{})
	number, size, spare, hurry := w.seg.Header.Number+1, w.size, w.spare, w.hurry
	go func() {
		var p prepared
		if p.err = w.room(size); p.err == nil {
			w.plan(number, size)
			p.blank, p.err = wal.Prepare(w.q.deps.FS, w.dir, number, size, w.fill, hurry)
		}
		spare <- p
	}()
}

// roll goes on to the next segment. An error leaves the lane as it was: nothing
// has been written, and a later roll tries again.
func (w *writer) roll() error {
	err := w.rollOnto(w.takeSpare())
	if err != nil { // it may be as old as the segment: room may have come since
		err = w.rollOnto(w.takeSpare())
	}
	if err != nil {
		return fmt.Errorf("next segment: %w", asFull(err))
	}
	return nil
}

// takeSpare waits for the segment that is being made; a new one where the last
// could not be.
func (w *writer) takeSpare() prepared {
	if w.spare == nil {
		w.prepareNext()
	}
	close(w.hurry)
	p := <-w.spare
	w.spare = nil
	return p
}

func (w *writer) rollOnto(p prepared) error {
	if p.err != nil {
		return p.err
	}
	seg, err := p.blank.Begin(w.bin, w.next, w.q.deps.Now())
	if err != nil {
		return errors.Join(err, p.blank.Discard(w.q.deps.FS))
	}
	_ = w.seg.Close() // all of it is synced
	w.seg = seg
	w.prepareNext()
	return nil
}

// confirm decides whether what was just synced may be acknowledged: iff (a) the
// fence, opened and read anew after the sync, is empty, and (b) the last
// renewal, counted from before its write and only once synced, is not overdue.
//
// Without (a): this process is paused, a forwarder sees its heartbeat stand
// still, ends the lane and reads it to its end; the process wakes, writes
// behind that end, and would acknowledge what nobody will ever read.
// Without (b): as (a), but the share hides the new fence from this host's cache
// for a while, which TTL and margin exceed.
func (w *writer) confirm() error {
	if err := w.fenced(); err != nil {
		return err
	}
	return w.alive()
}

// renew writes the heartbeat and returns after the sync. The error ends the lane.
//
// A renewal that comes too late ends it as well: a process that was paused past
// its TTL wakes in this loop as often as in a commit, and a lane that another
// host has sealed meanwhile would look fresh again, while that host's fence may
// still be hidden by the share's caches.
func (w *writer) renew() error {
	if err := w.alive(); err != nil {
		w.end(err)
		return err
	}
	return w.beat(w.lane.durable.Load())
}

// close ends the lane for good: a last heartbeat with the durable seq, then the
// fence, so that a successor need not wait. Errors cost only that wait.
func (w *writer) close(reason string) error {
	var errs []error
	if !w.ended() {
		if w.lane.info.Kind == "" {
			errs = append(errs, w.renew())
		} else {
			errs = append(errs, w.beat(w.lane.durable.Load()))
		}
	}
	errs = append(errs, w.file.Close(), w.seg.Close(), w.discardSpare())
	fence := path.Join(w.dir, fenceFileName)
	if empty, err := allZero(w.q.deps.FS, fence); err != nil || empty { // else what its successor wrote stays
		errs = append(errs, durable.Overwrite(w.q.deps.FS, fence, note(reason)))
	}
	return errors.Join(errs...)
}

// appendSynced makes messages durable in groups that fit, each with a sync, and
// then says in the heartbeat that they are. It is for lanes that a claim holder
// writes, beside the committer: their writers are fenced by the claim, and their
// heartbeats only tell how far they are durable.
func (w *writer) appendSynced(msgs []message.Message) error {
	for len(msgs) > 0 {
		frames := new(wal.Frames)
		n := 0
		for n < len(msgs) && n < asideMessages && frames.Size() < asideBytes {
			frames.Add(&msgs[n])
			n++
		}
		frames.Close()
		msgs = msgs[n:]
		if !w.seg.Fits(frames.Size()) {
			if err := w.roll(); err != nil {
				return err
			}
		}
		at := w.seg.Add(frames, w.next, w.lane.durable.Load(), w.q.deps.Now())
		w.lane.index.add(indexEntry{w.next, w.seg.Header.Number, at, w.q.deps.Now(), w.bytes})
		w.bytes += frames.Size()
		w.next += uint64(n)
		if err := w.seg.Commit(); err != nil {
			return asFull(err)
		}
	}
	w.lane.appended.Store(w.bytes)
	w.lane.durable.Store(w.next - 1)
	return w.beat(w.lane.durable.Load())
}

// How much one group of moved messages holds at the most, about.
const (
	asideMessages = 10_000
	asideBytes    = 8 << 20
)

func (w *writer) discardSpare() error {
	if w.spare == nil {
		return nil
	}
	p := w.takeSpare()
	if p.err != nil {
		return nil // there is none; the reason was of use only to roll
	}
	return p.blank.Discard(w.q.deps.FS)
}

// missing reports whether an error says that a file is not there.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
