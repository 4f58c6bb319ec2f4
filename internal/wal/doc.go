// Package wal writes and reads segments: files of frame groups, each group the
// frames of one request, valid as a whole or not at all.
//
// It guarantees that a group it returns is byte for byte one that was written
// as such: the header's checksum is salted with a random value of the segment,
// so that no payload can pass for a group, and the frames stand under a second
// checksum, so that a damaged frame costs its own group and not the rest.
//
// What an invalid group means (not written yet, damaged, never acknowledged)
// is not decided here: that takes the fence and the heartbeat of the lane,
// which package queue has. Nor does it choose when to sync.
//
// The bytes are specified in docs/design/queue-format.md. All integers are
// little-endian.
package wal
