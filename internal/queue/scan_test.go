package queue

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"path"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
)

// hiding is a host that does not find a lane's file until it is told that the name is
// taken.
type hiding struct {
	*faultfs.FS
	name string
	told bool
}

func (h *hiding) Open(name string) (durable.File, error) {
	if name == h.name && !h.told {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	}
	return h.FS.Open(name)
}

func (h *hiding) Create(name string) (durable.File, error) {
	f, err := h.FS.Create(name)
	h.told = h.told || name == h.name && errors.Is(err, fs.ErrExist)
	return f, err
}

// halfMade is a queue that runs nothing, with a lane that has no file yet.
func halfMade(t *testing.T) (q *Queue, disk *hiding, lane string) {
	t.Helper()
	disk, lane = &hiding{FS: faultfs.New(1)}, ulid.Make().String()
	opts := DefaultOptions()
	opts.Dir, opts.UnsafeFileSystem, opts.ReserveBytes, opts.BallastBytes = "queue", true, 0, 0
	began := time.Now()
	q, err := Open(opts, Deps{
		FS: disk, Log: slog.New(slog.DiscardHandler), Part: Drains, Now: time.Now,
		Elapsed: func() time.Duration { return time.Since(began) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := disk.Mkdir(q.at.lane(lane)); err != nil {
		t.Fatal(err)
	}
	return q, disk, lane
}

func (q *Queue) mustScan(t *testing.T, unfinished map[string]*watch) {
	t.Helper()
	if err := q.rescan(t.Context(), unfinished); err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Second)
}

// What is noted of lanes that are being made does not outlive them.
func TestNothingIsKeptOfALaneThatNeverWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, disk, lane := halfMade(t)
		unfinished := map[string]*watch{}
		q.mustScan(t, unfinished)
		if len(unfinished) != 1 {
			t.Fatalf("%d lanes are being made", len(unfinished))
		}
		if err := disk.Remove(q.at.lane(lane)); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			q.mustScan(t, unfinished)
		}
		if len(unfinished) != 0 {
			t.Errorf("still noted: %v", unfinished)
		}
	})
}

// A lane of this process's own committer, which was stopped for long while it made
// it, is left to the committer, whatever this host showed of it before.
func TestALaneOfItsOwnIsNotMet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, disk, lane := halfMade(t)
		disk.name = path.Join(q.at.lane(lane), laneFileName)
		text, err := json.Marshal(laneInfo{Format: laneFormat, Lane: lane, Owner: q.self})
		if err != nil {
			t.Fatal(err)
		}
		if err := durable.WriteNew(disk.FS, disk.name, text); err != nil {
			t.Fatal(err)
		}
		unfinished := map[string]*watch{}
		for range 30 {
			q.mustScan(t, unfinished)
		}
		if !disk.told {
			t.Error("the server was not asked")
		}
		if l := q.known.lane(lane); l != nil || len(unfinished) != 0 {
			t.Errorf("met as %+v; unfinished: %v", l, unfinished)
		}
	})
}
