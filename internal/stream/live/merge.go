package live

// Conflates reports whether the topic lets messages be left out: see Merge.
func (s *Subscription) Conflates() bool { return s.conflate }

// Merge returns one block in place of several of one partition that were delivered
// to s in this order: of each key only the newest record, ascending by offset,
// encoded anew. Records without a key replace nothing, and all of them stay. It is
// nil where the topic does not allow that, where there is nothing to merge, or
// where the blocks are of several partitions: whoever keeps the order by
// Block.Partition would send what such a block holds of the others behind newer
// records of theirs.
//
// It is called without the engine's locks, and may encode.
func (s *Subscription) Merge(blocks []*Block) *Block {
	if !s.conflate {
		return nil
	}
	if len(blocks) == 0 {
		return nil
	}
	out := &Block{Partition: blocks[0].Partition}
	for _, b := range blocks {
		for _, r := range b.Records {
			if r.Partition != out.Partition {
				return nil
			}
		}
	}
	if out.Records = newest(blocks); len(out.Records) == 0 {
		return nil
	}
	if s.encoder != nil {
		out.Bytes = s.encoder.Encode(s.name, s.positioned, s.keyed, out.Records)
	}
	return out
}

// newest returns the records of blocks that no later one of their key follows. A key's newest record takes the place of those before it, at its own
// offset: sent in that order a position never goes back, and a subscriber that is
// cut off in between has missed nothing below it but what was overwritten.
func newest(blocks []*Block) []*Record {
	last := map[string]int64{}
	for _, b := range blocks {
		for _, r := range b.Records {
			if r.Key != nil {
				last[string(r.Key)] = r.Offset
			}
		}
	}
	var kept []*Record
	for _, b := range blocks {
		for _, r := range b.Records {
			if r.Key == nil || last[string(r.Key)] == r.Offset {
				kept = append(kept, r)
			}
		}
	}
	return kept
}
