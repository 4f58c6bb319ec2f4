package queue

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"
)

// coverKeys sees to it that key files tell of all groups of a lane that begin
// below a seq, so that segments may be removed before Deps.KeysRetain is over.
// Whoever removes a lane's segments calls it before; newest, where set, is when
// the last message in them was written. It reads what key files leave out, and
// writes it to one of its own. A failure is logged and costs that repeats are
// stored again: what removes segments to make room must not be held up by it.
func (q *Queue) coverKeys(l *lane, below uint64, newest time.Time) {
	since := q.deps.Now().Add(-q.deps.KeysRetain)
	if l.info.Kind != "" || below <= 1 || !newest.IsZero() && newest.Before(since) {
		return
	}
	q.keys.coverMu.Lock()
	defer q.keys.coverMu.Unlock()
	if q.keys.covered[l.id] >= below-1 {
		return
	}
	err := q.writeKeyGaps(l.id, below-1, since)
	if err != nil {
		q.deps.Log.Warn("key files do not cover what is removed of a lane", "lane", l.id, "err", err)
		return
	}
	q.keys.covered[l.id] = below - 1
}

// forgetLane says that a lane was removed, and coverKeys will not be called again.
func (k *keyLog) forgetLane(lane string) {
	k.coverMu.Lock()
	defer k.coverMu.Unlock()
	delete(k.covered, lane)
}

// writeKeyGaps writes to a new key file what those of the lane leave out up to a
// seq.
func (q *Queue) writeKeyGaps(lane string, to uint64, since time.Time) (err error) {
	files, err := q.keyFiles()
	if err != nil {
		return err
	}
	var mine []keyFile
	for _, f := range files {
		if f.lane == lane {
			mine = append(mine, f)
		}
	}
	w := keyGapWriter{q: q, lane: lane}
	for _, g := range q.keyGaps(lane, mine, to) {
		if !g.before.IsZero() && g.before.Before(since) {
			continue
		}
		w.block = keyBlock{from: g.from}
		err = q.keysOfLane(context.Background(), g, since, w.add)
		if err == nil {
			w.flush(g.to)
		}
		if err = errors.Join(err, w.err); err != nil {
			break
		}
	}
	return errors.Join(err, w.file.close(q), q.syncKeyFiles(mine))
}

// syncKeyFiles makes key files durable that another process has written and,
// killed, has not: what they tell of is about to be nowhere else.
func (q *Queue) syncKeyFiles(files []keyFile) error {
	for _, f := range files {
		file, err := q.deps.FS.OpenWrite(f.path(q.at))
		if missing(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(file.Datasync(), file.Close()); err != nil {
			return fmt.Errorf("key file %s: %w", f.name(), err)
		}
	}
	// The directory's own name, too: who made it may have been killed before it
	// was durable.
	err := q.deps.FS.SyncDir(path.Join(q.at.dir, keysDir))
	if missing(err) {
		return nil // nobody has written a key
	}
	return errors.Join(err, q.deps.FS.SyncDir(q.at.dir))
}

// keyGapWriter writes blocks to a key file that it makes when there is something
// to write.
type keyGapWriter struct {
	q     *Queue
	lane  string
	file  keyFileWriter
	block keyBlock
	err   error
}

// add takes a key; false says that it could not be written.
func (w *keyGapWriter) add(k keyRecord) bool {
	if len(w.block.records) >= keyBlockKeys {
		w.flush(w.block.records[len(w.block.records)-1].seq)
	}
	w.block.records = append(w.block.records, k)
	return w.err == nil
}

// flush writes a block that covers the lane up to a seq.
func (w *keyGapWriter) flush(to uint64) {
	if w.err != nil {
		return
	}
	w.block.to = to
	w.err = w.file.write(w.q, w.lane, w.block)
	w.block.from, w.block.records = to, w.block.records[:0]
}
