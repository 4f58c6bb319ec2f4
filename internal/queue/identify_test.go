package queue_test

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/queue"
)

// forgetful is a host whose kernel holds that there are no such files in a lane until
// it is told by the server that the name of the lane file is taken.
type forgetful struct {
	*faultfs.FS
	name   string // of the lane file
	hidden []string
	told   *atomic.Bool
}

func (f forgetful) Open(name string) (durable.File, error) {
	if path.Dir(name) == path.Dir(f.name) && slices.Contains(f.hidden, path.Base(name)) && !f.told.Load() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	}
	return f.FS.Open(name)
}

func (f forgetful) Create(name string) (durable.File, error) {
	file, err := f.FS.Create(name)
	if name == f.name && errors.Is(err, fs.ErrExist) {
		f.told.Store(true)
	}
	return file, err
}

// A lane whose file a forwarder's kernel does not show, however long, holds messages
// of a process that has others before it: taken for a chain of its own, it would be
// sent beside them.
func TestALaneWhoseFileIsNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q, stop := begin(t, disk, nil)
		if err := l.append(t.Context(), q, "a"); err != nil {
			t.Fatal(err)
		}
		disk.When(syncs(segments), faultfs.FailBefore(syscall.EIO))
		_ = l.append(t.Context(), q, "lost with its lane")
		if err := l.append(t.Context(), q, "b"); err != nil {
			t.Fatal(err)
		}
		disk = killed(disk, stop)
		name := path.Join("queue/lanes", l.places["b"].Lane, "lane")
		told := new(atomic.Bool)
		next, end := begin(t, forgetful{disk, name, []string{"lane"}, told}, only(queue.Drains))
		defer end()
		wait(time.Minute) // until it has met both lanes
		chains, err := drainChains(next, true)
		if err != nil {
			t.Fatal(err)
		}
		if !told.Load() {
			t.Error("nobody asked the server whether the name is taken")
		}
		if len(chains) != 1 {
			t.Fatalf("%d chains: %v", len(chains), chains)
		}
		got := values(chains[0])
		if a, b := slices.Index(got, "a"), slices.Index(got, "b"); a < 0 || b < a {
			t.Errorf("drained %q", got)
		}
	})
}

// One whose heartbeat is not shown either has a writer that lives, and has acknowledged
// messages: it is not ended.
func TestALivingLaneThatIsNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		writer := started(t, disk, only(queue.Writes))
		if err := l.append(t.Context(), writer, "a"); err != nil {
			t.Fatal(err)
		}
		name, told := path.Join("queue/lanes", l.places["a"].Lane, "lane"), new(atomic.Bool)
		drainer := started(t, forgetful{disk, name, []string{"lane", "heartbeat"}, told}, only(queue.Drains))
		wait(2 * time.Minute)
		if err := l.append(t.Context(), writer, "b"); err != nil {
			t.Fatal(err)
		}
		if !told.Load() || l.places["a"].Lane != l.places["b"].Lane {
			t.Errorf("asked: %v; lanes %s and %s", told.Load(), l.places["a"].Lane, l.places["b"].Lane)
		}
		wait(time.Minute)
		chains, err := drainChains(drainer, true)
		if err != nil || len(chains) != 1 || !slices.Equal(values(chains[0]), []string{"a", "b"}) {
			t.Errorf("drained %v: %v", chains, err)
		}
	})
}

// A writer that is stopped while it makes a lane, and goes on when the others have
// given the lane up, acknowledges nothing in it: it makes another.
func TestAWriterThatIsStoppedWhileItMakesALane(t *testing.T) {
	for _, at := range []faultfs.Match{
		{Kind: faultfs.OpCreate, Name: "lane"},
		{Kind: faultfs.OpWrite, Name: "lane"},
		{Kind: faultfs.OpSync, Name: "lane"},
		{Kind: faultfs.OpCreate, Name: "heartbeat"},
		{Kind: faultfs.OpWrite, Name: "heartbeat"},
		{Kind: faultfs.OpSync, Name: "heartbeat"},
	} {
		t.Run(string(at.Kind)+" "+at.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { stoppedWhileMaking(t, at) })
		})
	}
}

func stoppedWhileMaking(t *testing.T, at faultfs.Match) {
	disk, l := faultfs.New(1), newLedger()
	writer := started(t, disk, only(queue.Writes))
	drainer := started(t, disk, only(queue.Drains))
	if err := l.append(t.Context(), writer, "a"); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	var once atomic.Bool
	disk.When(at, faultfs.Delay(func(faultfs.Op) {
		if once.CompareAndSwap(false, true) {
			<-hold
		}
	}))
	disk.When(syncs(segments), faultfs.FailBefore(syscall.EIO))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_ = l.append(ctx, writer, "lost with its lane")
	wait(2 * time.Minute)
	if !once.Load() {
		t.Fatal("no lane was being made")
	}
	close(hold)
	wait(time.Minute)
	if err := l.append(t.Context(), writer, "b"); err != nil {
		t.Fatal(err)
	}
	wait(time.Minute) // until the other has met its lane
	chains, err := drainChains(drainer, true)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range chains {
		got = append(got, values(c)...)
	}
	if a, b := slices.Index(got, "a"), slices.Index(got, "b"); a < 0 || b < a {
		t.Errorf("drained %q", got)
	}
}
