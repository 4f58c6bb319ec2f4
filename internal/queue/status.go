package queue

import (
	"errors"
	"path"

	"postroad/internal/durable"
	"postroad/internal/message"
	"postroad/internal/wal"
)

// Status is the state of a queue for a person.
type Status struct {
	Dir   string `json:"dir"`
	Lanes int    `json:"lanes"`
	// UnforwardedMessages are durable and not yet known to be in the hub.
	UnforwardedMessages uint64 `json:"unforwarded_messages"`
	// UnreadLanes were left by earlier processes and have not been read to
	// their ends: they may hold more than UnforwardedMessages counts.
	UnreadLanes int `json:"unread_lanes,omitempty"`
	// Listing says that the lanes of other processes have not been listed yet.
	Listing bool `json:"listing,omitempty"`
	// UnforwardedBytes is what they take on disk, within what the index
	// resolves.
	UnforwardedBytes int64 `json:"unforwarded_bytes"`
	// OldestAgeSeconds is the age of the oldest of them, within what the
	// index resolves; 0 where there is none.
	OldestAgeSeconds float64 `json:"oldest_age_seconds"`
	// DamagedMessages were acknowledged and could not be read back; see
	// quarantine/. Counted since this process began.
	DamagedMessages uint64      `json:"damaged_messages,omitempty"`
	DiskFreeBytes   int64       `json:"disk_free_bytes"`
	DiskTotalBytes  int64       `json:"disk_total_bytes"`
	Space           SpaceStatus `json:"space"`
	// Fill is how full the queue is, 0 to 1, of what it may take before it refuses
	// messages. What the hub has counts only where it is not removed in time to make
	// room.
	Fill float64 `json:"fill"`
	// FileSystem is what the directory stands on; one that is refused is used
	// all the same because of Options.UnsafeFileSystem.
	FileSystem durable.Support `json:"file_system,omitzero"`
	// Trouble says why messages are refused now; empty where they are taken.
	Trouble string `json:"trouble,omitempty"`
}

// Status looks at the queue now.
func (q *Queue) Status() Status {
	s := Status{Dir: q.opts.Dir, FileSystem: q.fileSystem, DamagedMessages: q.damaged.Load()}
	now := q.deps.Now()
	q.known.mu.Lock()
	s.Listing = q.deps.Part.drains() && !q.known.listed
	q.known.mu.Unlock()
	for _, c := range q.chains() {
		q.showProgress(c)
	}
	for _, l := range q.lanes() {
		s.Lanes++
		if l.unread() {
			s.UnreadLanes++
		}
		n := l.unforwarded()
		s.UnforwardedMessages += n
		if n == 0 {
			continue
		}
		oldest := l.info.Created
		at, ok := l.index.find(l.forwarded())
		if ok {
			oldest = at.written
		}
		s.OldestAgeSeconds = max(s.OldestAgeSeconds, now.Sub(oldest).Seconds())
		s.UnforwardedBytes += q.bytesFrom(l, at)
	}
	if space, err := q.deps.FS.Space(q.opts.Dir); err == nil {
		s.DiskFreeBytes, s.DiskTotalBytes = space.Free, space.Total
	}
	s.Space = q.spaceStatus()
	if err := q.Ready(); err != nil {
		s.Trouble = err.Error()
	}
	s.Fill = q.fullness(s)
	return s
}

// fullness is the largest of three: how much of the room that messages can have is taken
// by those that the hub does not have yet; how much of the quota is; and how far the
// free space has sunk from where forwarded messages are removed for it towards the
// reserve, whoever takes it.
func (q *Queue) fullness(s Status) float64 {
	if errors.Is(q.Ready(), message.ErrFull) {
		return 1
	}
	of := func(taken, all int64) float64 {
		if all <= 0 || taken >= all {
			return 1
		}
		return max(0, float64(taken)/float64(all))
	}
	waiting, fill := s.UnforwardedBytes, 0.0
	if s.DiskTotalBytes > 0 { // else it is not known
		mark, reserve := q.reliefMark(), q.opts.ReserveBytes
		fill = max(of(waiting, waiting+s.DiskFreeBytes-reserve), of(mark-s.DiskFreeBytes, mark-reserve))
	}
	if quota := q.opts.QuotaBytes; quota > 0 { // the last segments are not begun
		fill = max(fill, of(waiting, quota-2*q.opts.SegmentBytes))
	}
	return fill
}

// unread reports whether a lane may hold more than is known: of one that is being
// written to its heartbeat tells, and of one that another process drains that
// process's progress. Of any other only reading it to its end does: what a dead
// process saved says how far it came, and nothing of what stands behind.
func (l *lane) unread() bool {
	l.chain.mu.Lock()
	defer l.chain.mu.Unlock()
	switch {
	case l.own || l.ended:
		return false
	case !l.sealed:
		return !l.living.Load()
	case l.chain.elsewhere && !l.chain.held:
		return l.shown.Load() <= l.durable.Load()
	}
	return true
}

// bytesFrom is how many bytes of groups stand in the lane from an index entry
// on. Of a lane that another process wrote, the files tell.
func (q *Queue) bytesFrom(l *lane, at indexEntry) int64 {
	if l.own {
		return l.appended.Load() - at.before
	}
	numbers, err := q.segments(l.id)
	if err != nil {
		return 0 // it is for people, and the lane may just have been removed
	}
	var total int64
	for _, n := range numbers {
		if n < at.segment {
			continue
		}
		f, err := q.deps.FS.Open(path.Join(q.at.lane(l.id), wal.Name(n)))
		if err != nil {
			continue
		}
		if size, err := f.Size(); err == nil {
			total += size
		}
		f.Close()
	}
	return max(0, total-at.offset)
}
