package wal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"time"

	"postroad/internal/durable"
)

// Name returns the file name of a lane's segment: its number in eight digits,
// so that a reader that has come to the end of one knows the name of the next
// without a listing, which on a share may be stale.
func Name(number uint64) string { return fmt.Sprintf("%08d.seg", number) }

// Segment is a segment open for appending. It belongs to the lane's committer.
type Segment struct {
	// Header is as written.
	Header Header
	file   durable.File
	name   string
	size   int64 // what the segment may grow to
	end    int64 // where the next group goes
	buf    []byte
}

// Blank is a segment file that was made ahead and not begun.
type Blank struct {
	file   durable.File
	name   string
	number uint64
	size   int64
}

// zeroStep is how much is zeroed by one write.
const zeroStep = 1 << 20

// Prepare makes the segment's file in the lane's directory. With zero it is
// filled with zero bytes up to size, so that appending changes neither size nor
// blocks and a sync writes data alone (1.3 to 1.5 times as many on local
// disks; on shares it only costs). The filling ends early, and is then not
// synced, once hurry is closed: a writer waits for the file. The name is durable
// when Prepare returns.
//
// System calls: open(O_CREAT|O_EXCL), pwrite…, fdatasync, fsync of dir.
func Prepare(fsys durable.FS, dir string, number uint64, size int64, zero bool, hurry <-chan struct{}) (*Blank, error) {
	name := path.Join(dir, Name(number))
	f, err := fsys.Create(name)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	b := &Blank{file: f, name: name, number: number, size: size}
	if zero {
		err = fillZero(f, size, hurry)
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare segment %s: %w", Name(number), err), b.Discard(fsys))
	}
	return b, nil
}

func fillZero(f durable.File, size int64, hurry <-chan struct{}) error {
	zeros := make([]byte, min(zeroStep, size))
	for at := int64(0); at < size; at += int64(len(zeros)) {
		select {
		case <-hurry:
			return nil
		default:
		}
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return f.Datasync()
}

// Discard closes and removes a file that was never begun.
func (b *Blank) Discard(fsys durable.FS) error {
	return errors.Join(b.file.Close(), fsys.Remove(b.name))
}

// Size is what the segment may grow to, in bytes.
func (b *Blank) Size() int64 { return b.size }

// Begin writes the header. It is on stable storage with the first Sync, before
// which no group counts; a crash between leaves a blank or headless segment
// without any group that was acknowledged.
func (b *Blank) Begin(lane [16]byte, first uint64, now time.Time) (*Segment, error) {
	h := Header{Lane: lane, Number: b.number, First: first, Created: now}
	rand.Read(h.Salt[:]) // never fails, crypto/rand aborts the program first
	if _, err := b.file.WriteAt(h.encode(), 0); err != nil {
		return nil, fmt.Errorf("write header of segment %s: %w", Name(b.number), err)
	}
	return &Segment{Header: h, file: b.file, name: b.name, size: b.size, end: HeaderSize}, nil
}

// Fits reports whether a group of n bytes (Frames.Size) fits beside what has
// been added. A group fits every segment that has none yet.
func (s *Segment) Fits(n int64) bool {
	at := s.end + int64(len(s.buf))
	return at+n <= s.size || at == HeaderSize
}

// Add places a group of frames behind what was added before and returns where
// it begins. Nothing is written yet.
func (s *Segment) Add(f *Frames, first, durableSeq uint64, now time.Time) (offset int64) {
	offset = s.end + int64(len(s.buf))
	g := groupHeader{
		first: first, durable: durableSeq,
		count: uint32(f.count), length: uint32(len(f.b)), frames: f.sum,
		written: now.UnixMicro(),
	}
	s.buf = g.append(s.buf, s.Header.Salt)
	s.buf = append(s.buf, f.b...)
	return offset
}

// Added returns how many bytes wait to be written.
func (s *Segment) Added() int { return len(s.buf) }

// Pending returns the bytes that Commit will write, for Groups. They are valid
// until the next Add.
func (s *Segment) Pending() []byte { return s.buf }

// keepBuffer is how large a write buffer is kept for the next commit.
const keepBuffer = 8 << 20

// Commit writes what was added with one write and returns after the sync. After
// an error what was added may be on disk in part, in whole or not at all, now
// or later, and the segment must not be written again: the kernel may have
// dropped the pages it failed to write, and a second sync would report success.
//
// System calls: pwrite, fdatasync.
func (s *Segment) Commit() error {
	if len(s.buf) == 0 {
		return nil
	}
	n, err := s.file.WriteAt(s.buf, s.end)
	s.end += int64(n)
	if s.buf = s.buf[:0]; cap(s.buf) > keepBuffer {
		s.buf = nil
	}
	if err != nil {
		return fmt.Errorf("write segment %s: %w", Name(s.Header.Number), err)
	}
	if err := s.file.Datasync(); err != nil {
		return fmt.Errorf("sync segment %s: %w", Name(s.Header.Number), err)
	}
	return nil
}

// End returns the offset behind the last group that was written.
func (s *Segment) End() int64 { return s.end }

// Close closes the file without a sync.
func (s *Segment) Close() error { return s.file.Close() }

// Size is what the segment may grow to, in bytes.
func (s *Segment) Size() int64 { return s.size }
