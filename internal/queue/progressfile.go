package queue

import (
	"bytes"
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
// before it whole. Each slot:
//
//	 0  4  magic "PRPR"
//	 4  4  crc32c of bytes 8 to 8+16+length-1
//	 8  8  counter, from 1; the sound slot with the higher one counts
//	16  4  length of the body
//	20  4  zero
//	24  …  body
//
// Body, all numbers unsigned varints, strings preceded by their length:
// count of lanes, then for each lane id and next seq; count of topics, then for
// each its name, partition count, count of marks, and for each mark partition
// and offset.
const (
	progressSlot   = 128 << 10
	progressHeader = 24
)

var progressMagic = [4]byte{'P', 'R', 'P', 'R'}

// progressFile is an open progress file. Guarded by its chain's mutex.
type progressFile struct {
	file    durable.File
	name    string
	counter uint64
}

// createProgress makes the file and writes its first value. System calls:
// open(O_CREAT|O_EXCL), pwrite, pwrite, fdatasync, fsync of the directory.
func createProgress(fsys durable.FS, name string, first message.Progress) (*progressFile, error) {
	f, err := fsys.Create(name)
	if err != nil {
		return nil, err
	}
	p := &progressFile{file: f, name: name}
	if _, err = f.WriteAt(make([]byte, 2*progressSlot), 0); err == nil {
		err = p.save(first)
	}
	if err == nil {
		err = fsys.SyncDir(path.Dir(name))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return p, nil
}

// save writes the slot that does not hold the newest value and returns after
// the sync. After an error that slot may hold anything; the next save writes it
// again, whole, and the sound one stays untouched.
func (p *progressFile) save(v message.Progress) error {
	body := appendProgress(make([]byte, progressHeader, 4096), v)
	if len(body) > progressSlot {
		return fmt.Errorf("progress of %d bytes does not fit %d: too many topics and partitions for one chain", len(body), progressSlot)
	}
	if _, err := decodeProgress(body[progressHeader:]); err != nil { // a negative number
		return fmt.Errorf("what is to be saved could not be read back: %w", err)
	}
	next := p.counter + 1
	copy(body, progressMagic[:])
	binary.LittleEndian.PutUint64(body[8:], next)
	binary.LittleEndian.PutUint32(body[16:], uint32(len(body)-progressHeader))
	binary.LittleEndian.PutUint32(body[4:], crc32.Checksum(body[8:], castagnoli))
	if _, err := p.file.WriteAt(body, int64(next%2)*progressSlot); err != nil {
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
	f, err := fsys.Open(name)
	if err != nil {
		return message.Progress{}, err
	}
	defer f.Close()
	var newest message.Progress
	var counter uint64
	for slot := range int64(2) {
		b := make([]byte, progressSlot)
		n, err := f.ReadAt(b, slot*progressSlot)
		if err != nil && !errors.Is(err, io.EOF) {
			return message.Progress{}, err
		}
		v, c, err := decodeProgressSlot(b[:n])
		if err == nil && c > counter {
			newest, counter = v, c
		}
	}
	if counter == 0 {
		return message.Progress{}, fmt.Errorf("%s: %w", name, errNoProgress)
	}
	return newest, nil
}

var errNoProgress = errors.New("no sound progress value")

func decodeProgressSlot(b []byte) (message.Progress, uint64, error) {
	if len(b) < progressHeader || !bytes.Equal(b[:4], progressMagic[:]) {
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
	v, err := decodeProgress(b[progressHeader:])
	return v, binary.LittleEndian.Uint64(b[8:]), err
}

func appendProgress(b []byte, v message.Progress) []byte {
	str := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
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

func decodeProgress(b []byte) (message.Progress, error) {
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
