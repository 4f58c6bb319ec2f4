package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"postroad/internal/durable"
	"postroad/internal/message"
)

// Group is a valid frame group as it was read.
type Group struct {
	// First is the seq of the first frame; Count frames follow each other.
	First uint64
	Count int
	// Durable is the writer's durable seq when it wrote the group.
	Durable uint64
	// Written is when the group was written, by the writer's clock.
	Written time.Time
	// Offset and Size say where the group stands in its segment, in bytes.
	Offset, Size int64
	frames       []byte
}

// Last is the seq of the last frame.
func (g *Group) Last() uint64 { return g.First + uint64(g.Count) - 1 }

// Messages decodes the frames. The messages share the group's memory, which is
// not used again. An error matches message.ErrDamaged.
func (g *Group) Messages() ([]message.Message, error) {
	msgs := make([]message.Message, 0, min(g.Count, len(g.frames)))
	b := g.frames
	for len(msgs) < g.Count {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return nil, fmt.Errorf("frame %d of group %d: length: %w", len(msgs), g.First, message.ErrDamaged)
		}
		m, err := message.Decode(b[w : w+int(n) : w+int(n)])
		if err != nil {
			return nil, fmt.Errorf("frame %d of group %d: %w", len(msgs), g.First, err)
		}
		msgs = append(msgs, m)
		b = b[w+int(n):]
	}
	if len(b) >= groupAlign || !allZero(b) {
		return nil, fmt.Errorf("group %d: %d bytes after frame %d: %w", g.First, len(b), g.Count, message.ErrDamaged)
	}
	return msgs, nil
}

// InvalidError says that the bytes at Offset are no valid group. It matches
// message.ErrDamaged, though only the caller can tell damage from an end that
// is being written.
type InvalidError struct {
	// Offset is where the group would begin.
	Offset int64
	// Reason says which check failed.
	Reason string
	// Known says that the header is sound and only the frames are not; First
	// and Count then say which seqs those are, and Size how far they reach.
	Known bool
	First uint64
	Count int
	Size  int64
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("no valid group at byte %d: %s", e.Offset, e.Reason)
}

// Is makes errors.Is(err, message.ErrDamaged) true.
func (e *InvalidError) Is(target error) bool { return target == message.ErrDamaged }

// Reader reads the groups of one segment in order. It belongs to one goroutine.
type Reader struct {
	// Header is as it stands in the file.
	Header Header
	// HeaderDamaged says that one of the header's two copies is damaged, which
	// costs nothing but is to be reported.
	HeaderDamaged bool
	file          durable.File
	at            int64 // where the next group begins
	buf           []byte
	bufAt         int64 // offset of buf in the file
}

// OpenReader opens a segment and reads its header: ErrBlank where nothing was
// written yet, message.ErrDamaged where the header does not pass, fs.ErrNotExist.
func OpenReader(fsys durable.FS, name string) (*Reader, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, HeaderSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, f.Close())
	}
	h, damaged, err := decodeHeaders(b[:n])
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Reader{Header: h, HeaderDamaged: damaged, file: f, at: HeaderSize}, nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.file.Close() }

// Offset is where the next group begins or would begin.
func (r *Reader) Offset() int64 { return r.at }

// SeekTo makes the group at offset the next one. Bytes read before are read anew.
func (r *Reader) SeekTo(offset int64) { r.at, r.buf = offset, nil }

// Size is the length of the file now, in bytes.
func (r *Reader) Size() (int64, error) { return r.file.Size() }

// readAhead is how much is read at once, in bytes. Messages of a group share
// this memory, so it also bounds what a message that lingers holds on to.
const readAhead = 256 << 10

// Next returns the next group. io.EOF says that nothing but zero bytes, or no
// byte, stands where it would begin; *InvalidError that something else does.
// After either, nothing has moved: Next tries the same place again, with bytes
// read anew.
func (r *Reader) Next() (Group, error) {
	h, err := r.peek(GroupHeaderSize)
	if err != nil {
		return Group{}, err
	}
	if allZero(h) {
		r.buf = nil
		return Group{}, io.EOF
	}
	g, ok := groupHeader{}, false
	if len(h) == GroupHeaderSize {
		g, ok = decodeGroupHeader(h, r.Header.Salt)
	}
	if !ok {
		r.buf = nil
		return Group{}, &InvalidError{Offset: r.at, Reason: "group header does not pass its checksum"}
	}
	size := int64(GroupHeaderSize + int(g.length))
	b, err := r.peek(GroupHeaderSize + int(g.length))
	if err != nil {
		return Group{}, err
	}
	invalid := &InvalidError{Offset: r.at, Known: true, First: g.first, Count: int(g.count), Size: size}
	switch {
	case len(b) < GroupHeaderSize+int(g.length):
		invalid.Reason = "frames end before their length"
	case crc32.Checksum(b[GroupHeaderSize:], castagnoli) != g.frames:
		invalid.Reason = "frames do not pass their checksum"
	default:
		group := Group{
			First: g.first, Count: int(g.count), Durable: g.durable, Written: time.UnixMicro(g.written).UTC(),
			Offset: r.at, Size: size, frames: b[GroupHeaderSize:len(b):len(b)],
		}
		r.at += size
		return group, nil
	}
	r.buf = nil
	return Group{}, invalid
}

// peek returns up to n bytes from r.at, fewer at the end of the file.
func (r *Reader) peek(n int) ([]byte, error) {
	if r.buf != nil {
		if skip := r.at - r.bufAt; skip >= 0 && skip+int64(n) <= int64(len(r.buf)) {
			return r.buf[skip : skip+int64(n)], nil
		}
	}
	buf := make([]byte, max(n, readAhead))
	got, err := r.file.ReadAt(buf, r.at)
	if err != nil && !errors.Is(err, io.EOF) {
		r.buf = nil
		return nil, fmt.Errorf("read segment %s: %w", Name(r.Header.Number), err)
	}
	r.buf, r.bufAt = buf[:got], r.at
	return r.buf[:min(n, got)], nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// FindNext looks behind an invalid group for the next header that passes and
// whose group reaches seq or begins behind it, and moves there: a claim may begin
// in the middle of a group, which a search for a first seq would pass over with
// what is sound in it. It returns io.EOF, with nothing moved, where there is
// none; blank then says that only zero bytes follow the invalid group's first
// 48. The salt makes a chance or forged hit one in 2^32.
func (r *Reader) FindNext(seq uint64) (blank bool, err error) {
	from := r.at
	blank = true
	for at := from + groupAlign; ; {
		chunk := make([]byte, readAhead)
		n, err := r.file.ReadAt(chunk, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("search segment %s: %w", Name(r.Header.Number), err)
		}
		chunk = chunk[:n]
		blank = blank && allZero(chunk[min(n, max(0, int(from+GroupHeaderSize-at))):])
		for i := 0; i+GroupHeaderSize <= n; i += groupAlign {
			if g, ok := decodeGroupHeader(chunk[i:i+GroupHeaderSize], r.Header.Salt); ok && g.first+uint64(g.count) > seq {
				r.SeekTo(at + int64(i))
				return false, nil
			}
		}
		if n < readAhead {
			return blank, io.EOF
		}
		at += int64(n - GroupHeaderSize + groupAlign)
	}
}

// Bytes reads [from, to) of the file, for setting damage aside; fewer at its end.
func (r *Reader) Bytes(from, to int64) ([]byte, error) {
	b := make([]byte, max(0, to-from))
	n, err := r.file.ReadAt(b, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read segment %s: %w", Name(r.Header.Number), err)
	}
	return b[:n], nil
}
