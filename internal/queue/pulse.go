package queue

import (
	"fmt"
	"sync/atomic"
	"time"

	"postroad/internal/durable"
)

// pulse is a heartbeat that this process renews: of a lane that it writes, or its
// own, which its claims name.
type pulse struct {
	q    *Queue
	name string // of the file
	file durable.File
	// counter is owned by the heartbeat loop.
	counter uint64
	// renewed is Elapsed from before the write of the last renewal that is on
	// stable storage.
	renewed atomic.Int64
	broken  atomic.Pointer[error]
}

// create makes the file with its first value. System calls: open(O_CREAT|O_EXCL),
// pwrite, fdatasync, fsync of the directory.
func (p *pulse) create() error {
	began := p.q.deps.Elapsed()
	first := make([]byte, heartbeatSize)
	copy(first[heartbeatSlot:], heartbeat{counter: 1}.encode())
	if err := durable.WriteNew(p.q.deps.FS, p.name, first); err != nil {
		return err
	}
	p.counter = 1
	p.renewed.Store(int64(began))
	return nil
}

// open opens the file for renewals.
func (p *pulse) open() (err error) {
	p.file, err = p.q.deps.FS.OpenWrite(p.name)
	return err
}

// alive reports why others may have taken this process for dead, or nil.
func (p *pulse) alive() error {
	if broken := p.broken.Load(); broken != nil {
		return *broken
	}
	if age := p.q.deps.Elapsed() - time.Duration(p.renewed.Load()); age > p.q.opts.TTL {
		return fmt.Errorf("renewal of the heartbeat is overdue: the last one is %v old, ttl is %v", age.Round(time.Millisecond), p.q.opts.TTL)
	}
	return nil
}

// end has the heartbeat never count as alive again. The first reason stays.
func (p *pulse) end(reason error) { p.broken.CompareAndSwap(nil, &reason) }

// ended reports whether it has been.
func (p *pulse) ended() bool { return p.broken.Load() != nil }

// beat renews the heartbeat with a durable seq and returns after the sync. An
// error ends it.
func (p *pulse) beat(durable uint64) error {
	began := p.q.deps.Elapsed()
	h := heartbeat{counter: p.counter + 1, durable: durable}
	_, err := p.file.WriteAt(h.encode(), h.slot())
	if err == nil {
		err = p.file.Datasync()
	}
	if err != nil {
		err = fmt.Errorf("renew heartbeat: %w", err)
		p.end(err)
		return err
	}
	p.counter = h.counter
	p.renewed.Store(int64(began))
	return nil
}
