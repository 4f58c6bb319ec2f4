package kafka

import "postroad/internal/message"

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
	return message.PartitionOf(key, n)
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
