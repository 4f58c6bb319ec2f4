package forward

import (
	"testing"
	"time"

	"postroad/internal/message"
)

// laggard is a partition of which records without a mark are known below near, and
// the others below next.
func laggard(near, next int64, marked, plain *idRoom) *past {
	p := &past{topic: "t", near: near, next: next, behind: near < next, from: time.Now().Add(-time.Hour)}
	p.marked.room, p.plain.room = marked, plain
	return p
}

func roomFor(n int64) *idRoom {
	r := &idRoom{}
	r.left.Store(n)
	return r
}

func standing(o int64) *message.Copy {
	return &message.Copy{ID: numbered(uint64(o)), Produced: time.Now(), At: message.Mark{Topic: "t", Offset: o}}
}

func repeatOf(o int64) *message.Stored {
	m := &message.Stored{Message: message.Message{ID: numbered(uint64(o)), Topic: "t", Repeat: true}}
	m.Time = time.Now()
	return m
}

// Records for whose ids there is no room are not known, though there is room again
// for those behind them; and they are read again.
func TestPastShortOfRoom(t *testing.T) {
	room := roomFor(10)
	p := laggard(0, 30, roomFor(0), room)
	for o := range int64(20) {
		if o == 15 {
			room.give(10)
		}
		p.saw(standing(o), true)
	}
	p.done(20, true)
	if p.near != 10 || !p.behind {
		t.Errorf("known up to %d, behind %v; there was room for ten", p.near, p.behind)
	}
	if _, found, unsure := p.twin(repeatOf(12)); found || !unsure {
		t.Errorf("a copy at 12: found %v, unsure %v", found, unsure)
	}
	room.give(idBlockSize)
	span, some := p.nearer(0)
	if !some || span.From != 10 || span.To != 30 {
		t.Fatalf("%v is to be read, %v", span, some)
	}
	for o := span.From; o < span.To; o++ {
		p.saw(standing(o), true)
	}
	p.done(span.To, true)
	if at, found, _ := p.twin(repeatOf(12)); !found || at != 12 {
		t.Errorf("after reading it is found: %v, at %d", found, at)
	}
	if p.behind {
		t.Error("it is still behind")
	}
}

// The room is handed out once.
func TestPastSharesItsRoom(t *testing.T) {
	room := roomFor(2*idBlockSize + 100)
	a, b, c := laggard(0, idBlockSize, roomFor(0), room), laggard(0, 2*idBlockSize, roomFor(0), room), laggard(0, 5, roomFor(0), room)
	first, some := a.nearer(0)
	if !some || first.To != idBlockSize {
		t.Fatalf("the first is to read %v, %v", first, some)
	}
	second, some := b.nearer(first.To)
	if !some || second.To != idBlockSize+100 {
		t.Errorf("the second is to read %v, %v", second, some)
	}
	if third, some := c.nearer(first.To + second.To); some {
		t.Errorf("the third is to read %v", third)
	}
}

// What the process sends itself while it is behind is not kept, and so not known
// when it has caught up with what was there.
func TestPastOfItsOwnWhileBehind(t *testing.T) {
	room := roomFor(2 * idBlockSize)
	p := laggard(5, 10, roomFor(5), room)
	p.landed(standing(10), false)
	p.landed(standing(11), false)
	for o := range int64(5) {
		p.saw(standing(5+o), true)
	}
	p.done(10, true)
	p.unread(12, 0)
	if _, found, unsure := p.twin(repeatOf(11)); !found && !unsure {
		t.Error("its own record is not found, and that is said to be certain")
	}
	span, some := p.nearer(0)
	if !some || span.From != 10 || span.To != 12 {
		t.Fatalf("%v is to be read, %v", span, some)
	}
	for o := span.From; o < span.To; o++ {
		p.saw(standing(o), true)
	}
	p.done(12, true)
	p.landed(standing(12), false) // not behind: known at once
	p.unread(13, 0)
	for _, o := range []int64{5, 10, 11, 12} {
		if at, found, _ := p.twin(repeatOf(o)); !found || at != o {
			t.Errorf("the record at %d: found %v, at %d", o, found, at)
		}
	}
}
