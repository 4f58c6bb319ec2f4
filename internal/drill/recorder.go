package drill

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// RecorderEnv is the environment variable that switches a flight recorder on
// in a process of Postroad's: the path of its file.
const RecorderEnv = "POSTROAD_FLIGHT_RECORDER"

// The file of a flight recorder is one page: eight bytes of magic, the process
// id, then a counter in each cache line, all in the byte order of the machine.
// Counters only grow; what is under way is the difference of two.
//
//	0    8  magic
//	8    8  process id
//	64  8·n counters, the i-th at 64·(i+1)
const (
	recorderMagic = "PRFLIGH1"
	recorderSize  = 4096
	recorderLine  = 64
)

// The counters, in the order of the file.
const (
	countStarted = iota
	countAnswered
	countUnknown
	countSynced
	countSyncedAnswered
	countGroups
	countProduces
	countProduced
	countClosed
	counters
)

// Recorder counts what a process has under way in a file that outlives it: the
// memory is shared with the page cache, so after SIGKILL the file tells what
// the process was doing at that instant. It costs an atomic add an event and
// syncs nothing: it is not for power cuts.
//
// Its methods suit the observers of gateway, queue and forwarder; they are
// safe for concurrent use, and those of a nil Recorder do nothing.
type Recorder struct {
	cells [counters]*atomic.Uint64
}

// NewRecorder makes the file, in place of what an earlier process left there.
func NewRecorder(path string) (_ *Recorder, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("flight recorder: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(recorderSize); err != nil {
		return nil, fmt.Errorf("flight recorder: %w", err)
	}
	page, err := unix.Mmap(int(f.Fd()), 0, recorderSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("flight recorder: map %s: %w", path, err)
	}
	r := &Recorder{}
	for i := range r.cells {
		// A page is aligned far beyond the eight bytes an atomic needs.
		r.cells[i] = (*atomic.Uint64)(unsafe.Pointer(&page[recorderLine*(i+1)]))
	}
	binary.NativeEndian.PutUint64(page[8:], uint64(os.Getpid()))
	copy(page, recorderMagic)
	return r, nil
}

func (r *Recorder) add(counter, n int) {
	if r != nil {
		r.cells[counter].Add(uint64(n))
	}
}

// RequestStarted counts a POST of messages that came in.
func (r *Recorder) RequestStarted() { r.add(countStarted, 1) }

// Synced counts a POST whose messages the gateway knows to be durable.
func (r *Recorder) Synced() { r.add(countSynced, 1) }

// Answered counts a POST that is answered; synced says whether Synced was
// called for it.
func (r *Recorder) Answered(status int, synced bool) {
	if synced {
		r.add(countSyncedAnswered, 1)
	}
	if status == 504 {
		r.add(countUnknown, 1)
	}
	r.add(countAnswered, 1)
}

// GroupsSynced counts requests that the queue made durable, before their
// callers hear of it.
func (r *Recorder) GroupsSynced(n int) { r.add(countGroups, n) }

// ProduceStarted counts a message that is given to the hub's client.
func (r *Recorder) ProduceStarted() { r.add(countProduces, 1) }

// ProduceDone counts a message whose produce has ended, well or not.
func (r *Recorder) ProduceDone() { r.add(countProduced, 1) }

// Close notes that the process ends by itself. The page stays mapped, so that
// whoever is late may still count.
func (r *Recorder) Close() error {
	r.add(countClosed, 1)
	return nil
}

// Flight is what a flight recorder held.
type Flight struct {
	PID int
	// Posts is how many POSTs of messages were in flight.
	Posts int
	// SyncedUnanswered is how many of them were durable and had no answer
	// yet. It is a lower bound where answers of unknown outcome were given.
	SyncedUnanswered int
	// Produces is how many messages the hub's client had without an answer.
	Produces int
	// Answered is how many POSTs were answered in all, and Groups how many
	// requests were made durable.
	Answered, Groups int
	// Closed says that the process ended by itself.
	Closed bool
}

// ErrRecorder is a file that is not a flight recorder's.
var ErrRecorder = errors.New("not the file of a flight recorder")

// ReadFlight reads the file of a process that is dead. While it lives the
// counters do not belong to one instant.
func ReadFlight(path string) (Flight, error) {
	page, err := os.ReadFile(path)
	if err != nil {
		return Flight{}, fmt.Errorf("flight recorder: %w", err)
	}
	f, err := parseFlight(page)
	if err != nil {
		return Flight{}, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func parseFlight(page []byte) (Flight, error) {
	if len(page) != recorderSize || string(page[:8]) != recorderMagic {
		return Flight{}, ErrRecorder
	}
	var n [counters]int
	for i := range n {
		n[i] = int(binary.NativeEndian.Uint64(page[recorderLine*(i+1):]))
	}
	return Flight{
		PID:   int(binary.NativeEndian.Uint64(page[8:])),
		Posts: n[countStarted] - n[countAnswered],
		// The queue counts first, the gateway a moment later: the queue's
		// count is the truth. A request that was told "unknown" may have been
		// synced after all and has no synced answer.
		SyncedUnanswered: max(0, n[countGroups]-n[countSyncedAnswered]-n[countUnknown], n[countSynced]-n[countSyncedAnswered]),
		Produces:         n[countProduces] - n[countProduced],
		Answered:         n[countAnswered],
		Groups:           n[countGroups],
		Closed:           n[countClosed] > 0,
	}, nil
}
