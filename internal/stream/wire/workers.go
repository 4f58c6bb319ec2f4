package wire

import "sync"

// maxIdleWorkers is how many workers are kept for later.
const maxIdleWorkers = 64

// workers call handlers. A goroutine's stack grows with what it calls, and a
// reader's would stay grown for as long as its connection is open and quiet: with
// ten thousand connections that is 100 MB. So readers, of which there are many,
// hand their messages to workers, of which there are as many as messages are
// handled at this moment.
type workers struct {
	mu      sync.Mutex
	idle    []*worker // guarded by mu
	stopped bool      // guarded by mu
	running sync.WaitGroup
}

type worker struct {
	jobs chan job
	done chan struct{}
}

// job is one call of a handler: of Closed where closed is set.
type job struct {
	c       *Conn
	payload []byte
	closed  bool
}

// do has a worker call the handler, and waits for it.
func (p *workers) do(c *Conn, payload []byte, closed bool) {
	w := p.get()
	w.jobs <- job{c, payload, closed}
	<-w.done
	p.put(w)
}

func (p *workers) get() *worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		return w
	}
	w := &worker{jobs: make(chan job), done: make(chan struct{})}
	p.running.Go(w.run)
	return w
}

func (p *workers) put(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped || len(p.idle) >= maxIdleWorkers {
		close(w.jobs)
		return
	}
	p.idle = append(p.idle, w)
}

// stop ends the workers. No reader runs any more.
func (p *workers) stop() {
	p.mu.Lock()
	p.stopped = true
	for _, w := range p.idle {
		close(w.jobs)
	}
	p.idle = nil
	p.mu.Unlock()
	p.running.Wait()
}

func (w *worker) run() {
	for j := range w.jobs {
		if j.closed {
			j.c.closed()
		} else {
			j.c.message(j.payload)
		}
		w.done <- struct{}{}
	}
}

func (c *Conn) message(payload []byte) {
	c.busy.Lock()
	defer c.busy.Unlock()
	c.handler.Message(payload)
}

// closed reports the end to the handler.
func (c *Conn) closed() {
	c.mu.Lock()
	code, reason := c.code, c.reason
	c.mu.Unlock()
	c.shard.metrics.ended(code)
	c.shard.log.Debug("connection ended", "code", code, "reason", reason)
	c.busy.Lock()
	defer c.busy.Unlock()
	c.gone = true
	c.handler.Closed(code, reason)
}
