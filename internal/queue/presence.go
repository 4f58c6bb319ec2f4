package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"postroad/internal/durable"
	"postroad/internal/message"
)

// presence is the heartbeat of a draining process, which its claims name: they
// fall once it has stood still for TTL and margin, by the same rule as lanes.
//
// It has one life. A renewal that comes too late ends it, and every claim that
// was made with it: the process slept, and others may have taken those over.
// The process then goes on with a new one.
type presence struct {
	pulse
	id string // a ULID
	// claims is how many that name it are held.
	claims atomic.Int64
}

func (q *Queue) presenceOf(id string) *presence {
	p := &presence{id: id}
	p.q, p.name = q, path.Join(q.at.process(id), heartbeatFileName)
	return p
}

// newPresence makes the heartbeat of a draining process. System calls: mkdir of
// processes/<id>, fsync of processes/; owner and heartbeat, each open
// (O_CREAT|O_EXCL), pwrite, fdatasync, fsync of the directory.
func (q *Queue) newPresence() (_ *presence, err error) {
	p := q.presenceOf(ulid.Make().String())
	fsys, dir := q.deps.FS, q.at.process(p.id)
	defer func() {
		if err != nil {
			p.remove()
			err = fmt.Errorf("heartbeat of this process: %w", asFull(err))
		}
	}()
	if err := fsys.Mkdir(dir); err != nil {
		return nil, err
	}
	if err := fsys.SyncDir(q.at.processes()); err != nil {
		return nil, err
	}
	text, err := json.Marshal(q.self)
	if err != nil {
		return nil, err
	}
	if err := durable.WriteNew(fsys, path.Join(dir, ownerFileName), append(text, '\n')); err != nil {
		return nil, err
	}
	if err := p.create(); err != nil {
		return nil, err
	}
	if err := p.open(); err != nil {
		return nil, err
	}
	return p, nil
}

// alive reports why claims made with this heartbeat no longer hold, or nil.
//
// What is overdue ends for good, whoever finds out: a claim is given up on this
// word, and while a renewal that was under way all the time kept the heartbeat
// going, nobody could have the chain.
func (p *presence) alive() error {
	err := p.pulse.alive()
	if err != nil {
		p.end(err)
	}
	return err
}

// renew writes the heartbeat and returns after the sync. An error ends it.
func (p *presence) renew() error {
	if err := p.alive(); err != nil {
		return err
	}
	return p.beat(0)
}

// remove clears the heartbeat away as far as that goes: nothing is concluded
// from its absence, but that no claim which names it is renewed.
func (p *presence) remove() {
	if p.file != nil {
		_ = p.file.Close()
	}
	for _, name := range []string{heartbeatFileName, ownerFileName} {
		_ = p.q.deps.FS.Remove(path.Join(p.q.at.process(p.id), name))
	}
	_ = p.q.deps.FS.Remove(p.q.at.process(p.id))
}

// errOverdue says that this process has not been able to renew its heartbeat:
// whatever it claimed may be another's now.
var errOverdue = errors.New("this process's heartbeat is not renewed")

// Overdue reports why this process may not send anything to the hub now: its
// heartbeat was not renewed in time and its claims may be another's. It is cheap.
func (q *Queue) Overdue() error {
	p := q.present.Load()
	if p == nil {
		return errOverdue
	}
	return p.alive()
}

// keepPresence renews the process's heartbeat, or begins a new one. Called by
// the heartbeat loop.
func (q *Queue) keepPresence() {
	if !q.deps.Part.drains() {
		return
	}
	if p := q.present.Load(); p != nil {
		ended := p.ended()
		err := p.renew()
		if err == nil {
			return
		}
		if !ended {
			q.deps.Log.Error("heartbeat of this process not renewed, its claims are given up", "err", err)
		}
		if p.claims.Load() > 0 { // until they are, nothing may be sent under them
			return
		}
		q.present.Store(nil)
		_ = p.file.Close() // left where it is: its claims fall when it stands still
	}
	p, err := q.presenceOnBallast()
	if err != nil {
		q.deps.Log.Warn("no heartbeat for this process", "err", err)
		return
	}
	q.present.Store(p)
}

// staleAfter is for how long another process's heartbeat must have stood still
// before its directory is removed; many times what its claims fall after.
const staleAfter = time.Hour

// stillness is since when another process's heartbeat has shown one value.
type stillness struct {
	value string
	since time.Duration
}

// tidyProcesses removes the heartbeats of processes that are gone: at once where
// this machine can tell, else after an hour. Claims that name one have fallen
// long before. seen is what was read the last times; owned by the retain loop.
func (q *Queue) tidyProcesses(seen map[string]stillness) error {
	entries, err := q.deps.FS.ReadDir(q.at.processes())
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	own := ""
	if p := q.present.Load(); p != nil {
		own = p.id
	}
	for _, e := range entries {
		id := e.Name()
		if id == own || !message.ValidLane(id) {
			continue
		}
		gone, err := q.processIsGone(id, seen)
		if err != nil {
			return err
		}
		if gone {
			delete(seen, id)
			q.presenceOf(id).remove()
			q.deps.Log.Debug("heartbeat of a process that is gone removed", "process", id)
		}
	}
	return nil
}

func (q *Queue) processIsGone(id string, seen map[string]stillness) (bool, error) {
	dir := q.at.process(id)
	text, err := durable.ReadFile(q.deps.FS, path.Join(dir, ownerFileName), 1<<16)
	if err != nil && !missing(err) && !errors.Is(err, durable.ErrTooLong) {
		return false, fmt.Errorf("read owner of process %s: %w", id, err)
	}
	var o owner
	if json.Unmarshal(text, &o) == nil && o.deadFor(q.self) {
		return true, nil
	}
	b, err := readHeartbeat(q.deps.FS, path.Join(dir, heartbeatFileName))
	if err != nil {
		return false, fmt.Errorf("read heartbeat of process %s: %w", id, err)
	}
	now, last := q.deps.Elapsed(), seen[id]
	if last.since == 0 || last.value != string(b) {
		seen[id] = stillness{string(b), now}
		return false, nil
	}
	return now-last.since >= staleAfter, nil
}
