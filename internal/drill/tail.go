package drill

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
)

// Tail reads a topic from its beginning to its present end by `postroad tail`,
// as a reader sees it: each message once.
func (b *Binary) Tail(ctx context.Context, hub, topic string, saw func(Record) error) error {
	return b.tail(ctx, hub, topic, saw, "--until-end")
}

func (b *Binary) tail(ctx context.Context, hub, topic string, saw func(Record) error, flags ...string) (err error) {
	args := slices.Concat([]string{"tail", topic, "--hub", hub, "--from", "beginning", "--json"}, b.Reader, flags)
	cmd := exec.CommandContext(ctx, b.Path, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("tail %s: %w", topic, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("tail %s: %w", topic, err)
	}
	readErr := readTail(out, saw)
	if readErr != nil { // nobody reads on, so it would wait for ever
		readErr = errors.Join(readErr, cmd.Process.Kill())
	}
	if err := cmd.Wait(); err != nil || readErr != nil {
		return fmt.Errorf("tail %s: %w: %s", topic, errors.Join(readErr, err), bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}

// tailLine is what is read of a line of `postroad tail --json`: bytes that are
// not UTF-8 stand under the name with _base64.
type tailLine struct {
	Partition   int32   `json:"partition"`
	Offset      int64   `json:"offset"`
	Key         *string `json:"key"`
	KeyBase64   *string `json:"key_base64"`
	Value       *string `json:"value"`
	ValueBase64 *string `json:"value_base64"`
}

// readTail gives each line to saw.
func readTail(r io.Reader, saw func(Record) error) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	for number := 1; ; number++ {
		text, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(text) == 0 {
			return nil
		}
		if err != nil { // also a last line that was cut off
			return fmt.Errorf("line %d: %w", number, err)
		}
		record, err := parseTail(text)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if err := saw(record); err != nil {
			return err
		}
	}
}

func parseTail(text []byte) (Record, error) {
	l := tailLine{Partition: -1, Offset: -1}
	if err := json.Unmarshal(text, &l); err != nil {
		return Record{}, err
	}
	if l.Partition < 0 || l.Offset < 0 {
		return Record{}, errors.New("no partition or offset")
	}
	r := Record{Partition: l.Partition, Offset: l.Offset}
	var err error
	if r.Key, err = bytesOf(l.Key, l.KeyBase64); err != nil {
		return Record{}, fmt.Errorf("key: %w", err)
	}
	if r.Value, err = bytesOf(l.Value, l.ValueBase64); err != nil {
		return Record{}, fmt.Errorf("value: %w", err)
	}
	return r, nil
}

// bytesOf returns nil where there is neither.
func bytesOf(text, coded *string) ([]byte, error) {
	switch {
	case text != nil && coded != nil:
		return nil, errors.New("there in two forms")
	case text != nil:
		return []byte(*text), nil
	case coded != nil:
		return base64.StdEncoding.AppendDecode([]byte{}, []byte(*coded))
	}
	return nil, nil
}
