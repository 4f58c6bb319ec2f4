package message

// GroupDigest identifies the request that a group of messages came from, by
// their dedupe ids in order: each is derived from all that the client sent of
// its message, or of the whole request, so equal digests mean equal requests of
// one principal on one topic. It can be computed again from what is stored. That
// of a single message is its id.
func GroupDigest(msgs []Message) Hash {
	if len(msgs) == 1 {
		return Hash(msgs[0].ID)
	}
	h := NewHasher("postroad group digest 1")
	h.Uint(uint64(len(msgs)))
	for i := range msgs {
		h.Bytes(msgs[i].ID[:])
	}
	return h.Sum()
}
