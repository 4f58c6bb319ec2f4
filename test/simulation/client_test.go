package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
)

// request is what a client wants stored: the ledger's unit, by its bytes.
type request struct {
	topic, key, idempotency, body string
	tries                         []try
	// acknowledged says that some gateway answered 2xx, whether or not the
	// client heard it.
	acknowledged bool
}

// try is one attempt and its answer; status 0 is none.
type try struct {
	by           *process
	began, ended time.Duration
	status       int
}

// client sends keyed messages one after the other, as a front door would.
type client struct {
	w    *world
	name string
	rng  *rand.Rand
	home int // the stamp it goes to first
	n    int
}

// run sends until ctx ends or all is sent.
func (c *client) run(ctx context.Context, messages int) {
	for range messages {
		r := c.next()
		c.send(ctx, r)
		if c.rng.IntN(20) == 0 { // another message under a key that was used, at the other stamp
			again := c.next()
			again.idempotency = r.idempotency
			c.deliver(ctx, again, 1-c.home, 1)
		}
		pause(ctx, time.Duration(c.rng.Int64N(int64(2*c.w.plan.pace))))
		if ctx.Err() != nil {
			return
		}
	}
}

func (c *client) next() *request {
	c.n++
	name := fmt.Sprintf("%s-%d", c.name, c.n)
	r := &request{
		topic: c.w.plan.topics[c.rng.IntN(len(c.w.plan.topics))], key: c.name,
		idempotency: "i-" + name, body: name + " " + strings.Repeat("x", c.rng.IntN(c.w.plan.size)),
	}
	c.w.asked(r)
	return r
}

// send tries until a gateway has taken the request, or patience is over. Where
// the answer is lost on its way, it goes to the other stamp.
func (c *client) send(ctx context.Context, r *request) {
	at := c.home
	for attempt := 1; attempt <= 8 && ctx.Err() == nil; attempt++ {
		status := c.deliver(ctx, r, at, attempt)
		heard := c.rng.IntN(100) >= c.w.plan.deaf
		if status/100 == 2 && heard {
			if c.rng.IntN(100) < 2 { // it forgot, and sends once more, later
				late := c.rng.Int64N(int64(40 * time.Second))
				c.w.wg.Go(func() {
					pause(ctx, time.Duration(late))
					c.w.post(r, c.w.anyGateway(1-at, 0), attempt+1)
				})
			}
			return
		}
		if status/100 == 4 {
			return
		}
		if c.rng.IntN(3) > 0 || status/100 == 2 {
			at = 1 - at
		}
		pause(ctx, time.Duration(c.rng.Int64N(int64(500*time.Millisecond))))
	}
}

func (c *client) deliver(_ context.Context, r *request, stamp, attempt int) int {
	return c.w.post(r, c.w.anyGateway(stamp, c.rng.IntN(2)), attempt)
}

// patience is how long a client waits for an answer.
const patience = 6 * time.Second

// post sends one attempt to a gateway and waits for its answer, 0 where there is
// none. It goes in its own time: a gateway that is paused takes it when it wakes.
func (w *world) post(r *request, p *process, attempt int) int {
	t := try{by: p, began: w.elapsed()}
	if p == nil || p.isDead() {
		return 0
	}
	answer := make(chan int, 1)
	w.wg.Go(func() { answer <- p.serve(r, attempt) })
	select {
	case t.status = <-answer:
	case <-time.After(patience):
	}
	t.ended = w.elapsed()
	w.answered(r, t)
	return t.status
}

// serve is the gateway's side of it.
func (p *process) serve(r *request, attempt int) int {
	p.stand()
	if p.isDead() {
		return 0
	}
	q := httptest.NewRequest(http.MethodPost, "/v1/topics/"+r.topic+"/messages?key="+r.key, strings.NewReader(r.body))
	q.Header.Set("Idempotency-Key", r.idempotency)
	q.Header.Set("Postroad-Attempt", strconv.Itoa(attempt))
	rec := httptest.NewRecorder()
	p.handler.ServeHTTP(rec, q)
	if rec.Code/100 == 2 {
		p.w.acknowledged(r, p)
	}
	p.stand()
	if p.isDead() {
		return 0
	}
	return rec.Code
}
