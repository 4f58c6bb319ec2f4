package kafka

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var errOverdue = errors.New("the claim is overdue")

// DESIGN 6, hand-off: what waits in the client of a process whose claim is
// overdue does not reach the hub, on connections old or new; when the claim is
// good again it does.
func TestNothingIsWrittenWhileOverdue(t *testing.T) {
	cluster, addr := startCluster(t)
	var overdue atomic.Bool
	asked := make(chan struct{}, 1000)
	s, err := NewSink(options(addr), Deps{Stamp: "here", MayWrite: func() error {
		if !overdue.Load() {
			return nil
		}
		select {
		case asked <- struct{}{}:
		default:
		}
		return errOverdue
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	produce(t, s, 0, stored(1)) // the connection exists
	overdue.Store(true)
	requests := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Observe: true, Count: -1})
	var wg sync.WaitGroup
	wg.Add(1)
	m := stored(2)
	if err := s.Produce(&m, 0, s.Turn(), func(_ int64, err error) {
		if err != nil {
			t.Error(err)
		}
		wg.Done()
	}); err != nil {
		t.Fatal(err)
	}
	for range 5 { // on the old connection, and on new ones
		select {
		case <-asked:
		case <-time.After(10 * time.Second):
			t.Fatal("the client does not try to write")
		}
	}
	if n := requests.Hits(); n > 0 {
		t.Fatalf("%d produce requests reached the hub", n)
	}
	overdue.Store(false)
	waitFor(t, &wg)
	if requests.Hits() == 0 {
		t.Error("the check sees no produce request")
	}
	if got := seqs(all(t, addr, FollowOptions{})); len(got) != 2 {
		t.Errorf("the hub holds %v", got)
	}
}

// The gate is beneath the proxy's tunnel and TLS: while the claim is overdue not
// a byte leaves, of a connection that exists, of one that is made, of one that
// is closed.
func TestNothingLeavesWhileOverdue(t *testing.T) {
	a := newAuthority(t)
	_, addr := startCluster(t, a.tls(t, "hub.example"))
	p := startTunnels(t)
	o := options(addr)
	o.Proxy, o.TLS.CAFile = p.url(), a.file
	var overdue atomic.Bool
	var asked atomic.Int32
	s, err := NewSink(o, Deps{MayWrite: func() error {
		if !overdue.Load() {
			return nil
		}
		asked.Add(1)
		return errOverdue
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	produce(t, s, 0, stored(1))
	overdue.Store(true)
	client, err := s.current()
	if err != nil {
		t.Fatal(err)
	}
	quiet := int64(-1) // what was written before may still be arriving
	eventually(t, "all that was written has arrived", func() bool {
		was := quiet
		quiet = p.written.Load()
		return was == quiet
	})
	var wg sync.WaitGroup
	wg.Add(1)
	m := stored(2)
	if err := s.Produce(&m, 0, s.Turn(), func(int64, error) { wg.Done() }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client tries to write, on new connections too", func() bool {
		client.Ping(t.Context())
		return asked.Load() > 10
	})
	if n := p.written.Load(); n != quiet {
		t.Errorf("%d bytes left the process", n-quiet)
	}
	overdue.Store(false)
	waitFor(t, &wg)
	if p.written.Load() == quiet {
		t.Error("the check sees no bytes at all")
	}
}
