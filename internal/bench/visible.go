package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"postroad/internal/drill"
	"postroad/internal/kafka"
)

// idleLeast and idleMost bound the pause before each message that is followed
// to the hub, so that it finds the system idle, and at no regular phase of it.
const (
	idleLeast = 5 * time.Millisecond
	idleMost  = 25 * time.Millisecond
)

// visible measures Q6: how long a message takes from POST to a reader of the
// hub on an idle system, beside what one sync of the disk takes.
func (b *ingest) visible(ctx context.Context) (err error) {
	reading, stop := context.WithCancel(ctx)
	w := &watcher{seen: make(chan sighting, 1), ready: make(chan struct{}), done: make(chan struct{})}
	go w.follow(reading, b.hub)
	defer func() {
		stop()
		<-w.done
		err = errors.Join(err, w.err)
	}()
	select {
	case <-w.ready:
	case <-w.done:
		return errors.New("the reader of the hub ended")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c, err := drill.Dial(ctx, b.full.url)
	if err != nil {
		return err
	}
	defer c.Close()
	v := &b.report.Visible
	var syncs, answers, visible []time.Duration
	for i := range b.opts.Samples {
		d, err := b.sync.time()
		if err != nil {
			return fmt.Errorf("time a sync: %w", err)
		}
		answered, seen, err := b.followOne(ctx, c, w, i)
		if err != nil {
			return fmt.Errorf("follow message %d: %w", i, err)
		}
		syncs, answers, visible = append(syncs, d), append(answers, answered), append(visible, seen)
	}
	v.Sync, v.Answer, v.Visible = latencyOf(syncs), latencyOf(answers), latencyOf(visible)
	b.deps.Progress("idle: one sync %.2f ms, POST to answer %.2f ms, POST to reader %.2f ms (p50)", v.Sync.P50, v.Answer.P50, v.Visible.P50)
	return nil
}

// followOne posts message i and waits until the reader has it.
func (b *ingest) followOne(ctx context.Context, c *drill.Conn, w *watcher, i int) (answered, seen time.Duration, err error) {
	pause := time.NewTimer(idleLeast + rand.N(idleMost-idleLeast))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
	value := fmt.Appendf(nil, "%0*d", valueBytes, i)
	host, err := drill.HostOf(b.full.url)
	if err != nil {
		return 0, 0, err
	}
	request := drill.AppendPost(nil, host, "/v1/topics/"+topic+"/messages", "text/plain", nil, value)
	began := time.Now()
	if err := errors.Join(c.SetDeadline(began.Add(patience)), once(c, request)); err != nil {
		return 0, 0, err
	}
	answered = time.Since(began)
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case s := <-w.seen:
		if s.n != i {
			return 0, 0, fmt.Errorf("the reader saw message %d", s.n)
		}
		return answered, s.at.Sub(began), nil
	case <-w.done:
		return 0, 0, errors.New("the reader of the hub ended")
	case <-limit.C:
		return 0, 0, fmt.Errorf("not at the reader after %v", patience)
	}
}

// sighting is a message that the reader saw.
type sighting struct {
	n  int
	at time.Time
}

// watcher reads the hub as `postroad tail` does.
type watcher struct {
	seen  chan sighting
	ready chan struct{}
	done  chan struct{} // closed when it has ended
	err   error         // set before done is closed
}

func (w *watcher) follow(ctx context.Context, hub string) {
	defer close(w.done)
	opts := kafka.DefaultOptions()
	opts.Brokers = []string{hub}
	r, err := kafka.NewReader(opts, kafka.Deps{})
	if err != nil {
		w.err = err
		return
	}
	w.err = r.Follow(ctx, kafka.FollowOptions{Topic: topic, From: kafka.FromEnd(), Ready: func() { close(w.ready) }},
		func(r kafka.Record) error {
			at := time.Now()
			n, err := strconv.Atoi(string(r.Value))
			if err != nil {
				return fmt.Errorf("a message nobody sent: %.40q", r.Value)
			}
			select {
			case w.seen <- sighting{n, at}:
			case <-ctx.Done():
			}
			return nil
		})
}
