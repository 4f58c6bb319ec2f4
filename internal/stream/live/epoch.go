package live

import (
	"encoding/hex"

	"postroad/internal/message"
)

// Epoch tells a partition as it is from any other: of another hub, of a topic made
// anew under that name, of one with another count of partitions. It is equal on
// all nodes: the first 16 hexadecimal digits of a SHA-256 over the hub's name and
// generation, the cluster's id, the topic's name and id, the partition and their
// count. Without it a position would be taken for one in other records.
func Epoch(hub Identity, name string, t Topic, partition int32) string {
	h := message.NewHasher("postroad epoch 1")
	h.String(hub.Name)
	h.Uint(uint64(hub.Generation))
	h.String(t.Cluster)
	h.String(name)
	h.Bytes(t.ID[:])
	h.Uint(uint64(partition))
	h.Uint(uint64(t.Partitions))
	sum := h.Sum()
	return hex.EncodeToString(sum[:8])
}
