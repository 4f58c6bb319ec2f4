package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"postroad/internal/message"
)

// ContentType is the media type of a batch.
const ContentType = "application/vnd.postroad.relay"

// MaxHops is how many stamps a message may have passed, the sender included.
const MaxHops = 8

// magic begins a batch; the digit is the version of the format.
const magic = "PRR1"

// frameOverhead is the most that a frame takes beside its message: lengths, lane,
// seq and path, in bytes.
const frameOverhead = 64 + MaxHops*(maxStampName+1)

// maxStampName is the longest name of a stamp, in bytes.
const maxStampName = 63

// Relayed is a message on its way from one stamp to another.
type Relayed struct {
	// Place is where the sender keeps the message: together with the sender's
	// name its identity on this way.
	Place message.Place
	// Path names the stamps that it has passed, where it was accepted first and
	// the sender last; at least one.
	Path []string
	// Message has its Origin set: where the first stamp accepted it, and when.
	message.Message
}

// Begin returns b with the beginning of a batch at its end.
func Begin(b []byte) []byte { return append(b, magic...) }

// Append encodes r at the end of b.
func Append(b []byte, r *Relayed) []byte {
	body := binary.AppendUvarint(nil, uint64(len(r.Place.Lane)))
	body = append(body, r.Place.Lane...)
	body = binary.AppendUvarint(body, r.Place.Seq)
	path := strings.Join(r.Path, ",")
	body = binary.AppendUvarint(body, uint64(len(path)))
	body = append(body, path...)
	body = message.Append(body, &r.Message)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

// ErrTooLarge: a frame or a batch is over the reader's limit.
var ErrTooLarge = errors.New("too large")

// ErrBroken: the bytes are no batch.
var ErrBroken = errors.New("not a batch of relayed messages")

// Reader reads a batch as its bytes come.
type Reader struct {
	r     *bufio.Reader
	limit int // of a frame, in bytes
	left  int // of the batch
	count int
	begun bool
}

// NewReader reads a batch of at most batchBytes, with messages that take at most
// messageBytes each as they are stored.
func NewReader(r io.Reader, messageBytes, batchBytes int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 64<<10), limit: messageBytes + frameOverhead, left: batchBytes}
}

// Next returns the next message, which owns its memory; io.EOF at the end of the
// batch. Errors of the batch match ErrTooLarge or ErrBroken and name the message,
// counted from 1; others come from the source.
func (r *Reader) Next() (Relayed, error) {
	if !r.begun {
		if err := r.begin(); err != nil {
			return Relayed{}, err
		}
	}
	size, err := binary.ReadUvarint(r.r)
	if errors.Is(err, io.EOF) {
		return Relayed{}, io.EOF
	}
	r.count++
	if err != nil {
		return Relayed{}, r.broken("its length is cut short or no number", err)
	}
	if size > uint64(r.limit) {
		return Relayed{}, fmt.Errorf("message %d: %w: a frame of %d bytes; at most %d", r.count, ErrTooLarge, size, r.limit)
	}
	if size > uint64(r.left) {
		return Relayed{}, fmt.Errorf("message %d: %w: the batch is over its limit", r.count, ErrTooLarge)
	}
	r.left -= int(size)
	frame := make([]byte, size)
	if _, err := io.ReadFull(r.r, frame); err != nil {
		return Relayed{}, r.broken("it is cut short", err)
	}
	m, err := decode(frame)
	if err != nil {
		return Relayed{}, fmt.Errorf("message %d: %w: %w", r.count, ErrBroken, err)
	}
	return m, nil
}

func (r *Reader) begin() error {
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r.r, head); err != nil {
		return r.broken("the beginning is missing", err)
	}
	if string(head) != magic {
		return fmt.Errorf("%w: it begins with %q and not with %q", ErrBroken, head, magic)
	}
	r.begun = true
	return nil
}

// broken words an error of the source: the end of the bytes is the batch's fault,
// anything else the source's.
func (r *Reader) broken(what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("message %d: %w: %s", r.count, ErrBroken, what)
	}
	return fmt.Errorf("message %d: %w", r.count, err)
}

var errFrame = errors.New("lane, seq or path are cut short")

// decode reads a frame; the message shares its memory.
func decode(b []byte) (Relayed, error) {
	var r Relayed
	lane, b, ok := sized(b)
	if !ok {
		return r, errFrame
	}
	seq, n := binary.Uvarint(b)
	if n <= 0 {
		return r, errFrame
	}
	path, b, ok := sized(b[n:])
	if !ok {
		return r, errFrame
	}
	r.Place = message.Place{Lane: string(lane), Seq: seq}
	r.Path = strings.Split(string(path), ",")
	m, err := message.Decode(b)
	if err != nil {
		return r, err
	}
	r.Message = m
	return r, r.check()
}

func sized(b []byte) (v, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	end := n + int(size)
	return b[n:end], b[end:], true
}

// check refuses what no sender writes.
func (r *Relayed) check() error {
	switch o := r.Origin; {
	case !message.ValidLane(r.Place.Lane) || r.Place.Seq == 0:
		return fmt.Errorf("place %q, %d is none", r.Place.Lane, r.Place.Seq)
	case len(r.Path) > MaxHops:
		return fmt.Errorf("it has passed %d stamps; at most %d", len(r.Path), MaxHops)
	case slices.ContainsFunc(r.Path, func(s string) bool { return !ValidStamp(s) }):
		return fmt.Errorf("path %q names no stamps", r.Path)
	case o == nil || o.Stamp != r.Path[0]:
		return errors.New("its origin is not the first of its path")
	case !message.ValidLane(o.Place.Lane) || o.Place.Seq == 0 || o.Time.IsZero():
		return errors.New("its origin names no place or no time")
	case len(r.Path) == 1 && o.Place != r.Place:
		return errors.New("it has passed one stamp and has two places there")
	case r.Moved != nil:
		return errors.New("it holds a field of the sender's own queue")
	}
	return nil
}

// ValidStamp reports whether s may be the name of a stamp: 1 to 63 of a-z, 0-9
// and "-".
func ValidStamp(s string) bool {
	if s == "" || len(s) > maxStampName {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
