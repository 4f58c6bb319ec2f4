package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"postroad/internal/durable"
	"postroad/internal/message"
)

var goldenKeyFile = keyFile{"01JK0000000000000000000002", ulid.MustParseStrict("01JK0000000000000000000003")}

// goldenKeyBlocks are a block of three keys, one of them of a request of several
// messages, one of none, and one behind a gap.
func goldenKeyBlocks() []keyBlock {
	at := goldenTime.UnixMicro()
	one := keyRecord{hash: message.Hash{1, 2, 3}, digest: message.Hash{4, 5}, id: message.ID{4, 5}, seq: 1, time: at - 900_000}
	many := keyRecord{hash: message.Hash{6}, digest: message.Hash{7}, id: message.ID{8}, seq: 2, time: at - 900_001}
	far := keyRecord{hash: message.Hash{9}, digest: message.Hash{10}, id: message.ID{10}, seq: 5000, time: at}
	return []keyBlock{
		{from: 0, to: 5007, written: at, records: []keyRecord{one, many, far}},
		{from: 5007, to: 90_000, written: at + 60_000_000, records: []keyRecord{}},
		{from: 90_100, to: 90_100 + 1<<40, written: at + 61_000_000, records: []keyRecord{{hash: far.hash, digest: far.digest, id: far.id, seq: 90_101 + 1<<39, time: at - 1}}},
	}
}

func encodeKeyBlocks(f keyFile, blocks []keyBlock) (b []byte) {
	for _, k := range blocks {
		b = appendKeyBlock(b, f.salt(), k)
	}
	return b
}

// readKeys decodes a whole file.
func readKeys(b []byte, salt uint32) (blocks []keyBlock, bad []badKeys) {
	decodeKeyFile(b, salt, func(k keyBlock) { blocks = append(blocks, k) }, func(k badKeys) { bad = append(bad, k) })
	return blocks, bad
}

func TestGoldenKeyFile(t *testing.T) {
	kept := golden(t, "keys.v1.golden", encodeKeyBlocks(goldenKeyFile, goldenKeyBlocks()))
	blocks, bad := readKeys(kept, goldenKeyFile.salt())
	if len(bad) != 0 || !reflect.DeepEqual(blocks, goldenKeyBlocks()) {
		t.Errorf("read %+v, bad %+v", blocks, bad)
	}
}

func TestKeyFileNames(t *testing.T) {
	name := goldenKeyFile.name()
	if name != "01JK0000000000000000000002.01JK0000000000000000000003.keys" {
		t.Errorf("name %s", name)
	}
	if f, ok := parseKeyFile(name); !ok || f != goldenKeyFile {
		t.Errorf("read as %+v, %v", f, ok)
	}
	for _, other := range []string{
		"", ".keys", "01JK0000000000000000000002.keys", "01JK0000000000000000000002..keys", name + ".keys", name + "x", "x" + name,
		"01jk0000000000000000000002.01JK0000000000000000000003.keys", "../JK0000000000000000000002.01JK0000000000000000000003.keys",
	} {
		if f, ok := parseKeyFile(other); ok {
			t.Errorf("%q is read as %+v", other, f)
		}
	}
}

