package wal

import (
	"encoding/binary"
	"fmt"
	"time"

	"postroad/internal/message"
)

// Groups reads the groups in the bytes that a Segment was about to write. They
// never left this process's memory, so no checksum is looked at; the messages of
// the groups share that memory. An error matches message.ErrDamaged.
func Groups(b []byte) ([]Group, error) {
	var groups []Group
	le := binary.LittleEndian
	for len(b) > 0 {
		if len(b) < GroupHeaderSize || [4]byte(b) != groupMagic {
			return nil, fmt.Errorf("no group at %d bytes before the end: %w", len(b), message.ErrDamaged)
		}
		end := GroupHeaderSize + int(le.Uint32(b[28:]))
		if end > len(b) {
			return nil, fmt.Errorf("a group of %d bytes in %d: %w", end, len(b), message.ErrDamaged)
		}
		groups = append(groups, Group{
			First: le.Uint64(b[8:]), Count: int(le.Uint32(b[24:])), Durable: le.Uint64(b[16:]),
			Written: time.UnixMicro(int64(le.Uint64(b[40:]))).UTC(),
			Size:    int64(end), frames: b[GroupHeaderSize:end:end],
		})
		b = b[end:]
	}
	return groups, nil
}
