package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"

	"postroad/internal/message"
)

func crc(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// salvage reads a segment as a lane's reader does: past each invalid group to
// the next that is sound and not behind what was read. It fails where the
// reader stands still, and returns the groups in order.
func salvage(t testing.TB, b []byte) (groups []Group, err error) {
	t.Helper()
	r, err := OpenReader(oneFile{b: &b}, "")
	if err != nil {
		return nil, err
	}
	next := uint64(1)
	for steps := 0; ; steps++ {
		if steps > len(b)+10 {
			t.Fatalf("still reading after %d steps of a segment of %d bytes", steps, len(b))
		}
		before := r.Offset()
		g, err := r.Next()
		if err == nil {
			if g.Offset != before || r.Offset() != before+g.Size || g.Size < GroupHeaderSize {
				t.Fatalf("group at %d of %d bytes, read from %d to %d", g.Offset, g.Size, before, r.Offset())
			}
			if g.Last() >= next {
				next = g.Last() + 1
			}
			groups = append(groups, g)
			continue
		}
		if r.Offset() != before {
			t.Fatalf("an error moved the reader from %d to %d: %v", before, r.Offset(), err)
		}
		var invalid *InvalidError
		if errors.As(err, &invalid) && invalid.Known {
			r.SeekTo(before + invalid.Size)
			continue
		}
		if invalid == nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if _, err := r.FindNext(next); errors.Is(err, io.EOF) {
			return groups, nil
		} else if err != nil {
			t.Fatal(err)
		}
		if r.Offset() <= before {
			t.Fatalf("the search moved from %d to %d", before, r.Offset())
		}
	}
}

// FuzzSegment reads arbitrary bytes as a segment. Nothing may panic, run for
// ever or hand out a group beyond the file.
func FuzzSegment(f *testing.F) {
	golden, offsets := segment(f, goldenHeader, goldenGroups())
	f.Add(golden)
	f.Add(golden[:offsets[1]])
	f.Add([]byte{})
	f.Add(make([]byte, HeaderSize))
	for _, g := range []groupHeader{
		{first: 1, count: 1 << 31, length: 1 << 16, frames: 1},
		{first: 1<<64 - 1, count: 1<<32 - 1, length: 0},
		{first: 1, count: 1, length: MaxGroupFrames + groupAlign},
	} {
		lie := append([]byte(nil), golden...)
		copy(lie[offsets[0]:], g.append(nil, goldenHeader.Salt))
		f.Add(lie)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		groups, err := salvage(t, b)
		if err != nil && len(groups) > 0 {
			t.Fatalf("%d groups and %v", len(groups), err)
		}
		for _, g := range groups {
			if g.Offset+g.Size > int64(len(b)) {
				t.Fatalf("group at %d of %d bytes in a file of %d", g.Offset, g.Size, len(b))
			}
			if _, err := g.Messages(); err != nil && !errors.Is(err, message.ErrDamaged) {
				t.Fatal(err)
			}
		}
	})
}