// TestKeyBlocksDamaged: whichever byte of a file is damaged, no key is read that
// was not written, and only the block that has the byte is missing.
func TestKeyBlocksDamaged(t *testing.T) {
	want := goldenKeyBlocks()
	sound := encodeKeyBlocks(goldenKeyFile, want)
	for at := range sound {
		for _, mask := range []byte{1, 0x80, 0xff} {
			b := bytes.Clone(sound)
			b[at] ^= mask
			blocks, bad := readKeys(b, goldenKeyFile.salt())
			if len(blocks) != len(want)-1 || len(bad) != 1 {
				t.Fatalf("byte %d: %d blocks, bad %+v", at, len(blocks), bad)
			}
			for _, k := range blocks {
				if !reflect.DeepEqual(k, want[0]) && !reflect.DeepEqual(k, want[1]) && !reflect.DeepEqual(k, want[2]) {
					t.Fatalf("byte %d: read %+v", at, k)
				}
			}
		}
	}
	for n := range sound {
		blocks, bad := readKeys(sound[:n], goldenKeyFile.salt())
		whole := encodeKeyBlocks(goldenKeyFile, want[:len(blocks)])
		if !bytes.HasPrefix(sound[:n], whole) || len(bad) == 0 && n != len(whole) || len(bad) == 1 && !bad[0].tail || len(bad) > 1 {
			t.Fatalf("cut at %d: %d blocks, bad %+v", n, len(blocks), bad)
		}
	}
	other := goldenKeyFile
	other.lane = "01JK0000000000000000000009"
	if blocks, bad := readKeys(sound, other.salt()); len(blocks) != 0 || len(bad) != 1 {
		t.Errorf("under another lane's name %d blocks are read", len(blocks))
	}
	padded := append(bytes.Clone(sound), make([]byte, 4096)...)
	if blocks, bad := readKeys(padded, goldenKeyFile.salt()); len(blocks) != len(want) || len(bad) != 0 {
		t.Errorf("with zero bytes at the end: %d blocks, bad %+v", len(blocks), bad)
	}
}

// forge is a block with sound checksums around what is given.
func forge(from, to uint64, count uint32, body []byte) []byte {
	body = append(bytes.Clone(body), make([]byte, -len(body)&7)...)
	b := appendKeyBlock(nil, 7, keyBlock{from: from, to: to})
	binary.LittleEndian.PutUint32(b[32:], count)
	binary.LittleEndian.PutUint32(b[36:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[40:], checksum(7, body))
	binary.LittleEndian.PutUint32(b[4:], checksum(7, b[8:keyBlockHeader]))
	return append(b, body...)
}

// TestKeyBlockRefuses what no writer writes, although its checksums are sound.
func TestKeyBlockRefuses(t *testing.T) {
	one := func(step uint64, hash, id byte) []byte {
		b := binary.AppendVarint(binary.AppendUvarint(nil, step), 5)
		return append(append(b, append([]byte{hash}, make([]byte, 15)...)...), append([]byte{id}, make([]byte, 15)...)...)
	}
	if k, size, err := decodeKeyBlock(forge(3, 9, 1, one(2, 1, 1)), 7); err != nil || len(k.records) != 1 || k.records[0].seq != 4 || size != keyBlockHeader+40 {
		t.Fatalf("a sound one: %+v, %d, %v", k, size, err)
	}
	for name, b := range map[string][]byte{
		"a seq above the block's":   forge(3, 9, 1, one(14, 1, 1)),
		"a seq of the block before": forge(3, 9, 1, one(0, 1, 1)),
		"a seq that runs over":      forge(math.MaxUint64, math.MaxUint64, 1, one(2, 1, 1)),
		"no hash":                   forge(3, 9, 1, one(2, 0, 1)),
		"no id":                     forge(3, 9, 1, one(2, 1, 0)),
		"more keys than said":       forge(3, 9, 1, append(one(2, 1, 1), one(2, 1, 1)...)),
		"fewer keys than said":      forge(3, 9, 2, one(2, 1, 1)),
		"a digest cut short":        forge(3, 9, 1, one(3, 1, 1)),
		"an endless number":         forge(3, 9, 1, bytes.Repeat([]byte{0x80}, 40)),
		"an endless time":           forge(3, 9, 1, append([]byte{2}, bytes.Repeat([]byte{0x80}, 47)...)),
		"bytes behind the last key": forge(3, 9, 1, append(one(2, 1, 1), 1)),
		"an end before its start":   forge(9, 3, 0, nil),
		"keys without bytes":        forge(3, 9, math.MaxUint32, nil),
	} {
		if k, _, err := decodeKeyBlock(b, 7); !errors.Is(err, errKeyBlock) {
			t.Errorf("%s: read as %+v, %v", name, k, err)
		}
	}
}

// randomKeys are n keys as a busy writer has them in one second.
func randomKeys(rng *rand.Rand, n int, from uint64, at int64, many bool) (records []keyRecord) {
	for range n {
		from += 1 + rng.Uint64N(3)
		r := keyRecord{seq: from, time: at - rng.Int64N(1_000_000)}
		for i := range 16 {
			r.hash[i], r.id[i], r.digest[i] = byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())
		}
		if !many {
			r.digest = message.Hash(r.id)
		}
		records = append(records, r)
	}
	return records
}

