package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"postroad/internal/relay/wire"
)

const (
	// startRoom is how large the first batches may be, in bytes, minRoom how small
	// they get where the way is slow.
	startRoom = 256 << 10
	minRoom   = 16 << 10
	// slow and quick bound how long a batch should take: over slow the next ones
	// are smaller, under quick larger.
	slow  = 2 * time.Second
	quick = 700 * time.Millisecond
	// defaultMost is how many messages a batch has where the other stamp does not
	// say.
	defaultMost = 1000
)

// run sends what a stream holds until nothing is left.
func (s *Sink) run(p *part, l *life) {
	for {
		room, most := s.limits()
		batch := p.take(room, most)
		if len(batch) == 0 {
			return
		}
		stored, at, err := s.send(l, &attempt{items: batch})
		if err != nil {
			s.giveBack(p, batch, stored, at, err)
			return
		}
		s.settle(p, batch, at)
	}
}

// limits returns how many bytes and messages a batch may have.
func (s *Sink) limits() (room int64, most int) {
	s.sessMu.Lock()
	defer s.sessMu.Unlock()
	room, most = s.room.Load(), defaultMost
	if s.sess != nil && s.sess.MaxBatchBytes > 0 {
		room = min(room, int64(s.sess.MaxBatchBytes))
	}
	if s.sess != nil && s.sess.MaxBatchMessages > 0 {
		most = s.sess.MaxBatchMessages
	}
	return room, most
}

// settle tells that messages are stored. The stream is counted down first: who is
// told may give it more.
func (s *Sink) settle(p *part, batch []item, at int64) {
	if len(batch) == 0 {
		return
	}
	s.setDoubt(batch, false)
	at = p.stamped(at)
	p.left(len(batch))
	for _, it := range batch {
		it.done(at, nil)
	}
}

// giveBack tells of an error: the first stored messages of the batch are durable,
// the one behind them has the error, and what comes after it waits for it.
func (s *Sink) giveBack(p *part, batch []item, stored int, at int64, err error) {
	s.shut(p)
	rest := slices.Concat(batch[stored:], p.back())
	s.settle(p, batch[:stored], at)
	behind := err
	var refused *refusedError
	if errors.As(err, &refused) {
		// Surely not stored: nothing has to be looked for.
		behind = &Error{class: classHold, err: errBehind}
		s.setDoubt(rest, false)
	}
	for i, it := range rest {
		// The last one opens the door, before its answer calls for more.
		p.left(1)
		if i == 0 {
			it.done(-1, err)
		} else {
			it.done(-1, behind)
		}
	}
}

// refusedError is what the other stamp says of one message.
type refusedError struct{ wire.Refusal }

func (e *refusedError) Error() string { return "the other stamp refuses it: " + e.Reason }

// Class makes a class that is not known wait for a person.
func (e *refusedError) Class() string {
	if e.Refusal.Class == classDead {
		return classDead
	}
	return classHold
}

// attempt is a batch on its way.
type attempt struct {
	items  []item
	body   []byte
	coding string
	plain  int // bytes before compression
	// process is the one that may have stored something of it, "" for none.
	process string
	repeat  bool
	fails   int
	// large says that a smaller one might have got through.
	large bool
}

// send sends a batch until it is answered, or the life ends, or another process of
// the other stamp answers than the one that may have stored it. It returns how
// many messages, from the first on, are durable there, and the time there.
//
// The same process knows what it has stored: to that one a batch may be sent again
// and again, whatever was lost on the way.
func (s *Sink) send(l *life, a *attempt) (stored int, at int64, err error) {
	s.encode(a)
	for {
		answer, again, err := s.try(l, a)
		n := len(a.items)
		switch {
		case l.ctx.Err() != nil && err != nil:
			s.setDoubt(a.items, a.process != "")
			return 0, 0, retry(ErrClosed)
		case err == nil && (answer.Stored < 0 || answer.Stored > n || answer.Stored == n == (answer.Refused != nil)):
			s.setDoubt(a.items, true)
			return 0, 0, retry(fmt.Errorf("%w: it says that %d of %d messages are stored", errBadBody, answer.Stored, n))
		case err == nil && answer.Refused != nil:
			return answer.Stored, answer.Time, &refusedError{*answer.Refused}
		case err == nil:
			return answer.Stored, answer.Time, nil
		case a.large && n > 1:
			return s.halves(l, a)
		case !again:
			s.setDoubt(a.items, a.process != "")
			return 0, 0, classified("relay messages", err)
		}
	}
}

