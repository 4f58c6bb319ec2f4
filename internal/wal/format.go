package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"postroad/internal/message"
)

// Sizes of the format, in bytes.
const (
	// HeaderSize is what a segment's two copies of its header take, each in a
	// sector of its own: without the salt none of the groups could be checked,
	// so one damaged byte must not cost it.
	HeaderSize = 4096
	// headerBytes is the size of one copy; the second stands at headerCopy.
	headerBytes = 64
	headerCopy  = 2048
	// GroupHeaderSize is the size of a group's header.
	GroupHeaderSize = 48
	// groupAlign is the alignment of groups: a search for the next valid
	// header tries only multiples of it.
	groupAlign = 8
	// MaxGroupFrames bounds the frames of one group. A length above it in a
	// header is damage, however its checksum came out.
	MaxGroupFrames = 48 << 20
)

const version = 1

var (
	segmentMagic = [8]byte{'P', 'R', 'S', 'E', 'G', 'M', 'N', 'T'}
	groupMagic   = [4]byte{'P', 'R', 'G', 'P'}
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
)

// Header identifies a segment.
type Header struct {
	// Lane is the lane id in its binary form.
	Lane [16]byte
	// Number is the segment's place in its lane, from 1.
	Number uint64
	// First is the seq of the first message that the segment was begun for.
	First uint64
	// Created is when the segment was begun, in microseconds resolution.
	Created time.Time
	// Salt is random; every group header in the segment is checked with it.
	Salt [8]byte
}

// ErrBlank says that a segment's header is all zero: the file was made ahead
// and nothing was written to it.
var ErrBlank = errors.New("blank segment")

//	0  8  magic "PRSEGMNT"
//	8  4  crc32c of bytes 12 to 63
//
// 12  2  version, 1
// 14  2  size of this copy, 64
// 16 16  lane id
// 32  8  number of the segment in its lane
// 40  8  first seq
// 48  8  created, microseconds since 1970
// 56  8  salt
func (h Header) encode() []byte {
	b := make([]byte, headerBytes)
	copy(b, segmentMagic[:])
	le := binary.LittleEndian
	le.PutUint16(b[12:], version)
	le.PutUint16(b[14:], headerBytes)
	copy(b[16:], h.Lane[:])
	le.PutUint64(b[32:], h.Number)
	le.PutUint64(b[40:], h.First)
	le.PutUint64(b[48:], uint64(h.Created.UnixMicro()))
	copy(b[56:], h.Salt[:])
	le.PutUint32(b[8:], crc32.Checksum(b[12:], castagnoli))
	both := make([]byte, HeaderSize)
	copy(both, b)
	copy(both[headerCopy:], b)
	return both
}

// decodeHeaders reads a segment's header from the first HeaderSize bytes. It
// fails with ErrBlank where all of them are zero or none are there, with
// message.ErrDamaged where neither copy passes. damaged says that one copy
// does not pass, or that something stands beside them.
func decodeHeaders(b []byte) (h Header, damaged bool, err error) {
	if allZero(b) {
		return Header{}, false, ErrBlank
	}
	b = append(b[:len(b):len(b)], make([]byte, HeaderSize-len(b))...)
	h, err = decodeHeader(b[:headerBytes])
	second, err2 := decodeHeader(b[headerCopy : headerCopy+headerBytes])
	if err != nil {
		h = second
	}
	if err != nil && err2 != nil {
		if errors.Is(err, message.ErrDamaged) {
			err = err2 // an unknown version is refused, and not set aside as damage
		}
		return Header{}, true, err
	}
	rest := allZero(b[headerBytes:headerCopy]) && allZero(b[headerCopy+headerBytes:])
	return h, err != nil || err2 != nil || h != second || !rest, nil
}

func decodeHeader(b []byte) (Header, error) {
	le := binary.LittleEndian
	switch {
	case !bytes.Equal(b[:8], segmentMagic[:]):
		return Header{}, fmt.Errorf("segment header: no magic: %w", message.ErrDamaged)
	case le.Uint32(b[8:]) != crc32.Checksum(b[12:], castagnoli):
		return Header{}, fmt.Errorf("segment header: checksum: %w", message.ErrDamaged)
	case le.Uint16(b[12:]) != version || le.Uint16(b[14:]) != headerBytes:
		return Header{}, fmt.Errorf("segment header: version %d is not known to this program", le.Uint16(b[12:]))
	}
	h := Header{
		Number:  le.Uint64(b[32:]),
		First:   le.Uint64(b[40:]),
		Created: time.UnixMicro(int64(le.Uint64(b[48:]))).UTC(),
	}
	copy(h.Lane[:], b[16:])
	copy(h.Salt[:], b[56:])
	return h, nil
}

