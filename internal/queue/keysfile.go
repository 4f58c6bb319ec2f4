package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"postroad/internal/durable"
	"postroad/internal/message"
)

// A key file holds the idempotency keys of clients whose requests were
// acknowledged in one lane: blocks behind each other, each beginning at a
// multiple of 8. docs/design/queue-format.md has the bytes.
//
// The name says whose it is and when it was begun, and salts the checksums. So
// there is no header that could be lost with all behind it, two processes never
// meet under one name, and a file's age is known without opening it.
const (
	keysDir    = "keys"
	keysSuffix = ".keys"

	keyBlockHeader = 48
	// keyBlockKeys is how many keys a block takes at most: about 64 KiB.
	keyBlockKeys = 1600
	// keyBodyMax bounds a block's body: a length above it is damage.
	keyBodyMax = 1 << 20
	// keyFileBytes and keyFileSpan are how large and how old a file gets
	// before the next one is begun. Readers rely on the span: no key in a file
	// is younger than its name and the span together.
	keyFileBytes = 8 << 20
	keyFileSpan  = time.Hour
	// keyFileLimit is more than any sound file has, in bytes.
	keyFileLimit = keyFileBytes + 2*keyBodyMax
)

var keyMagic = [4]byte{'P', 'R', 'K', 'B'}

// keyRecord is one key of one lane.
type keyRecord struct {
	hash, digest message.Hash
	id           message.ID
	seq          uint64 // of the request's first message
	time         int64  // of its acceptance, in microseconds since 1970
}

// keyOf is the key of a group, or nil where it has none that is indexed. A
// message that stands in the queue a second time was keyed where it stood first.
func keyOf(msgs []message.Message) *keyRecord {
	if len(msgs) == 0 {
		return nil
	}
	m := &msgs[0]
	if m.KeyHash.IsZero() || m.ID.IsZero() || m.Moved != nil || m.Replay {
		return nil
	}
	return &keyRecord{hash: m.KeyHash, digest: message.GroupDigest(msgs), id: m.ID, time: m.Time.UnixMicro()}
}

// keyFile names a key file.
type keyFile struct {
	lane string
	id   ulid.ULID
}

func (f keyFile) name() string { return f.lane + "." + f.id.String() + keysSuffix }

// begun is when the file was made, by its writer's clock.
func (f keyFile) begun() time.Time { return ulid.Time(f.id.Time()) }

// path is where the file stands.
func (f keyFile) path(at layout) string { return path.Join(at.dir, keysDir, f.name()) }

// parseKeyFile reads a file name; false where it is none of a key file.
func parseKeyFile(name string) (keyFile, bool) {
	text, ok := strings.CutSuffix(name, keysSuffix)
	lane, id, dotted := strings.Cut(text, ".")
	if !ok || !dotted || !message.ValidLane(lane) || !message.ValidLane(id) {
		return keyFile{}, false
	}
	parsed, err := ulid.ParseStrict(id)
	return keyFile{lane, parsed}, err == nil
}

// salt is the checksum that those of the file's blocks go on from.
func (f keyFile) salt() uint32 {
	return crc32.Checksum([]byte(f.name()), castagnoli)
}

// keyBlock says that the keys of all acknowledged groups that begin behind seq
// from and up to seq to are those in its body.
type keyBlock struct {
	from, to uint64
	// written is when the block was written, in microseconds since 1970.
	written int64
	records []keyRecord
}

// appendKeyBlock encodes a block. The records are in order of their seqs.
func appendKeyBlock(dst []byte, salt uint32, b keyBlock) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, keyBlockHeader)...)
	seq, when := b.from, b.written
	for i := range b.records {
		r := &b.records[i]
		step := (r.seq - seq) << 1
		many := r.digest != message.Hash(r.id)
		if many {
			step |= 1
		}
		dst = binary.AppendUvarint(dst, step)
		dst = binary.AppendVarint(dst, r.time-when)
		dst = append(dst, r.hash[:]...)
		dst = append(dst, r.id[:]...)
		if many {
			dst = append(dst, r.digest[:]...)
		}
		seq, when = r.seq, r.time
	}
	for (len(dst)-at)%8 != 0 {
		dst = append(dst, 0)
	}
	h, body := dst[at:at+keyBlockHeader], dst[at+keyBlockHeader:]
	copy(h, keyMagic[:])
	binary.LittleEndian.PutUint64(h[8:], b.from)
	binary.LittleEndian.PutUint64(h[16:], b.to)
	binary.LittleEndian.PutUint64(h[24:], uint64(b.written))
	binary.LittleEndian.PutUint32(h[32:], uint32(len(b.records)))
	binary.LittleEndian.PutUint32(h[36:], uint32(len(body)))
	binary.LittleEndian.PutUint32(h[40:], crc32.Update(salt, castagnoli, body))
	binary.LittleEndian.PutUint32(h[4:], crc32.Update(salt, castagnoli, h[8:]))
	return dst
}

