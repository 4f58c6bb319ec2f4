package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"postroad/internal/durable"
	"postroad/internal/message"
	"postroad/internal/wal"
)

// Letters are the dead letters of a queue directory: messages that the hub
// refuses for good, each with its reason. One is open until a mark in its lane's
// directory says that it was released or discarded. Any process may make marks,
// beside those that work in the directory; it needs no claim.
type Letters struct {
	v *Inspector
	// Now is the clock of the marks; nil means time.Now.
	Now func() time.Time
}

// OpenLetters opens the dead letters of a directory. message.ErrInvalid where it
// is no queue directory.
func OpenLetters(dir string, fsys durable.FS) (*Letters, error) {
	v, err := Inspect(dir, fsys)
	if err != nil {
		return nil, err
	}
	return &Letters{v: v}, nil
}

// Letter is a dead letter. Its Place is where the message was first stored; it
// Stands in a dead lane.
type Letter struct {
	message.Stored
	// Buried is when it was written there.
	Buried time.Time
	// State is LetterOpen, LetterReleased or LetterDiscarded.
	State string
}

// LetterFilter chooses letters; the zero value chooses all that are open.
type LetterFilter struct {
	// Topic, where set, is the topic they are for.
	Topic string
	// IDs and Places, where any is set, choose by dedupe id, and by the place
	// where a letter stands or was first stored.
	IDs    []message.ID
	Places []message.Place
	// Marked chooses released and discarded ones, too.
	Marked bool
}

func (f *LetterFilter) chooses(l *Letter) bool {
	if !f.Marked && l.State != LetterOpen || f.Topic != "" && f.Topic != l.Topic {
		return false
	}
	return len(f.IDs)+len(f.Places) == 0 || slices.Contains(f.IDs, l.ID) ||
		slices.Contains(f.Places, l.Place) || slices.Contains(f.Places, l.Stands())
}

// Each calls yield for each letter that is chosen, in order of dead lanes and
// seqs. The error of yield ends it.
func (d *Letters) Each(ctx context.Context, f LetterFilter, yield func(Letter) error) error {
	ids, err := d.lanes()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := d.eachOf(ctx, id, f, yield); err != nil {
			return fmt.Errorf("dead letters of lane %s: %w", id, err)
		}
	}
	return nil
}

// lanes lists the dead lanes, oldest first.
func (d *Letters) lanes() (dead []string, err error) {
	ids, _, err := d.v.laneIDs()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		info, err := d.v.readInfo(id)
		// One without a sound file is nobody's dead lane: it is drained.
		if err != nil && !missing(err) && !errors.Is(err, message.ErrDamaged) {
			return nil, fmt.Errorf("lane %s: %w", id, err)
		}
		if err == nil && info.Kind == kindDead {
			dead = append(dead, id)
		}
	}
	return dead, nil
}

// eachOf reads one dead lane. Of a lane that is being written to it takes what is
// whole, acknowledged or not: what is there and was not acknowledged is still
// unsettled in its chain, so that releasing it early means at most that it is
// sent twice under one dedupe id.
func (d *Letters) eachOf(ctx context.Context, id string, f LetterFilter, yield func(Letter) error) error {
	files, err := d.v.laneFiles(id)
	if missing(err) { // removed since: all its letters were marked
		return nil
	}
	if err != nil {
		return err
	}
	return d.v.scan(ctx, id, 1, func(g *wal.Group, m message.Stored) error {
		l := Letter{Stored: m, Buried: g.Written, State: stateOf(files.marks, m.Stands().Seq)}
		if !f.chooses(&l) {
			return nil
		}
		return yield(l)
	})
}

// Appender takes messages as a Queue does.
type Appender interface {
	Append(ctx context.Context, msgs []message.Message) (message.Place, error)
}

