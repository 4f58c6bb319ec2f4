package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
)

// laneStore appends to a lane that it writes itself, call by call, so that a
// sweep finds the same operations each time. As after any failed sync it goes on
// with another lane.
type laneStore struct {
	q    *rawQueue
	lane *rawLane
}

func (s *laneStore) Append(_ context.Context, msgs []message.Message) (message.Place, error) {
	p, err := s.lane.tryAdd(msgs...)
	if err != nil {
		return message.Place{}, fmt.Errorf("%w: %w", message.ErrOutcomeUnknown, err)
	}
	return p, nil
}

// letters makes a directory with two dead lanes of three letters each; the
// message of the last one of the first lane was buried a second time.
func letters(q *rawQueue) (lanes []*rawLane) {
	by, gone := q.newID(), q.newID()
	for i := range 2 {
		l := q.lane(by, laneInfo{Kind: kindDead})
		for j := range 3 {
			n := 3*i + j
			if n == 3 {
				n = 2
			}
			m := rawMessage([]string{"orders", "alarms"}[n%2], "k", fmt.Sprint("letter ", n))
			m.Moved, m.Reason = &message.Place{Lane: gone, Seq: uint64(10 + n)}, "INVALID_RECORD"
			l.add(m)
		}
		l.beat()
		lanes = append(lanes, l)
	}
	return lanes
}

// states tells what became of each letter of a directory, in order.
func states(t testing.TB, d *Letters) (all []string) {
	err := d.Each(context.Background(), LetterFilter{Marked: true}, func(l Letter) error {
		all = append(all, l.State)
		return nil
	})
	if err != nil && t != nil {
		t.Fatal(err)
	}
	return all
}

func TestReleaseAndDiscard(t *testing.T) {
	q := newRawQueue(t, faultfs.New(1), "queue")
	lanes := letters(q)
	d, err := OpenLetters(q.at.dir, q.fsys)
	q.must(err)
	d.Now = func() time.Time { return q.time }
	store := &laneStore{q, q.lane(q.newID(), laneInfo{})}
	var done []string
	note := func(l Letter) { done = append(done, l.State+" "+string(l.Value)) }
	want := func(step string, wantDone, wantStates []string) {
		t.Helper()
		if !slices.Equal(done, wantDone) {
			t.Errorf("%s: done %q, want %q", step, done, wantDone)
		}
		if got := states(t, d); !slices.Equal(got, wantStates) {
			t.Errorf("%s: states %q, want %q", step, got, wantStates)
		}
		done = nil
	}
	const open, rel, dis = LetterOpen, LetterReleased, LetterDiscarded
	q.must(d.Release(t.Context(), store, LetterFilter{Topic: "alarms"}, "test", note))
	want("release a topic", []string{"released letter 1", "released letter 5"}, []string{open, rel, open, open, open, rel})
	q.must(d.Discard(t.Context(), LetterFilter{Places: []message.Place{{Lane: lanes[1].id, Seq: 2}}}, "test", note))
	want("discard one by where it stands", []string{"discarded letter 4"}, []string{open, rel, open, open, dis, rel})
	q.must(d.Discard(t.Context(), LetterFilter{Topic: "alarms"}, "test", note))
	want("discard what is released: nothing", nil, []string{open, rel, open, open, dis, rel})
	q.must(d.Release(t.Context(), store, LetterFilter{}, "test", note))
	want("release the rest", []string{"released letter 0", "released letter 2", "released letter 2"}, []string{rel, rel, rel, rel, dis, rel})
	q.must(d.Release(t.Context(), store, LetterFilter{}, "test", note))
	want("release again: nothing", nil, []string{rel, rel, rel, rel, dis, rel})

	var got []string
	q.must(d.v.scan(t.Context(), store.lane.id, 1, scanned(func(m message.Stored) {
		if m.Reason != "" || m.Moved == nil || m.Moved.Seq != m.Seq || m.Replay {
			t.Errorf("released as %+v", m)
		}
		got = append(got, fmt.Sprint(m.Seq, " ", string(m.Value)))
	})))
	if want := []string{"11 letter 1", "15 letter 5", "10 letter 0", "12 letter 2"}; !slices.Equal(got, want) {
		t.Errorf("on their way %q, want %q", got, want)
	}
	files, err := d.v.laneFiles(lanes[0].id)
	q.must(err)
	if want := []mark{{1, 1, rel}, {2, 2, rel}, {3, 3, rel}}; !slices.Equal(files.marks, want) {
		t.Errorf("marks %v, want %v", files.marks, want)
	}
}

// A letter is never both lost and no longer open: whatever fails or wherever the
// machine stops, it is open, or its copy is on stable storage in the lane that it
// was released to. What was reported as done stays done. And once more after
// that, all are released, and each id has a copy.
func TestReleaseFaults(t *testing.T) {
	releaseSweep(t, func(d *Letters, store Appender, done func(Letter)) error {
		return d.Release(context.Background(), store, LetterFilter{}, "test", done)
	}).Test(t)
}