var errKeyBlock = errors.New("no valid key block")

// decodeKeyBlock reads the block that b begins with, and its size. The size is
// not 0 on an error either where the header is sound.
func decodeKeyBlock(b []byte, salt uint32) (block keyBlock, size int, err error) {
	if len(b) < keyBlockHeader || !bytes.Equal(b[:4], keyMagic[:]) {
		return keyBlock{}, 0, fmt.Errorf("magic: %w", errKeyBlock)
	}
	h := b[:keyBlockHeader]
	if binary.LittleEndian.Uint32(h[4:]) != crc32.Update(salt, castagnoli, h[8:]) {
		return keyBlock{}, 0, fmt.Errorf("header checksum: %w", errKeyBlock)
	}
	block.from, block.to = binary.LittleEndian.Uint64(h[8:]), binary.LittleEndian.Uint64(h[16:])
	block.written = int64(binary.LittleEndian.Uint64(h[24:]))
	count, length := binary.LittleEndian.Uint32(h[32:]), binary.LittleEndian.Uint32(h[36:])
	if length%8 != 0 || length > keyBodyMax || block.to < block.from || count > length/keyRecordMin {
		return keyBlock{}, 0, fmt.Errorf("header: %w", errKeyBlock)
	}
	size = keyBlockHeader + int(length)
	if len(b) < size {
		return keyBlock{}, 0, fmt.Errorf("%d of %d bytes: %w", len(b), size, errKeyBlock)
	}
	body := b[keyBlockHeader:size]
	if binary.LittleEndian.Uint32(h[40:]) != crc32.Update(salt, castagnoli, body) {
		return keyBlock{}, size, fmt.Errorf("body checksum: %w", errKeyBlock)
	}
	if err := block.decode(body, int(count)); err != nil {
		return keyBlock{}, size, err
	}
	return block, size, nil
}

// keyRecordMin and keyRecordMax are the sizes of the smallest and the largest key
// in a block, in bytes.
const (
	keyRecordMin = 1 + 1 + 16 + 16
	keyRecordMax = 10 + 10 + 16 + 16 + 16
)

// decode reads the body's records.
func (b *keyBlock) decode(body []byte, count int) error {
	b.records = make([]keyRecord, 0, count)
	seq, when := b.from, b.written
	for i := range count {
		step, n := binary.Uvarint(body)
		if n <= 0 {
			return fmt.Errorf("key %d: seq: %w", i, errKeyBlock)
		}
		delta, m := binary.Varint(body[n:])
		if m <= 0 {
			return fmt.Errorf("key %d: time: %w", i, errKeyBlock)
		}
		body = body[n+m:]
		r := keyRecord{seq: seq + step>>1, time: when + delta}
		if step>>1 == 0 || r.seq < seq || r.seq > b.to {
			return fmt.Errorf("key %d: seq %d: %w", i, r.seq, errKeyBlock)
		}
		need := len(r.hash) + len(r.id)
		if step&1 == 1 {
			need += len(r.digest)
		}
		if len(body) < need {
			return fmt.Errorf("key %d: cut short: %w", i, errKeyBlock)
		}
		copy(r.hash[:], body)
		copy(r.id[:], body[16:])
		r.digest = message.Hash(r.id)
		if step&1 == 1 {
			copy(r.digest[:], body[32:])
		}
		if r.hash.IsZero() || r.id.IsZero() {
			return fmt.Errorf("key %d: no hash or id: %w", i, errKeyBlock)
		}
		b.records = append(b.records, r)
		body, seq, when = body[need:], r.seq, r.time
	}
	if len(body) >= 8 || len(bytes.Trim(body, "\x00")) > 0 {
		return fmt.Errorf("%d bytes behind the last key: %w", len(body), errKeyBlock)
	}
	return nil
}

// badKeys is a part of a key file that holds no valid block.
type badKeys struct {
	offset int
	err    error
	// tail says that no valid block stands behind it.
	tail bool
}

// decodeKeyFile hands out the blocks of a file, in order, and what stands
// between them that is none. A block whose length cannot be trusted costs no
// other: the next sound one is looked for. Zero bytes at the end are none.
func decodeKeyFile(b []byte, salt uint32, block func(keyBlock), bad func(badKeys)) {
	var broken *badKeys
	for at := 0; at < len(b); {
		k, size, err := decodeKeyBlock(b[at:], salt)
		if err == nil {
			if broken != nil {
				bad(*broken)
				broken = nil
			}
			block(k)
			at += size
			continue
		}
		if broken == nil {
			if len(bytes.Trim(b[at:], "\x00")) == 0 {
				return
			}
			broken = &badKeys{offset: at, err: err}
		}
		at += max(size, 8)
		if size == 0 { // the next place where one may begin
			at += nextKeyMagic(b[min(at, len(b)):])
		}
	}
	if broken != nil {
		broken.tail = true
		bad(*broken)
	}
}

