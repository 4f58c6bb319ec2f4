package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/centrifugal/protocol"

	"postroad/internal/drill"
)

// gather starts clients of a fanout, each subscribed to one of so many keys, and
// calls do while they listen.
func gather(ctx context.Context, f fanout, clients, keys int, arrived func([]byte), do func(*crowd) error) (err error) {
	address, s := f.where()
	c, err := newCrowd(address, s)
	if err != nil {
		return err
	}
	defer c.close()
	c.arrived = arrived
	if err := c.join(ctx, clients, func(i int) string { return f.subject(i % keys) }); err != nil {
		return err
	}
	stop, listened := make(chan struct{}), make(chan error, 1)
	go func() { listened <- c.listen(stop) }()
	err = do(c)
	close(stop)
	err = errors.Join(err, <-listened)
	if lost := c.lost.Load(); lost > 0 {
		err = errors.Join(err, fmt.Errorf("%d clients were cut off", lost))
	}
	return err
}

// received waits until the crowd has so many messages.
func (c *crowd) received(ctx context.Context, want int64) error {
	err := drill.Until(ctx, patience, "all messages have come", func() (bool, error) {
		return c.messages.Load() >= want || c.lost.Load() > 0, nil
	})
	if got := c.messages.Load(); err == nil && got > want {
		err = fmt.Errorf("%d messages came where %d were expected", got, want)
	} else if err != nil {
		err = fmt.Errorf("%w: %d of %d", err, got, want)
	}
	return err
}

// publisher publishes the messages of a flow.
type publisher struct {
	fanout   fanout
	flow     flow
	next     int   // key
	expected int64 // messages that clients are to be sent
}

