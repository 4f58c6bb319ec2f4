package kafka

import (
	"encoding/binary"

	"postroad/internal/message"
)

// Partition returns which of n partitions the message belongs to, as Java
// clients map keys: murmur2 of the key, made positive, modulo n. A message
// without a key is mapped by its dedupe id, as if the 36 characters of its UUID
// in lower case were the key, so that every copy of one message goes to the
// same partition and readers can see that it is a copy. An empty key is a key.
//
// n is at least 1.
func Partition(m *message.Message, n int32) int32 {
	var id [36]byte
	key := m.Key
	if key == nil {
		key = appendID(id[:0], m.ID)
	}
	return int32(murmur2(key)&0x7fffffff) % n
}

// murmur2 is MurmurHash2 in the 32-bit variant and with the seed that Apache
// Kafka's clients use.
func murmur2(b []byte) uint32 {
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

const hexDigits = "0123456789abcdef"

// appendID writes the id as ID.String does, into memory the caller has.
func appendID(b []byte, id message.ID) []byte {
	for i, c := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = append(b, hexDigits[c>>4], hexDigits[c&15])
	}
	return b
}
