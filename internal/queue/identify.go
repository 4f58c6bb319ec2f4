package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"postroad/internal/durable"
)

// identify settles whose lane it is that has had no readable lane file for as long
// as a dead writer's heartbeat stands still; nil where that is still open.
//
// What a lookup does not find may be there all the same. A writer that is stopped
// between a lane's fence and its file goes on minutes later, and acknowledges
// messages; a forwarder whose kernel still holds that there is no such file would
// take the lane for a chain of its own, and send those messages beside, and before,
// what the same process took earlier. So the file is made first, empty: either that
// succeeds, and the writer finds that it cannot open its lane; or there is one, and
// who wrote it is read. Only a lane that nobody has a claim to is then ended.
//
// Where the share is full the file cannot be made, and what stands in the lane may
// be what fills it. Such a lane is ended, in place, and taken as it is once it has
// stood for longer than any host remembers that a name was not there.
func (q *Queue) identify(l *lane, stood time.Duration) (*lane, error) {
	if l.unseen {
		err := q.onBallast(func() error { return durable.WriteNew(q.deps.FS, q.at.laneFile(l.id, laneFileName), nil) })
		switch {
		case missing(err): // removed, and the list is old
			return nil, nil
		case errors.Is(err, fs.ErrExist):
			again, err := q.loadLane(l.id)
			if err != nil || again.nameless { // it is looked at once more: what it holds may be on its way
				return nil, err
			}
			return again, nil
		case isFull(err) && stood >= forgotten:
			q.deps.Log.Warn("no room to make sure who wrote a lane, taking it as it is", "lane", l.id, "err", err)
		case err != nil:
			return nil, fmt.Errorf("make the file of lane %s: %w", l.id, err)
		}
	}
	fenced, gone, err := q.isFenced(l.id)
	if err != nil {
		return nil, err
	}
	if !fenced {
		err := q.onBallast(func() error { return q.fill(l.id, gone) })
		switch {
		case missing(err):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("end lane %s, of which nobody knows who wrote it: %w", l.id, err)
		}
		q.deps.Log.Warn("lane ended, nobody has said in time who wrote it", "lane", l.id)
	}
	if l.unseen {
		return l, nil
	}
	return q.loadLane(l.id) // opened anew after the fence: what is not there now, was never acknowledged
}