// FuzzFrames decodes arbitrary bytes as the frames of a sound group.
func FuzzFrames(f *testing.F) {
	golden, offsets := segment(f, goldenHeader, goldenGroups())
	for i, g := range goldenGroups() {
		f.Add(uint16(len(g.msgs)), golden[offsets[i]+GroupHeaderSize:offsets[i+1]])
	}
	f.Fuzz(func(t *testing.T, count uint16, frames []byte) {
		g := Group{First: 1, Count: int(count), frames: frames}
		msgs, err := g.Messages()
		if err != nil {
			if !errors.Is(err, message.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if len(msgs) != int(count) {
			t.Fatalf("%d messages of %d", len(msgs), count)
		}
	})
}

// mutate changes b as steps say, three numbers each: what, where, how far.
func mutate(b []byte, steps []byte) []byte {
	b = append([]byte(nil), b...)
	for len(steps) >= 6 && len(b) > 0 {
		what, value := steps[0], steps[1]
		at := int(binary.LittleEndian.Uint16(steps[2:])) * len(b) / (1 << 16)
		n := min(int(binary.LittleEndian.Uint16(steps[4:])), len(b)-at)
		steps = steps[6:]
		switch what % 6 {
		case 0: // one bit
			b[at] ^= 1 << (value % 8)
		case 1: // one byte
			b[at] = value
		case 2: // a page never written
			from := at / 4096 * 4096
			clear(b[from:min(from+4096, len(b))])
		case 3: // the rest never written
			b = b[:at]
		case 4: // zeros
			clear(b[at : at+n])
		case 5: // something else
			copy(b[at:], bytes.Repeat([]byte{value, ^value, 'P', 'R', 'G', 'P'}, n/6+1)[:n])
		}
	}
	return b
}

// checkSalvage holds what is read from a changed segment against what was
// written: nothing that was not written, and everything whose bytes are as they
// were, as long as one copy of the segment's header is.
func checkSalvage(t testing.TB, whole []byte, groups []group, offsets []int64, b []byte) {
	t.Helper()
	got, err := salvage(t, b)
	if err != nil {
		sound := func(at int) bool {
			return len(b) >= at+headerBytes && bytes.Equal(b[at:at+headerBytes], whole[at:at+headerBytes])
		}
		if sound(0) || sound(headerCopy) {
			t.Fatalf("a copy of the header is sound, and %v", err)
		}
		return
	}
	at := make(map[int64]int)
	for i := range groups {
		at[offsets[i]] = i
	}
	seen := make(map[int]bool)
	for _, g := range got {
		i, ok := at[g.Offset]
		if !ok {
			t.Fatalf("a group at %d, where none was written", g.Offset)
		}
		sameGroup(t, g, groups[i])
		seen[i] = true
	}
	for i := range groups {
		from, to := offsets[i], offsets[i+1]
		untouched := to <= int64(len(b)) && bytes.Equal(b[from:to], whole[from:to])
		if untouched && !seen[i] {
			t.Fatalf("group %d at %d is as it was written and was not found", i, from)
		}
	}
}

// FuzzDamage damages a sound segment.
func FuzzDamage(f *testing.F) {
	f.Add(uint64(1), []byte{0, 0, 0, 128, 0, 0})
	f.Add(uint64(2), []byte{2, 0, 0, 64, 0, 0, 3, 0, 0, 200, 0, 0})
	f.Add(uint64(3), []byte{5, 1, 0, 30, 0, 1, 4, 0, 0, 90, 0, 2})
	f.Fuzz(func(t *testing.T, seed uint64, steps []byte) {
		rng := rand.New(rand.NewPCG(seed, 2))
		groups := randomGroups(rng, 1+int(seed%20), 1)
		whole, offsets := segment(t, goldenHeader, groups)
		checkSalvage(t, whole, groups, offsets, mutate(whole, steps[:min(len(steps), 60)]))
	})
}

// TestDamageAnywhere is FuzzDamage over seeds of its own, for every run.
func TestDamageAnywhere(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		groups := randomGroups(rng, 1+rng.IntN(12), 1)
		whole, offsets := segment(t, goldenHeader, groups)
		steps := make([]byte, 6*(1+rng.IntN(3)))
		for i := range steps {
			steps[i] = byte(rng.Uint32())
		}
		checkSalvage(t, whole, groups, offsets, mutate(whole, steps))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestFlippedBitsAreFound flips a bit of each byte of the group headers, and of
// every fifth byte of the frames.
func TestFlippedBitsAreFound(t *testing.T) {
	groups := goldenGroups()
	whole, offsets := segment(t, goldenHeader, groups)
	b := append([]byte(nil), whole...)
	for at := int64(HeaderSize); at < int64(len(b)); at++ {
		bit, inFrames := byte(1)<<(at%8), true
		for _, begin := range offsets {
			inFrames = inFrames && (at < begin || at >= begin+GroupHeaderSize)
		}
		if inFrames && at%5 != 0 {
			continue
		}
		b[at] ^= bit
		got, err := salvage(t, b)
		if err != nil || len(got) != len(groups)-1 {
			t.Fatalf("byte %d: %d groups of %d sound ones, %v", at, len(got), len(groups)-1, err)
		}
		for _, g := range got {
			if g.Offset <= at && at < g.Offset+g.Size {
				t.Fatalf("byte %d: its group was taken for sound", at)
			}
		}
		b[at] ^= bit
	}
	checkSalvage(t, whole, groups, offsets, b)
}