// halves sends in two a batch that is too large for something on the way, or takes
// too long.
func (s *Sink) halves(l *life, a *attempt) (stored int, at int64, err error) {
	s.shrink()
	half := len(a.items) / 2
	stored, at, err = s.send(l, &attempt{items: a.items[:half], process: a.process, repeat: a.repeat})
	if err != nil {
		return stored, at, err
	}
	n, later, err := s.send(l, &attempt{items: a.items[half:], process: a.process, repeat: a.repeat})
	return stored + n, max(at, later), err
}

// try sends a batch once and, where that came to nothing, waits for the next time;
// again says whether there is to be one.
func (s *Sink) try(l *life, a *attempt) (answer wire.Answer, again bool, err error) {
	sess, err := s.session(l.ctx, l)
	if err == nil && a.process != "" && sess.Process != a.process {
		return answer, false, retry(errOther)
	}
	var wait time.Duration
	if err == nil {
		began := time.Now()
		answer, wait, err = s.post(l, sess, a.body, a.coding)
		took := time.Since(began)
		s.adapt(took, a.plain, err)
		if err == nil {
			return answer, false, nil
		}
		a.large = took >= slow && (errors.Is(err, context.DeadlineExceeded) || statusOf(err) == http.StatusMisdirectedRequest) ||
			statusOf(err) == http.StatusRequestEntityTooLarge
		if !unsent(err) {
			a.process = sess.Process
		}
	}
	status := statusOf(err)
	switch {
	case l.ctx.Err() != nil:
		return answer, false, err
	case status == http.StatusMisdirectedRequest:
		s.forget(sess)
	case status == http.StatusGatewayTimeout && !a.repeat:
		// The other stamp's disk: a copy may be there that it does not know of.
		a.repeat = true
		s.encode(a)
	case status != 0 && !passing(status):
		return answer, false, err
	}
	var own *Error
	if errors.As(err, &own) && own.class == classHold {
		return answer, false, err
	}
	a.fails++
	pause := max(wait, backoff(a.fails))
	if status == http.StatusMisdirectedRequest && a.fails <= 3 {
		pause = 0
	}
	return answer, sleep(l.ctx, pause) == nil, err
}

// backoff is a random time that grows with the failures to a second.
func backoff(fails int) time.Duration {
	return rand.N(20*time.Millisecond<<min(fails, 6)) + 1
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// encode makes the body of a batch.
func (s *Sink) encode(a *attempt) {
	plain := wire.Begin(nil)
	for _, it := range a.items {
		r := wire.Leaving(s.deps.Stamp, it.m)
		r.Repeat = r.Repeat || it.repeat || a.repeat
		plain = wire.Append(plain, &r)
	}
	a.body, a.coding, a.plain = plain, "", len(plain)
	if s.zstd == nil || len(plain) < 512 {
		return
	}
	if packed := s.zstd.EncodeAll(plain, nil); len(packed) < len(plain)*9/10 {
		a.body, a.coding = packed, "zstd"
	}
}

// adapt makes batches smaller where they take long, so that one is not under way
// when its tick is no good any more, and larger where they are quick.
func (s *Sink) adapt(took time.Duration, size int, err error) {
	switch {
	case err != nil && took >= slow, err == nil && took > slow:
		s.shrink()
	case err == nil && took < quick && int64(size) > s.room.Load()/4:
		s.room.Store(min(2*s.room.Load(), int64(s.opts.BatchBytes)))
	}
}

func (s *Sink) shrink() { s.room.Store(max(s.room.Load()/2, minRoom)) }
