package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"path"
	"slices"

	"postroad/internal/durable"
	"postroad/internal/message"
)

// A progress file has two slots, written in turn, and its full size from the
// start, so that saving needs no free space and a torn write leaves the slot
// before it whole. A slot is half of the file. Each:
//
//	 0  4  magic "PRPR", or "PRPH" where the body names the hub
//	 4  4  crc32c of bytes 8 to 8+16+length-1
//	 8  8  counter, from 1; the sound slot with the higher one counts
//	16  4  length of the body
//	20  4  zero
//	24  …  body
//
// Body, all numbers unsigned varints, strings preceded by their length:
// with "PRPH" the hub's identity, which is not empty; count of lanes, then for each lane id and next seq; count of topics, then for
// each its name, partition count, count of marks, and for each mark partition
// and offset.
const (
	// progressSlot is the size of a slot unless more is needed, in bytes: room
	// for about 15,000 partitions of topics with short names.
	progressSlot   = 128 << 10
	progressHeader = 24
	// maxProgressSlot is the largest slot, in bytes: every partition of a hub
	// that Kafka can hold.
	maxProgressSlot = 64 << 20
)

// errProgressFull says that the slots of a progress file are too small.
var errProgressFull = errors.New("progress does not fit its file")

var (
	progressMagic = [4]byte{'P', 'R', 'P', 'R'}
	// progressHubMagic is of values that name their hub. A program that does not
	// know it takes the slot for unsound, and sends again rather than look for
	// messages at another hub's offsets.
	progressHubMagic = [4]byte{'P', 'R', 'P', 'H'}
)

func progressMagicOf(v message.Progress) [4]byte {
	if v.Hub != "" {
		return progressHubMagic
	}
	return progressMagic
}

// progressFile is an open progress file. Guarded by its chain's mutex.
type progressFile struct {
	file    durable.File
	name    string
	slot    int // size of a slot in bytes
	counter uint64
}

// createProgress makes the file and writes its first value. System calls:
// open(O_CREAT|O_EXCL), pwrite, pwrite, fdatasync, fsync of the directory.
func createProgress(fsys durable.FS, name string, first message.Progress) (*progressFile, error) {
	f, err := fsys.Create(name)
	if err != nil {
		return nil, err
	}
	p := &progressFile{file: f, name: name, slot: progressSlot}
	for need := progressHeader + len(appendProgress(nil, first)); p.slot < 2*need && p.slot < maxProgressSlot; {
		p.slot *= 2 // room to grow, unless it is the size to begin with
	}
	if _, err = f.WriteAt(make([]byte, 2*p.slot), 0); err == nil {
		err = p.save(first)
	}
	if err == nil {
		err = fsys.SyncDir(path.Dir(name))
	}
	if err != nil {
		// On a full disk what is left of it would take the room of the next try.
		return nil, errors.Join(err, f.Close(), fsys.Remove(name))
	}
	return p, nil
}

// save writes the slot that does not hold the newest value and returns after
// the sync. After an error that slot may hold anything; the next save writes it
// again, whole, and the sound one stays untouched.
func (p *progressFile) save(v message.Progress) error {
	magic := progressMagicOf(v)
	body := appendProgress(make([]byte, progressHeader, 4096), v)
	if len(body) > p.slot {
		return fmt.Errorf("%d bytes, slots of %d: %w", len(body), p.slot, errProgressFull)
	}
	if _, err := decodeProgress(magic, body[progressHeader:]); err != nil { // a negative number
		return fmt.Errorf("what is to be saved could not be read back: %w", err)
	}
	next := p.counter + 1
	copy(body, magic[:])
	binary.LittleEndian.PutUint64(body[8:], next)
	binary.LittleEndian.PutUint32(body[16:], uint32(len(body)-progressHeader))
	binary.LittleEndian.PutUint32(body[4:], crc32.Checksum(body[8:], castagnoli))
	if _, err := p.file.WriteAt(body, int64(next%2)*int64(p.slot)); err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	if err := p.file.Datasync(); err != nil {
		return fmt.Errorf("sync progress: %w", err)
	}
	p.counter = next
	return nil
}

func (p *progressFile) close() error { return p.file.Close() }

// loadProgress reads the newest sound value of a progress file. A file with
// none (cut short while it was made, or damaged in both slots) gives
// errNoProgress: the caller falls back to the epoch before.
func loadProgress(fsys durable.FS, name string) (message.Progress, error) {
	p, _, err := readProgress(fsys, name)
	return p, err
}

