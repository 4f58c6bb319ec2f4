package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/drill"
)

// patience bounds how long an answer is waited for beyond the round.
const patience = 30 * time.Second

// blast sends one request over and over on n connections, each after the answer
// to the one before, and returns the answers per second within d. Any answer
// but a 2xx is an error.
//
// Counting begins once every connection has had an answer, so that connecting
// is no part of it, and what is answered after d does not count.
func blast(ctx context.Context, url, path, contentType string, body []byte, n int, d time.Duration) (rate float64, err error) {
	host, err := drill.HostOf(url)
	if err != nil {
		return 0, err
	}
	request := drill.AppendPost(nil, host, path, contentType, nil, body)
	b := &blaster{request: request, begin: make(chan struct{})}
	var conns []*drill.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range n {
		c, err := drill.Dial(ctx, url)
		if err != nil {
			return 0, err
		}
		conns = append(conns, c)
	}
	var warm, all sync.WaitGroup
	warm.Add(n)
	errs := make([]error, n)
	for i, c := range conns {
		all.Go(func() { errs[i] = b.drive(c, &warm, d) })
	}
	warm.Wait()
	began := time.Now()
	b.end = began.Add(d)
	close(b.begin)
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, fmt.Errorf("POST %s: %w", path, err)
	}
	return perSecond(b.answers.Load(), d, int64(n), time.Since(began)), ctx.Err()
}

// perSecond is the rate of a round of length d. Where nothing at all was done
// within it, the round is what it took until each of the callers had done its
// first.
func perSecond(done int64, d time.Duration, callers int64, took time.Duration) float64 {
	if done == 0 {
		done, d = callers, took
	}
	return float64(done) / d.Seconds()
}

type blaster struct {
	request []byte
	begin   chan struct{}
	end     time.Time // set before begin is closed
	answers atomic.Int64
}

func (b *blaster) drive(c *drill.Conn, warm *sync.WaitGroup, d time.Duration) error {
	deadline := c.SetDeadline(time.Now().Add(d + 2*patience))
	err := errors.Join(deadline, once(c, b.request))
	warm.Done()
	<-b.begin
	if err != nil {
		return err
	}
	n := int64(0)
	defer func() { b.answers.Add(n) }()
	for {
		if err := once(c, b.request); err != nil {
			return err
		}
		if time.Now().After(b.end) {
			return nil
		}
		n++
	}
}

func once(c *drill.Conn, request []byte) error {
	a, err := c.Do(request)
	if err != nil {
		return err
	}
	if drill.Judged(a.Status) != drill.Acknowledged {
		return fmt.Errorf("answer %d: %.300s", a.Status, a.Body)
	}
	return nil
}