// run publishes for some time.
func (p *publisher) run(ctx context.Context, d time.Duration) error {
	ticker := time.NewTicker(p.flow.interval)
	defer ticker.Stop()
	burst := make([]int, p.flow.burst)
	for end := time.Now().Add(d); time.Now().Before(end); {
		for i := range burst {
			burst[i] = p.next
			p.expected += int64(subscribers(p.flow.clients, p.flow.keys, p.next))
			p.next = (p.next + 1) % p.flow.keys
		}
		if err := p.fanout.publish(ctx, burst, p.flow.bytes); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

// runOut is run, until all of it has come.
func (p *publisher) runOut(ctx context.Context, c *crowd, d time.Duration) error {
	if err := p.run(ctx, d); err != nil {
		return err
	}
	return c.received(ctx, p.expected)
}

// reach publishes to every key until every client has had a message: an engine
// without a protocol does not say when a client is subscribed. What came until
// then is what is expected so far.
func (p *publisher) reach(ctx context.Context, c *crowd) error {
	every := make([]int, p.flow.keys)
	for i := range every {
		every[i] = i
	}
	err := drill.Until(ctx, patience, "every client is reached", func() (bool, error) {
		if err := p.fanout.publish(ctx, every, p.flow.bytes); err != nil {
			return false, err
		}
		p.expected = c.settled(ctx)
		return c.reached.Load() == int64(p.flow.clients), nil
	})
	if err != nil {
		return fmt.Errorf("%w: %d of %d are", err, c.reached.Load(), p.flow.clients)
	}
	return nil
}

// subscribers is how many of the clients are subscribed to a key, where client i
// is to key i modulo keys.
func subscribers(clients, keys, key int) int {
	n := clients / keys
	if key < clients%keys {
		n++
	}
	return n
}

// warmUp is how long messages flow before it counts, as a share of the duration.
const warmUp = 8

// measureFlow measures what deliveries cost a contender.
func (r *streamRun) measureFlow(ctx context.Context, name string, f flow, progress func(string, ...any)) (err error) {
	server, err := r.start(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	return gather(ctx, server, f.clients, f.keys, nil, func(c *crowd) error {
		p := &publisher{fanout: server, flow: f}
		if err := p.reach(ctx, c); err != nil {
			return err
		}
		if err := p.runOut(ctx, c, r.opts.Duration/warmUp); err != nil {
			return err
		}
		before, err := processorTime(server.pid())
		if err != nil {
			return err
		}
		already, began := c.messages.Load(), time.Now()
		if err := p.runOut(ctx, c, r.opts.Duration); err != nil {
			return err
		}
		after, err := processorTime(server.pid())
		if err != nil {
			return err
		}
		delivered := c.messages.Load() - already
		cost := (after - before).Seconds() * 1e6 / float64(max(delivered, 1))
		r.rounds[flowOf{name, f.name}] = append(r.rounds[flowOf{name, f.name}], cost)
		progress("%s, %s: %.2f CPU-s per million, %.0f/s", name, f.name, cost, float64(delivered)/time.Since(began).Seconds())
		return nil
	})
}

// idleKeys is how many keys the clients of the idle measurement share: what a key
// takes is not a connection's.
const idleKeys = 100

// measureIdle measures what a connection takes of memory where nothing flows.
func (r *streamRun) measureIdle(ctx context.Context, name string, progress func(string, ...any)) (err error) {
	server, err := r.start(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	before, empty, err := memoryNow(ctx, server)
	if err != nil {
		return err
	}
	n := r.opts.Clients
	return gather(ctx, server, n, idleKeys, nil, func(c *crowd) error {
		c.settled(ctx)
		after, full, err := memoryNow(ctx, server)
		if err != nil {
			return err
		}
		m := IdleMemory{
			InUse:    float64(after-before) / float64(n) / 1024,
			Resident: float64(full.resident-empty.resident) / float64(n) / 1024,
		}
		r.idle[name] = append(r.idle[name], m)
		progress("%s: %.1f KB of heap and stacks, %.1f KB resident per idle connection", name, m.InUse, m.Resident)
		return nil
	})
}

func memoryNow(ctx context.Context, f fanout) (inUse int64, m memory, err error) {
	if inUse, err = f.inUse(ctx); err != nil {
		return 0, memory{}, err
	}
	m, err = memoryOf(f.pid())
	return inUse, m, err
}

// The flow of S5, and how much is in the hub before: enough for the windows of all
// partitions, though keys do not spread evenly over them.
const (
	fullBytes  = 256
	fullFilled = 8 * 32_768 * 5 / 4
	fullBatch  = 10_000
)

// measureFull measures the memory of a node with full windows, while messages
// flow.
func (r *streamRun) measureFull(ctx context.Context, progress func(string, ...any)) (err error) {
	server, err := r.start(ctx, nameNode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	f := flow{clients: r.opts.Clients, keys: r.opts.scaled(1000), bytes: fullBytes, burst: r.opts.scaled(100), interval: 50 * time.Millisecond}
	fill := &publisher{fanout: server, flow: flow{keys: f.keys, bytes: fullBytes, burst: fullBatch, interval: time.Microsecond}}
	for left := r.opts.scaled(fullFilled); left > 0; left -= fullBatch {
		if err := fill.run(ctx, 1); err != nil { // one burst
			return err
		}
	}
	return gather(ctx, server, f.clients, f.keys, nil, func(c *crowd) error {
		// What came until now are the last values of the keys.
		p := &publisher{fanout: server, flow: f, expected: c.settled(ctx)}
		if err := p.runOut(ctx, c, r.opts.Duration); err != nil {
			return err
		}
		m, err := memoryOf(server.pid())
		if err != nil {
			return err
		}
		r.full = append(r.full, float64(m.resident)/(1<<20))
		r.peak = append(r.peak, float64(m.peak)/(1<<20))
		progress("full node: %.0f MiB resident, %.0f at its peak", float64(m.resident)/(1<<20), float64(m.peak)/(1<<20))
		return nil
	})
}

// settled waits until no more messages come and returns how many have.
func (c *crowd) settled(ctx context.Context) int64 {
	ticker := time.NewTicker(300 * time.Millisecond)
	defer ticker.Stop()
	for last := int64(-1); ctx.Err() == nil; {
		<-ticker.C
		now := c.messages.Load()
		if now == last {
			break
		}
		last = now
	}
	return c.messages.Load()
}

// The load of S3.
const (
	latencyRate  = 100 // messages a second
	latencyConns = 8
)

// measureLatency measures from before a POST to a gateway until a subscriber has
// the message, over all subscribers. All processes share all cores.
func (r *streamRun) measureLatency(ctx context.Context, progress func(string, ...any)) (err error) {
	if err := confine(r.cores.all); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, confine(r.cores.rest)) }()
	r.started++
	n, err := startNode(ctx, r.opts.Binary, r.nodeDir(), cores{node: r.cores.all, rest: r.cores.all, all: r.cores.all})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.stop()) }()
	stamp, err := n.site.startStamp(ctx)
	if err != nil {
		return err
	}
	n.onStop("stamp", stamp.Stop)
	clients := r.opts.scaled(1000)
	var samples []time.Duration // of the crowd's goroutine until it has ended
	arrived := func(message []byte) {
		if sent, ok := sentAt(message); ok {
			samples = append(samples, time.Since(sent))
		}
	}
	err = gather(ctx, n, clients, 1, arrived, func(c *crowd) error {
		posts, err := postAtRate(ctx, stamp.Addresses.Gateways[stampName], r.opts.Duration)
		return errors.Join(err, c.received(ctx, int64(posts*clients)))
	})
	if err != nil {
		return err
	}
	if len(samples) == 0 {
		return errors.New("no message came")
	}
	l := latencyOf(samples)
	r.latency = append(r.latency, l)
	progress("POST to subscriber: p50 %.2f ms, p99 %.2f ms", l.P50, l.P99)
	return nil
}

// sentAt reads when a message was posted, which is what it consists of.
func sentAt(reply []byte) (time.Time, bool) {
	var r protocol.Reply
	if r.UnmarshalVT(reply) != nil || r.Push == nil || r.Push.Pub == nil {
		return time.Time{}, false
	}
	n, err := strconv.ParseInt(string(r.Push.Pub.Data), 10, 64)
	return time.Unix(0, n), err == nil
}

// postAtRate posts at latencyRate, whether answers come or not as long as there are
// connections left, and returns how many messages it posted.
func postAtRate(ctx context.Context, url string, d time.Duration) (posts int, err error) {
	host, err := drill.HostOf(url)
	if err != nil {
		return 0, err
	}
	turns := make(chan struct{})
	errs := make([]error, latencyConns)
	var all sync.WaitGroup
	for i := range latencyConns {
		c, err := drill.Dial(ctx, url)
		if err != nil {
			return 0, err
		}
		all.Go(func() {
			defer c.Close()
			for range turns {
				value := strconv.AppendInt(nil, time.Now().UnixNano(), 10)
				request := drill.AppendPost(nil, host, "/v1/topics/"+topic+"/messages?key="+keyName(0), "text/plain", nil, value)
				if errs[i] == nil {
					errs[i] = errors.Join(c.SetDeadline(time.Now().Add(patience)), once(c, request))
				}
			}
		})
	}
	ticker := time.NewTicker(time.Second / latencyRate)
	defer ticker.Stop()
	for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; posts++ {
		<-ticker.C
		turns <- struct{}{}
	}
	close(turns)
	all.Wait()
	return posts, errors.Join(append(errs, ctx.Err())...)
}