// TestDiskPerKey measures what a key costs on disk. The figures stand in
// docs/design/queue-format.md.
func TestDiskPerKey(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name  string
		block int
		many  bool
		most  float64
	}{
		{"many a second", 2000, false, 37},
		{"a hundred a second", 100, false, 38},
		{"one a second", 1, false, 88},
		{"batches, many a second", 2000, true, 53},
	} {
		bytes, n := 0, 0
		for from, at := uint64(0), goldenTime.UnixMicro(); n < 10_000; at += 1_000_000 {
			records := randomKeys(rng, c.block, from, at, c.many)
			to := records[len(records)-1].seq
			b := appendKeyBlocks(nil, 7, keyBlock{from: from, to: to, written: at, records: records})
			blocks, bad := readKeys(b, 7)
			var got []keyRecord
			for _, k := range blocks {
				got = append(got, k.records...)
			}
			if len(bad) > 0 || !reflect.DeepEqual(got, records) || blocks[0].from != from || blocks[len(blocks)-1].to != to {
				t.Fatalf("%s: not read as written", c.name)
			}
			from, bytes, n = to, bytes+len(b), n+len(records)
		}
		perKey := float64(bytes) / float64(n)
		t.Logf("%s: %.1f bytes a key", c.name, perKey)
		if perKey > c.most {
			t.Errorf("%s: %.1f bytes a key, want at most %.0f", c.name, perKey, c.most)
		}
	}
	if size := reflect.TypeFor[keyRecord]().Size(); size > 72 {
		t.Errorf("%d bytes a key that waits to be written", size)
	}
}

