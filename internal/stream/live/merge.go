package live

import "slices"

// Conflates reports whether the topic lets messages be left out: see Merge.
func (s *Subscription) Conflates() bool { return s.conflate }

// Merge returns one block in place of several that were delivered to s in this
// order: of each key only the newest record, ascending by offset within each
// partition, encoded anew. Records without a key replace nothing, and all of them
// stay. Where the blocks are of several partitions, Partition is the first one's.
// It is nil where the topic does not allow that, or there is nothing to merge.
//
// It is called without the engine's locks, and may encode.
func (s *Subscription) Merge(blocks []*Block) *Block {
	if !s.conflate {
		return nil
	}
	var partitions []int32
	for _, b := range blocks {
		for _, r := range b.Records {
			if !slices.Contains(partitions, r.Partition) {
				partitions = append(partitions, r.Partition)
			}
		}
	}
	if len(partitions) == 0 {
		return nil
	}
	out := &Block{Partition: partitions[0]}
	for _, p := range partitions {
		records := newest(blocks, p)
		out.Records = append(out.Records, records...)
		if s.encoder != nil && len(records) > 0 {
			out.Bytes = append(out.Bytes, s.encoder.Encode(s.name, s.positioned, s.keyed, records)...)
		}
	}
	return out
}

// newest returns the records of a partition that no later one of their key
// follows. A key's newest record takes the place of those before it, at its own
// offset: sent in that order a position never goes back, and a subscriber that is
// cut off in between has missed nothing below it but what was overwritten.
func newest(blocks []*Block, partition int32) []*Record {
	last := map[string]int64{}
	for _, b := range blocks {
		for _, r := range b.Records {
			if r.Partition == partition && r.Key != nil {
				last[string(r.Key)] = r.Offset
			}
		}
	}
	var kept []*Record
	for _, b := range blocks {
		for _, r := range b.Records {
			if r.Partition == partition && (r.Key == nil || last[string(r.Key)] == r.Offset) {
				kept = append(kept, r)
			}
		}
	}
	return kept
}
