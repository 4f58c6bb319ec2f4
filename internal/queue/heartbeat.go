package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"postroad/internal/durable"
)

// A heartbeat file has two slots in sectors of their own, written in turn, so
// that a torn write leaves the other one whole. Each slot:
//
//	 0  4  magic "PRHB"
//	 4  4  crc32c of bytes 8 to 23
//	 8  8  counter, from 1
//	16  8  durable seq: every message up to it was acknowledged
//
// A watcher compares the raw bytes of the file: any change is a sign of life,
// torn and empty values included.
const (
	heartbeatSlot  = 512
	heartbeatSize  = 2 * heartbeatSlot
	heartbeatBytes = 24
)

var (
	heartbeatMagic = [4]byte{'P', 'R', 'H', 'B'}
	castagnoli     = crc32.MakeTable(crc32.Castagnoli)
)

type heartbeat struct {
	counter, durable uint64
}

func (h heartbeat) encode() []byte {
	b := make([]byte, heartbeatBytes)
	copy(b, heartbeatMagic[:])
	binary.LittleEndian.PutUint64(b[8:], h.counter)
	binary.LittleEndian.PutUint64(b[16:], h.durable)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	return b
}

// slot is where this counter's value is written.
func (h heartbeat) slot() int64 { return int64(h.counter%2) * heartbeatSlot }

// decodeHeartbeat returns the newest sound slot, or false where none is.
func decodeHeartbeat(b []byte) (newest heartbeat, ok bool) {
	for at := 0; at+heartbeatBytes <= len(b) && at < heartbeatSize; at += heartbeatSlot {
		s := b[at : at+heartbeatBytes]
		if !bytes.Equal(s[:4], heartbeatMagic[:]) || binary.LittleEndian.Uint32(s[4:]) != crc32.Checksum(s[8:], castagnoli) {
			continue
		}
		h := heartbeat{binary.LittleEndian.Uint64(s[8:]), binary.LittleEndian.Uint64(s[16:])}
		if !ok || h.counter > newest.counter {
			newest, ok = h, true
		}
	}
	return newest, ok
}

// readHeartbeat opens and reads a heartbeat anew; nil where none is found (yet),
// from which nothing is concluded.
// System calls: open, fstat, pread, close.
func readHeartbeat(fsys durable.FS, name string) ([]byte, error) {
	b, err := durable.ReadFile(fsys, name, heartbeatSize)
	if missing(err) {
		return nil, nil
	}
	return b, err
}

// allZero reports whether the file, opened anew, holds zero bytes only. It is
// how fences and revocations are read: they exist, zero-filled, before anything
// depends on them, so their content can be changed on a full disk, and nothing
// is concluded from a missing file but that something is wrong.
func allZero(fsys durable.FS, name string) (bool, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return false, err
	}
	b := make([]byte, noteSize)
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return false, err
	}
	if n != noteSize {
		return false, fmt.Errorf("%s: %d bytes, want %d: %w", name, n, noteSize, errCutShort)
	}
	for _, c := range b {
		if c != 0 {
			return false, nil
		}
	}
	return true, nil
}

// isFenced reports whether a lane's fence is filled, and whether there is none at
// all. One that is cut short is to be filled like an empty one.
func (q *Queue) isFenced(lane string) (fenced, gone bool, err error) {
	empty, err := allZero(q.deps.FS, q.at.laneFile(lane, fenceFileName))
	switch {
	case err == nil:
		return !empty, false, nil
	case errors.Is(err, errCutShort):
		return false, false, nil
	case missing(err):
		return false, true, nil
	}
	return false, false, fmt.Errorf("read fence of lane %s: %w", lane, err)
}

// errCutShort says that a fence or revocation is shorter than it is made: who
// made it died before it was durable, and so before anything depended on it.
var errCutShort = errors.New("cut short")

// noteSize is the size of fence and revocation files in bytes: one sector.
const noteSize = 512

// note pads a reason to the size of a fence; the first byte is never zero.
func note(reason string) []byte {
	b := bytes.Repeat([]byte{' '}, noteSize)
	b[noteSize-1] = '\n'
	copy(b[:noteSize-1], reason)
	return b
}