// TestKeyGaps of a lane's files, whatever order their blocks stand in.
func TestKeyGaps(t *testing.T) {
	for name, c := range map[string]struct {
		blocks [][2]uint64
		to     uint64
		want   [][2]uint64
	}{
		"nothing":         {nil, 9, [][2]uint64{{0, 9}}},
		"whole":           {[][2]uint64{{0, 4}, {4, 9}}, 9, nil},
		"a lost one":      {[][2]uint64{{0, 4}, {6, 9}}, 9, [][2]uint64{{4, 6}}},
		"the first":       {[][2]uint64{{4, 9}}, 12, [][2]uint64{{0, 4}, {9, 12}}},
		"twice":           {[][2]uint64{{0, 7}, {2, 5}, {5, 6}, {7, 9}}, 9, nil},
		"out of order":    {[][2]uint64{{6, 9}, {0, 6}}, 9, nil},
		"more than asked": {[][2]uint64{{0, 3}, {5, 20}, {22, 30}}, 9, [][2]uint64{{3, 5}}},
		"empty ones":      {[][2]uint64{{0, 0}, {0, 3}, {3, 3}, {3, 9}}, 9, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var b []byte
			for _, k := range c.blocks {
				b = appendKeyBlock(b, goldenKeyFile.salt(), keyBlock{from: k[0], to: k[1], written: goldenTime.UnixMicro()})
			}
			q := keyQueue(t, disk(t, goldenKeyFile.path(layout{"queue"}), b))
			var got [][2]uint64
			for _, g := range q.keyGaps(goldenKeyFile.lane, []keyFile{goldenKeyFile}, c.to) {
				got = append(got, [2]uint64{g.from, g.to})
				if next := g.to < c.to; next != g.before.Equal(goldenTime) {
					t.Errorf("gap %d to %d: before %v", g.from, g.to, g.before)
				}
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("gaps %v, want %v", got, c.want)
			}
		})
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add(encodeKeyBlocks(goldenKeyFile, goldenKeyBlocks()))
	f.Add(append(make([]byte, 64), encodeKeyBlocks(goldenKeyFile, goldenKeyBlocks())...))
	f.Add(forge(3, 9, math.MaxUint32, nil))
	f.Add([]byte("PRKB"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, salt := range []uint32{goldenKeyFile.salt(), 7} {
			blocks, _ := readKeys(b, salt)
			for _, k := range blocks {
				seq := k.from
				for _, r := range k.records {
					if r.seq <= seq || r.seq > k.to || r.hash.IsZero() || r.id.IsZero() {
						t.Fatalf("key %+v of block %d to %d", r, k.from, k.to)
					}
					seq = r.seq
				}
				again, size, err := decodeKeyBlock(appendKeyBlock(nil, salt, k), salt)
				if err != nil || !reflect.DeepEqual(again, k) || size%8 != 0 {
					t.Fatalf("%+v written again is read as %+v, %v", k, again, err)
				}
			}
		}
		// What has no sound checksum by chance gets one, to reach what is behind.
		if k, _, err := decodeKeyBlock(forge(1, 1<<20, uint32(len(b)/keyRecordMin), b), 7); err == nil {
			for _, r := range k.records {
				if r.seq <= 1 || r.seq > 1<<20 {
					t.Fatalf("key %+v", r)
				}
			}
		}
	})
}

// FuzzKeyFileName: what is taken for a key file's name is one.
func FuzzKeyFileName(f *testing.F) {
	f.Add(goldenKeyFile.name())
	f.Fuzz(func(t *testing.T, name string) {
		if k, ok := parseKeyFile(name); ok && (k.name() != name || k.begun().After(time.UnixMilli(1<<48))) {
			t.Fatalf("%q is read as %+v", name, k)
		}
	})
}

func checksum(salt uint32, b []byte) uint32 { return crc32.Update(salt, castagnoli, b) }

// keyQueue is a queue that is read and nothing else.
func keyQueue(t testing.TB, fsys durable.FS) *Queue {
	t.Helper()
	q := &Queue{opts: Options{Dir: "queue"}, at: layout{"queue"}, deps: Deps{FS: fsys}.withDefaults()}
	q.keys = newKeyLog(q)
	return q
}

// TestKeysDocumentAgrees holds the document's figures against the code.
func TestKeysDocumentAgrees(t *testing.T) {
	text := document(t)
	for name, want := range map[string]int{
		"key block header": keyBlockHeader, "most keys in a block": keyBlockKeys,
		"most bytes of a key block's body": keyBodyMax, "size at which a key file is full": keyFileBytes,
	} {
		if !strings.Contains(text, "\n| "+name+" | "+strconv.Itoa(want)+" |\n") {
			t.Errorf("the constant %q is %d", name, want)
		}
	}
	for _, phrase := range []string{
		"| `" + keysDir + "/<lane>.<file id>" + keysSuffix + "` |", "| 0 | 4 | magic `" + string(keyMagic[:]) + "` |",
		fmt.Sprintf("every %d bytes, so that nobody", keyCoverBytes), fmt.Sprintf("every second or %d keys", keyBlockKeys),
		fmt.Sprintf("after an hour, or %d bytes", keyFileBytes), "takes 36 bytes on disk, 52 where", "alone in its second takes 88",
	} {
		if !strings.Contains(text, phrase) {
			t.Errorf("the document lacks %q", phrase)
		}
	}
	if keyFileSpan != time.Hour || keyFlushInterval != time.Second {
		t.Error("the document says an hour and a second")
	}
}
