package kafka

import (
	"testing"
	"time"
)

// After a reset the forwarder waits for what may be under way, counted from when
// the client that was given up last had a connection.
func TestGivenUp(t *testing.T) {
	addr, stop := startHub(t, "", "")
	s := startSink(t, options(addr))
	reset := func() time.Time {
		t.Helper()
		if err := s.Reset(); err != nil {
			t.Fatal(err)
		}
		return s.GivenUp()
	}
	if at := reset(); !at.IsZero() {
		t.Errorf("a client that never had a connection may have sent until %v", at)
	}
	produce(t, s, 0, stored(1))
	before := time.Now()
	last := reset()
	if last.Before(before) {
		t.Errorf("a client with a connection was given up at %v, and may have sent until %v", before, last)
	}
	produce(t, s, 0, stored(2))
	stop()
	m := stored(3)
	if err := s.Produce(&m, 0, s.Turn(), func(int64, error) {}); err != nil {
		t.Fatal(err)
	}
	sent := s.producers[0].sent
	for deadline := time.Now().Add(time.Minute); ; {
		sent.mu.Lock()
		open := sent.open
		sent.mu.Unlock()
		if open == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections to a hub that has gone", open)
		}
		<-time.After(10 * time.Millisecond)
	}
	gone := time.Now()
	if at := reset(); at.After(gone) || !at.After(last) {
		t.Errorf("the hub was gone by %v, and the client may have sent until %v", gone, at)
	}
	if at, again := s.GivenUp(), reset(); again.Before(at) {
		t.Errorf("a second reset forgets what the first has given up: %v, %v", at, again)
	}
}