// The sabotaged twin marks before it appends.
func TestReleaseFaultsAreFound(t *testing.T) {
	_, failures := releaseSweep(t, func(d *Letters, store Appender, done func(Letter)) error {
		return d.settle(context.Background(), LetterFilter{}, LetterReleased, "test", func(Letter) {}, func(letters []Letter) error {
			if err := d.mark(letters[0].Stands().Lane, letters, LetterReleased, "test"); err != nil {
				return err
			}
			for _, l := range letters {
				if _, err := store.Append(context.Background(), []message.Message{released(&l)}); err != nil {
					return err
				}
				done(l)
			}
			return nil
		})
	}).Find()
	if len(failures) == 0 {
		t.Error("marks made too early pass")
	}
}

type releaseFunc func(d *Letters, store Appender, done func(Letter)) error

func releaseSweep(t *testing.T, release releaseFunc) faultfs.Sweep[map[message.Place]bool] {
	var to string // the lane released to: the same each time
	prepare := func(disk *faultfs.FS) error {
		q := newRawQueue(t, disk, "queue")
		letters(q)
		to = q.lane(q.newID(), laneInfo{}).id
		return nil
	}
	return faultfs.Sweep[map[message.Place]bool]{
		Seed: 1, Cuts: 1,
		Prepare: prepare,
		Run: func(disk *faultfs.FS) map[message.Place]bool {
			done := map[message.Place]bool{}
			d, err := OpenLetters("queue", disk)
			if err != nil {
				return done
			}
			q := &rawQueue{t: t, fsys: disk, at: layout{"queue"}}
			store := &laneStore{q, &rawLane{q: q, id: to, size: 64 << 10, next: 1}}
			_ = release(d, store, func(l Letter) { done[l.Stands()] = true })
			return done
		},
		Check: func(disk *faultfs.FS, done map[message.Place]bool) error {
			if err := checkReleased(disk, to, done); err != nil {
				return err
			}
			// Another process does it again.
			d, err := OpenLetters("queue", disk)
			if err != nil {
				return err
			}
			q := &rawQueue{t: t, fsys: disk, at: layout{"queue"}, time: time.UnixMicro(1_800_000_000_000_000)}
			l := q.lane(q.newID(), laneInfo{})
			if err := d.Release(context.Background(), &laneStore{q, l}, LetterFilter{}, "test", func(Letter) {}); err != nil {
				return err
			}
			if got := states(t, d); slices.Contains(got, LetterOpen) {
				return fmt.Errorf("released again, and letters are %q", got)
			}
			return checkReleased(disk, to, done, l.id)
		},
	}
}

// checkReleased holds the marks against the copies in some lanes.
func checkReleased(disk *faultfs.FS, lane string, done map[message.Place]bool, more ...string) error {
	d, err := OpenLetters("queue", disk)
	if err != nil {
		return err
	}
	copies := map[message.ID]bool{}
	for _, id := range append(more, lane) {
		if err := d.v.scan(context.Background(), id, 1, scanned(func(m message.Stored) { copies[m.ID] = true })); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	n := 0
	err = d.Each(context.Background(), LetterFilter{Marked: true}, func(l Letter) error {
		n++
		if l.State != LetterOpen && !copies[l.ID] {
			return fmt.Errorf("%q is %s, and there is no copy of it", l.Value, l.State)
		}
		if done[l.Stands()] && l.State != LetterReleased {
			return fmt.Errorf("%q was reported as released and is %s", l.Value, l.State)
		}
		return nil
	})
	if err == nil && n != 6 {
		err = fmt.Errorf("%d of 6 letters are there", n)
	}
	return err
}

// Discarding, with the same faults: what was reported stays marked.
func TestDiscardFaults(t *testing.T) {
	faultfs.Sweep[int]{
		Seed: 1, Cuts: 1,
		Prepare: func(disk *faultfs.FS) error { letters(newRawQueue(t, disk, "queue")); return nil },
		Run: func(disk *faultfs.FS) (done int) {
			if d, err := OpenLetters("queue", disk); err == nil {
				_ = d.Discard(context.Background(), LetterFilter{}, "test", func(Letter) { done++ })
			}
			return done
		},
		Check: func(disk *faultfs.FS, done int) error {
			d, err := OpenLetters("queue", disk)
			if err != nil {
				return err
			}
			for i, state := range states(t, d) {
				if i < done && state != LetterDiscarded {
					return fmt.Errorf("letter %d was reported as discarded and is %s", i, state)
				}
			}
			return d.Discard(context.Background(), LetterFilter{}, "test", func(Letter) {})
		},
	}.Test(t)
}
