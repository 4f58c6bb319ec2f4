package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"postroad/internal/message"
	"postroad/internal/queue"
)

// No false alarm beside a gateway that appends, a forwarder that drains and
// retention that removes.
func TestCheckBesideAService(t *testing.T) {
	o := options(t.TempDir())
	o.Retain = 0
	q := start(t, o, queue.Deps{})
	ctx, stop := context.WithCancel(t.Context())
	var appended atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			msgs := slices.Repeat([]message.Message{msg(fill(fmt.Sprint(i), 100+i%700))}, 1+i%9)
			if _, err := q.Append(ctx, msgs); err == nil {
				appended.Add(int64(len(msgs)))
			}
		}
	}()
	c := claim(t, q.Queue)
	v, err := queue.Inspect(o.Dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for round := 0; round < 5 || appended.Load() < 2000; round++ {
		last := drain(t, c, 20)[19]
		if err := c.Save(t.Context(), next(last.Lane, last.Seq+1)); err != nil {
			t.Fatal(err)
		}
		r, err := v.Check(t.Context())
		if err != nil || len(r.Findings) > 0 {
			t.Fatalf("round %d: %v, %+v", round, err, r.Findings)
		}
		l, err := v.List(t.Context())
		if err != nil || len(l.Lanes) != 1 || l.Lanes[0].State != queue.LaneLive || l.Lanes[0].Owner.State != queue.OwnerRunning {
			t.Fatalf("round %d: %v, %+v", round, err, l)
		}
	}
	stop()
	<-done
	if err := c.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}