// readProgress is loadProgress, and tells which value of the file it is, from 1.
// Of each slot it reads no more than is used: a file has room for a quarter of a
// megabyte, and what is in it is mostly a few hundred bytes.
func readProgress(fsys durable.FS, name string) (newest message.Progress, counter uint64, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return newest, 0, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return newest, 0, err
	}
	half := min(size/2, maxProgressSlot)
	for slot := range int64(2) {
		v, c, _, err := readProgressSlot(f, slot*half, half)
		if err != nil {
			return newest, 0, err
		}
		if c > counter {
			newest, counter = v, c
		}
	}
	if counter == 0 {
		return newest, 0, fmt.Errorf("%s: %w", name, errNoProgress)
	}
	return newest, counter, nil
}

// readProgressSlot reads a slot of a progress file. counter is 0 where it is not
// sound; blank reports that nothing was ever written there, as far as was read.
func readProgressSlot(f io.ReaderAt, at, room int64) (value message.Progress, counter uint64, blank bool, err error) {
	for size := min(smallFile, room); ; size = min(16*size, room) {
		b := make([]byte, size)
		n, err := f.ReadAt(b, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return value, 0, false, err
		}
		value, counter, err = decodeProgressSlot(b[:n])
		if err == nil {
			return value, counter, false, nil
		}
		_, written := noteText(b[:n])
		if !written || size == room || !progressGoesOn(b[:n]) {
			return message.Progress{}, 0, !written, nil
		}
	}
}

// progressGoesOn reports whether a slot says that it is longer than what was read.
func progressGoesOn(b []byte) bool {
	return len(b) >= progressHeader && isProgress(b) &&
		progressHeader+uint64(binary.LittleEndian.Uint32(b[16:])) > uint64(len(b))
}

// isProgress reports whether four or more bytes begin with a magic.
func isProgress(b []byte) bool {
	magic := [4]byte(b)
	return magic == progressMagic || magic == progressHubMagic
}

var errNoProgress = errors.New("no sound progress value")

func decodeProgressSlot(b []byte) (message.Progress, uint64, error) {
	if len(b) < progressHeader || !isProgress(b) {
		return message.Progress{}, 0, message.ErrDamaged
	}
	length := uint64(binary.LittleEndian.Uint32(b[16:]))
	if progressHeader+length > uint64(len(b)) {
		return message.Progress{}, 0, message.ErrDamaged
	}
	b = b[:progressHeader+length]
	if binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:], castagnoli) {
		return message.Progress{}, 0, message.ErrDamaged
	}
	v, err := decodeProgress([4]byte(b), b[progressHeader:])
	return v, binary.LittleEndian.Uint64(b[8:]), err
}

func appendProgress(b []byte, v message.Progress) []byte {
	str := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	if v.Hub != "" {
		str(v.Hub)
	}
	b = binary.AppendUvarint(b, uint64(len(v.Lanes)))
	for _, l := range v.Lanes {
		str(l.Lane)
		b = binary.AppendUvarint(b, l.Next)
	}
	marks := make(map[string][]message.Mark)
	for topic := range v.Partitions {
		marks[topic] = nil
	}
	for _, m := range v.Marks {
		marks[m.Topic] = append(marks[m.Topic], m)
	}
	b = binary.AppendUvarint(b, uint64(len(marks)))
	for _, topic := range slices.Sorted(maps.Keys(marks)) {
		str(topic)
		b = binary.AppendUvarint(b, uint64(v.Partitions[topic]))
		b = binary.AppendUvarint(b, uint64(len(marks[topic])))
		for _, m := range marks[topic] {
			b = binary.AppendUvarint(b, uint64(m.Partition))
			b = binary.AppendUvarint(b, uint64(m.Offset))
		}
	}
	return b
}

func decodeProgress(magic [4]byte, b []byte) (message.Progress, error) {
	bad := false
	num := func(most uint64) uint64 {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > most {
			bad, b = true, nil
			return 0
		}
		b = b[w:]
		return n
	}
	str := func() string {
		n := num(uint64(len(b)))
		if n > uint64(len(b)) {
			bad, b = true, nil
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	var v message.Progress
	if magic == progressHubMagic {
		v.Hub = str()
		bad = bad || v.Hub == ""
	}
	for range num(uint64(len(b))) {
		v.Lanes = append(v.Lanes, message.LaneProgress{Lane: str(), Next: num(math.MaxUint64)})
	}
	for range num(uint64(len(b))) {
		topic := str()
		if v.Partitions == nil {
			v.Partitions = make(map[string]int32)
		}
		v.Partitions[topic] = int32(num(math.MaxInt32))
		for range num(uint64(len(b))) {
			v.Marks = append(v.Marks, message.Mark{Topic: topic, Partition: int32(num(math.MaxInt32)), Offset: int64(num(math.MaxInt64))})
		}
	}
	if bad || len(b) > 0 {
		return message.Progress{}, fmt.Errorf("progress: %w", message.ErrDamaged)
	}
	return v, nil
}
