package message

import "encoding/binary"

// PartitionOf returns which of n partitions a key belongs to, as Java clients map
// keys: murmur2 of the key, made positive, modulo n. An empty key is a key. n is
// at least 1.
func PartitionOf(key []byte, n int32) int32 { return PartitionOfHash(Murmur2(key), n) }

// PartitionOfHash does so where the key's Murmur2 is known.
func PartitionOfHash(hash uint32, n int32) int32 { return int32(hash&0x7fffffff) % n }

// Murmur2 is MurmurHash2 in the 32-bit variant and with the seed that Apache
// Kafka's clients use.
func Murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		mul  = 0x5bd1e995
		rot  = 24
	)
	h := uint32(seed) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * mul
		k ^= k >> rot
		h = h*mul ^ k*mul
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * mul
	}
	h ^= h >> 13
	h *= mul
	return h ^ h>>15
}