// Release puts open letters on their way again, and calls done for each that is:
// a copy of it, without the reason, is appended to the store, which makes it
// durable; then its mark is made. A crash between the two leaves it open with a
// copy on its way; released again it is sent twice under the same dedupe id,
// which readers show once. by says who asked, for people who read the mark.
func (d *Letters) Release(ctx context.Context, store Appender, f LetterFilter, by string, done func(Letter)) error {
	f.Marked = false
	// A message that was buried twice, by a forwarder and its successor, goes
	// out once.
	sent := make(map[message.Place]bool)
	return d.settle(ctx, f, LetterReleased, by, done, func(letters []Letter) error {
		copies := make([]message.Message, 0, len(letters))
		for i := range letters {
			if l := &letters[i]; !sent[l.Place] {
				copies = append(copies, released(l))
			}
		}
		if len(copies) == 0 {
			return nil
		}
		if _, err := store.Append(ctx, copies); err != nil {
			return fmt.Errorf("append what is released: %w", err)
		}
		for i := range letters {
			sent[letters[i].Place] = true
		}
		return nil
	})
}

// released is the copy of a letter that goes out again: the same message, under
// the place that names it to the hub.
func released(l *Letter) message.Message {
	m := l.Message
	place := l.Place
	m.Moved, m.Reason = &place, ""
	return m
}

// Discard marks open letters as not wanted, and calls done for each.
func (d *Letters) Discard(ctx context.Context, f LetterFilter, by string, done func(Letter)) error {
	f.Marked = false
	return d.settle(ctx, f, LetterDiscarded, by, done, func([]Letter) error { return nil })
}

// How many letters are settled in one step.
const (
	settleLetters = 1000
	settleBytes   = 4 << 20
)

// settle hands the chosen letters of each dead lane to first, some at a time,
// and marks them once that returns.
func (d *Letters) settle(ctx context.Context, f LetterFilter, kind, by string, done func(Letter), first func([]Letter) error) error {
	ids, err := d.lanes()
	if err != nil {
		return err
	}
	for _, id := range ids {
		var some []Letter
		size := 0
		flush := func() error {
			if len(some) == 0 {
				return nil
			}
			if err := first(some); err != nil {
				return err
			}
			if err := d.mark(id, some, kind, by); err != nil {
				return err
			}
			for _, l := range some {
				l.State = kind
				done(l)
			}
			some, size = nil, 0
			return nil
		}
		err := d.eachOf(ctx, id, f, func(l Letter) error {
			some = append(some, l)
			if size += l.Size(); len(some) < settleLetters && size < settleBytes {
				return nil
			}
			return flush()
		})
		if err == nil {
			err = flush()
		}
		if err != nil {
			return fmt.Errorf("dead letters of lane %s: %w", id, err)
		}
	}
	return nil
}

// markText is the content of a mark.
type markText struct {
	At time.Time `json:"at"`
	By string    `json:"by"`
}

// mark makes the marks of letters of one lane, one for each run of seqs, and
// returns once they are durable. System calls for each: open(O_CREAT|O_EXCL),
// pwrite, fdatasync, close, fsync of the lane's directory.
func (d *Letters) mark(lane string, letters []Letter, kind, by string) error {
	now := d.Now
	if now == nil {
		now = time.Now
	}
	text, err := json.Marshal(markText{now().UTC(), by})
	if err != nil {
		return err
	}
	for _, m := range runs(letters, kind) {
		err := durable.WriteNew(d.v.fsys, d.v.at.laneFile(lane, m.name()), append(text, '\n'))
		if errors.Is(err, fs.ErrExist) {
			// Of one who was killed before it was durable, perhaps.
			err = d.v.fsys.SyncDir(d.v.at.lane(lane))
		}
		if err != nil {
			return fmt.Errorf("mark as %s: %w", kind, err)
		}
	}
	return nil
}

// runs are the marks that cover just these letters, which are in order.
func runs(letters []Letter, kind string) (marks []mark) {
	for i := range letters {
		seq := letters[i].Stands().Seq
		if n := len(marks); n > 0 && marks[n-1].last+1 == seq {
			marks[n-1].last = seq
			continue
		}
		marks = append(marks, mark{seq, seq, kind})
	}
	return marks
}