// groupHeader is what stands before the frames of a group.
type groupHeader struct {
	first, durable uint64
	count, length  uint32
	frames         uint32 // crc32c of the frames
	written        int64  // microseconds since 1970
}

//	0  4  magic "PRGP"
//	4  4  crc32c of the salt and bytes 8 to 47
//	8  8  first seq of the group
//
// 16  8  durable seq: all up to it were on stable storage when this was written
// 24  4  count of frames
// 28  4  length of the frames with the zero bytes that fill up to 8
// 32  4  crc32c of the frames
// 36  4  zero
// 40  8  time of writing, microseconds since 1970
func (g groupHeader) append(b []byte, salt [8]byte) []byte {
	at := len(b)
	b = append(b, make([]byte, GroupHeaderSize)...)
	h := b[at:]
	copy(h, groupMagic[:])
	le := binary.LittleEndian
	le.PutUint64(h[8:], g.first)
	le.PutUint64(h[16:], g.durable)
	le.PutUint32(h[24:], g.count)
	le.PutUint32(h[28:], g.length)
	le.PutUint32(h[32:], g.frames)
	le.PutUint64(h[40:], uint64(g.written))
	le.PutUint32(h[4:], groupSum(h, salt))
	return b
}

func groupSum(h []byte, salt [8]byte) uint32 {
	return crc32.Update(crc32.Checksum(salt[:], castagnoli), castagnoli, h[8:GroupHeaderSize])
}

func decodeGroupHeader(h []byte, salt [8]byte) (groupHeader, bool) {
	le := binary.LittleEndian
	if !bytes.Equal(h[:4], groupMagic[:]) || le.Uint32(h[4:]) != groupSum(h, salt) {
		return groupHeader{}, false
	}
	g := groupHeader{
		first:   le.Uint64(h[8:]),
		durable: le.Uint64(h[16:]),
		count:   le.Uint32(h[24:]),
		length:  le.Uint32(h[28:]),
		frames:  le.Uint32(h[32:]),
		written: int64(le.Uint64(h[40:])),
	}
	return g, g.count > 0 && g.first > 0 && g.length <= MaxGroupFrames && g.length%groupAlign == 0
}

// Frames is the body of a group before it has a place: encoded and summed by
// whoever appends, so that the one committer only copies it.
type Frames struct {
	count int
	sum   uint32
	b     []byte
}

// Add encodes m as the next frame.
func (f *Frames) Add(m *message.Message) {
	// The length is written after the fact into room for five bytes, as a
	// varint padded with continuation bits: one pass, no second buffer.
	at := len(f.b)
	f.b = append(f.b, 0, 0, 0, 0, 0)
	f.b = message.Append(f.b, m)
	putPaddedUvarint(f.b[at:at+5], uint64(len(f.b)-at-5))
	f.count++
}

func putPaddedUvarint(b []byte, n uint64) {
	for i := range 4 {
		b[i] = byte(n) | 0x80
		n >>= 7
	}
	b[4] = byte(n)
}

// Close fills up to the alignment and sums; nothing is added afterwards.
func (f *Frames) Close() {
	for len(f.b)%groupAlign != 0 {
		f.b = append(f.b, 0)
	}
	f.sum = crc32.Checksum(f.b, castagnoli)
}

// Count returns the number of frames.
func (f *Frames) Count() int { return f.count }

// Size returns how many bytes the group takes in a segment, once closed.
func (f *Frames) Size() int64 { return int64(GroupHeaderSize + len(f.b)) }

// Reset empties f for another group and keeps its memory.
func (f *Frames) Reset() { *f = Frames{b: f.b[:0]} }

// Cap returns how much memory f holds on to, in bytes.
func (f *Frames) Cap() int { return cap(f.b) }
