package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"postroad/internal/durable"
	"postroad/internal/message"
)

// Inspector looks into a queue directory without taking part in it: it claims
// nothing, opens no lane, holds no lock and writes nothing, so that it may be
// used beside the processes that work there, and on a read-only mount.
//
// What it tells was so when it looked. A process that writes meanwhile is a few
// seconds ahead of its heartbeat and of the saved progress.
type Inspector struct {
	fsys durable.FS
	at   layout
	self owner

	mu sync.Mutex
	// seen caches which owners were looked for on this machine. Guarded by mu.
	seen map[owner]string
}

// Inspect opens a queue directory for looking. message.ErrInvalid where it is
// none.
func Inspect(dir string, fsys durable.FS) (*Inspector, error) {
	if fsys == nil {
		fsys = durable.OS{}
	}
	v := &Inspector{fsys: fsys, at: layout{dir}, seen: make(map[owner]string)}
	// Without it nothing can be said about owners, and all the rest can.
	v.self, _ = thisProcess("")
	for _, sub := range []string{v.at.lanes(), v.at.claims()} {
		if !durable.Exists(fsys, sub) {
			return nil, fmt.Errorf("%s is no queue directory: it has no %s: %w", dir, path.Base(sub), message.ErrInvalid)
		}
	}
	return v, nil
}

// inspectors is how many lanes or chains are looked at at once: enough to hide
// the latency of a share, few enough to leave it to those who work there.
const inspectors = 16

// each calls do for 0 to n-1, some at a time, until one fails or ctx ends.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(inspectors)
	for i := range n {
		if inner.Err() != nil {
			break
		}
		g.Go(func() error { return do(inner, i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// smallFile is what the small files of a lane or claim are read by, in bytes:
// all of it, heartbeats of 1024 included, but for very long names.
const smallFile = 1280

// largeFile is the longest of them that can be sound, in bytes.
const largeFile = 64 << 10

// readSmall reads the beginning of a file that is short where it is sound. It
// leaves out the size that durable.ReadFile asks for: of ten thousand lanes each
// call counts. System calls: open, pread, close.
func (v *Inspector) readSmall(name string) ([]byte, error) {
	b, err := v.readUpTo(name, smallFile)
	if err == nil && len(b) == smallFile {
		b, err = v.readUpTo(name, largeFile)
	}
	return b, err
}

func (v *Inspector) readUpTo(name string, most int) ([]byte, error) {
	f, err := v.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, most)
	n, err := f.ReadAt(b, 0)
	f.Close()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}

// List looks at everything in the directory. Each lane and chain costs a few
// reads of a sector and one listing; no message is read.
func (v *Inspector) List(ctx context.Context) (Listing, error) {
	l := Listing{Dir: v.at.dir, Time: time.Now().UTC()}
	ids, others, err := v.laneIDs()
	if err != nil {
		return Listing{}, err
	}
	l.Others = others
	chains, err := v.chainViews(ctx)
	if err != nil {
		return Listing{}, err
	}
	l.Lanes = make([]LaneView, len(ids))
	err = each(ctx, len(ids), func(_ context.Context, i int) error {
		var err error
		l.Lanes[i], err = v.laneView(ids[i])
		return err
	})
	if err != nil {
		return Listing{}, err
	}
	l.Lanes = l.join(chains)
	if l.Quarantine, err = v.reports(ctx); err != nil {
		return Listing{}, err
	}
	l.sum()
	return l, nil
}

// laneIDs lists the lanes, oldest first, and what else is in their directory.
func (v *Inspector) laneIDs() (ids, others []string, err error) {
	entries, err := v.fsys.ReadDir(v.at.lanes())
	if err != nil {
		return nil, nil, fmt.Errorf("list lanes: %w", err)
	}
	ids = make([]string, 0, len(entries))
	for _, e := range entries {
		if e.IsDir() && message.ValidLane(e.Name()) {
			ids = append(ids, e.Name())
		} else {
			others = append(others, path.Join("lanes", e.Name()))
		}
	}
	return ids, others, nil
}

// chainViews looks at the claims of all chains.
func (v *Inspector) chainViews(ctx context.Context) (map[string]*chainView, error) {
	entries, err := v.fsys.ReadDir(v.at.claims())
	if err != nil {
		return nil, fmt.Errorf("list claims: %w", err)
	}
	views := make([]*chainView, len(entries))
	err = each(ctx, len(entries), func(_ context.Context, i int) error {
		if e := entries[i]; e.IsDir() && message.ValidLane(e.Name()) {
			var err error
			views[i], err = v.chainView(e.Name())
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	byID := make(map[string]*chainView, len(views))
	for _, c := range views {
		if c != nil {
			byID[c.Chain] = c
		}
	}
	return byID, nil
}

// join gives each lane what its chain's progress says, and the listing the
// claims. It returns the lanes that are still there.
func (l *Listing) join(chains map[string]*chainView) []LaneView {
	kept := l.Lanes[:0]
	for _, lane := range l.Lanes {
		if lane.Lane == "" { // removed while we looked
			continue
		}
		lane.settle(chains[lane.Chain])
		kept = append(kept, lane)
	}
	for _, id := range sortedIDs(chains) {
		l.Claims = append(l.Claims, chains[id].ClaimView)
	}
	return kept
}

// sum adds up the lanes.
func (l *Listing) sum() {
	for i := range l.Lanes {
		lane := &l.Lanes[i]
		l.Bytes += lane.Bytes
		l.Unforwarded += lane.Unforwarded
		l.OpenLetters += lane.OpenLetters
	}
}