// nextKeyMagic is how far off the next magic at a multiple of 8 is.
func nextKeyMagic(b []byte) int {
	for at := 0; at+len(keyMagic) <= len(b); at += 8 {
		if bytes.Equal(b[at:at+len(keyMagic)], keyMagic[:]) {
			return at
		}
	}
	return len(b)
}

// readKeyFile reads a key file whole; it is at most keyFileLimit bytes.
func (q *Queue) readKeyFile(f keyFile) ([]byte, error) {
	return durable.ReadFile(q.deps.FS, f.path(q.at), keyFileLimit)
}

// keyFiles lists the key files, the newest first.
func (q *Queue) keyFiles() ([]keyFile, error) {
	entries, err := q.deps.FS.ReadDir(path.Join(q.at.dir, keysDir))
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list key files: %w", err)
	}
	var files []keyFile
	for _, e := range entries {
		if f, ok := parseKeyFile(e.Name()); ok {
			files = append(files, f)
		}
	}
	sortKeyFiles(files)
	return files, nil
}

// keyFileWriter appends blocks to the key files of a lane. The zero value writes
// to one that it makes.
type keyFileWriter struct {
	file durable.File // nil between files
	name keyFile      // zero between files
	at   int64
	buf  []byte
}

// write appends a block, or several where it has many keys; it sets when they
// were written. What was written is on stable storage once close has returned
// nil, as far as it matters.
func (w *keyFileWriter) write(q *Queue, lane string, b keyBlock) (err error) {
	if err := q.roomForKeys(int64(len(b.records))*keyRecordMax + keyBlockHeader); err != nil {
		return err
	}
	now := q.deps.Now()
	b.written = now.UnixMicro()
	if w.file != nil && (w.name.lane != lane || w.at >= keyFileBytes || now.Sub(w.name.begun()) >= keyFileSpan) {
		if err := w.close(q); err != nil {
			q.deps.Log.Warn("key file may not be on stable storage", "err", err)
		}
	}
	if w.file == nil {
		if w.file, w.name, err = q.createKeyFile(lane); err != nil {
			return err
		}
		w.at = 0
	}
	w.buf = appendKeyBlocks(w.buf[:0], w.name.salt(), b)
	if _, err := w.file.WriteAt(w.buf, w.at); err != nil {
		// What stands there now is anybody's guess: the next goes elsewhere.
		_ = w.file.Close()
		w.file, w.name = nil, keyFile{}
		return err
	}
	w.at += int64(len(w.buf))
	if cap(w.buf) > 4*keyBodyMax {
		w.buf = nil
	}
	return nil
}

// close makes the file durable and closes it. System calls: fdatasync, close,
// fsync of the directory.
func (w *keyFileWriter) close(q *Queue) error {
	if w.file == nil {
		return nil
	}
	err := errors.Join(w.file.Datasync(), w.file.Close())
	if err == nil {
		err = q.deps.FS.SyncDir(path.Join(q.at.dir, keysDir))
	}
	if err != nil {
		err = fmt.Errorf("key file %s: %w", w.name.name(), err)
	}
	w.file, w.name = nil, keyFile{}
	return err
}

// appendKeyBlocks encodes b in as many blocks as its keys take.
func appendKeyBlocks(dst []byte, salt uint32, b keyBlock) []byte {
	for len(b.records) > keyBlockKeys {
		part := b
		part.records = b.records[:keyBlockKeys]
		part.to = part.records[keyBlockKeys-1].seq
		dst = appendKeyBlock(dst, salt, part)
		b.from, b.records = part.to, b.records[keyBlockKeys:]
	}
	return appendKeyBlock(dst, salt, b)
}

// createKeyFile makes a key file, and the directory where it is missing. A name
// is used once: a file that was made although the answer was lost stays empty.
func (q *Queue) createKeyFile(lane string) (durable.File, keyFile, error) {
	f := keyFile{lane, ulid.MustNew(ulid.Timestamp(q.deps.Now()), ulid.DefaultEntropy())}
	file, err := q.deps.FS.Create(f.path(q.at))
	if missing(err) {
		if err = q.deps.FS.Mkdir(path.Join(q.at.dir, keysDir)); err == nil || errors.Is(err, fs.ErrExist) {
			err = q.deps.FS.SyncDir(q.at.dir)
		}
		if err == nil {
			file, err = q.deps.FS.Create(f.path(q.at))
		}
	}
	if err != nil {
		return nil, keyFile{}, fmt.Errorf("make key file: %w", err)
	}
	return file, f, nil
}
