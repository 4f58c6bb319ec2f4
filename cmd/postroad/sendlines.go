package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	ndjsonType = "application/x-ndjson"
	// bodyLimit is the size at which a batch is sent whatever number of lines
	// it has, in bytes: half of what a gateway takes by default.
	bodyLimit = 4 << 20
	// lineLimit is the longest line that is read, in bytes.
	lineLimit = bodyLimit
	// linesAhead is how many lines are read ahead of the batch.
	linesAhead = 64
)

// inputLine is a line of the input with its number, from 1, or the error that
// ended the input.
type inputLine struct {
	number int
	text   []byte
	err    error
}

// batch is what one request carries: lines that are stored all or none.
type batch struct {
	body  []byte
	lines []int // their numbers in the input
	err   error // ended the input after these lines
}

// readLines reads lines until the input or ctx ends. Empty ones count, but are
// not handed on.
func readLines(ctx context.Context, in io.Reader, name string, to chan<- inputLine) {
	defer close(to)
	scanner := bufio.NewScanner(in)
	scanner.Buffer(make([]byte, 64<<10), lineLimit)
	number := 0
	for scanner.Scan() {
		number++
		text := bytes.Trim(scanner.Bytes(), " \t\r")
		if len(text) == 0 {
			continue
		}
		select {
		case to <- inputLine{number: number, text: bytes.Clone(text)}:
		case <-ctx.Done():
			return
		}
	}
	err := scanner.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		err = fmt.Errorf("line %d is longer than %s", number+1, size(lineLimit))
	} else if err != nil {
		err = fmt.Errorf("after line %d: %w", number, err)
	}
	if err != nil {
		select {
		case to <- inputLine{err: fmt.Errorf("read %s: %w", name, err)}:
		case <-ctx.Done():
		}
	}
}

// gather makes batches of lines. A batch is handed over as soon as somebody
// takes it, so that lines that trickle in do not wait for more; a patient one
// only when it is full or the input ends, for files.
func gather(ctx context.Context, from <-chan inputLine, most int, patient bool, to chan<- batch) {
	defer close(to)
	var b batch
	var ahead *inputLine // did not fit
	for {
		var in <-chan inputLine
		var out chan<- batch
		full := ahead != nil || len(b.lines) >= most || b.err != nil || from == nil
		if full || len(b.lines) > 0 && !patient {
			out = to
		}
		if !full {
			in = from
		}
		if full && len(b.lines) == 0 && ahead == nil && b.err == nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case out <- b:
			b = batch{}
			if ahead != nil {
				b.add(*ahead)
				ahead = nil
			}
		case line, more := <-in:
			switch {
			case !more:
				from = nil
			case line.err != nil:
				b.err = line.err
			case len(b.lines) > 0 && len(b.body)+len(line.text) > bodyLimit:
				ahead = &line
			default:
				b.add(line)
			}
		}
	}
}

func (b *batch) add(l inputLine) {
	b.body = append(append(b.body, l.text...), '\n')
	b.lines = append(b.lines, l.number)
}

// span names the lines of a batch.
func (b *batch) span() string {
	first, last := b.lines[0], b.lines[len(b.lines)-1]
	if first == last {
		return fmt.Sprintf("line %d", first)
	}
	return fmt.Sprintf("lines %d to %d", first, last)
}

// sent is the sum of what was accepted.
type sent struct {
	messages, bytes int64
	requests        int
	stamps          []string // in the order of their first answer
	dead            int64
	pending         int64 // accepted, waited for and not in the hub in time
}

// sendLines sends the lines of in, batch after batch, one at a time, so that
// what is accepted is always the beginning of the input.
func (c *sendCommand) sendLines(ctx context.Context, std streams, p *poster, in io.Reader, name string) error {
	read, stop := context.WithCancel(ctx)
	defer stop()
	lines, batches := make(chan inputLine, linesAhead), make(chan batch)
	go readLines(read, in, name, lines)
	length, regular := lengthOf(in)
	go gather(read, lines, c.Batch, regular, batches)

	start := time.Now()
	bar := newProgress(std.err, length)
	p.waiting = bar.waiting
	var done sent
	err := c.sendBatches(ctx, std, p, batches, bar, &done)
	bar.close(err == nil)
	if !c.JSON {
		fmt.Fprintln(std.out, done.summary(c.Topic, time.Since(start)))
	}
	if err == nil && done.dead > 0 {
		err = fmt.Errorf("the hub refused %s for good", messages(done.dead))
	}
	return err
}

func (c *sendCommand) sendBatches(ctx context.Context, std streams, p *poster, batches <-chan batch, bar *progress, done *sent) error {
	next := 1 // the first line of which nothing is known
	for {
		var b batch
		var more bool
		select {
		case <-ctx.Done():
		case b, more = <-batches:
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: nothing from line %d on was sent", errStopped, next)
		}
		if !more {
			return nil
		}
		if len(b.lines) > 0 {
			a, err := p.post(ctx, request{path: c.topicPath(), contentType: ndjsonType, body: b.body, key: newKey(), wait: c.Wait})
			if err != nil {
				return notAccepted(&b, err)
			}
			if err := c.take(std, a, &b, done); err != nil {
				return err
			}
			bar.add(len(b.lines), len(b.body))
			next = b.lines[len(b.lines)-1] + 1
		}
		if b.err != nil {
			return fmt.Errorf("%w; every line before it was accepted", b.err)
		}
	}
}

// take adds an answer to the sum.
func (c *sendCommand) take(std streams, a answer, b *batch, done *sent) error {
	done.messages += int64(len(b.lines))
	done.bytes += int64(len(b.body))
	done.requests++
	if c.JSON {
		return printJSON(std.out, a.body)
	}
	var got accepted
	if err := json.Unmarshal(a.body, &got); err != nil {
		return fmt.Errorf("%s accepted, but the answer cannot be read: %w", b.span(), err)
	}
	if got.Accepted != len(b.lines) {
		return fmt.Errorf("%s sent, but %d accepted: the answer does not fit the request", b.span(), got.Accepted)
	}
	done.note(got, c.Wait > 0)
	return nil
}

func (s *sent) note(got accepted, waited bool) {
	name := printable([]byte(got.Stamp))
	known := false
	for _, seen := range s.stamps {
		known = known || seen == name
	}
	if !known && name != "" {
		s.stamps = append(s.stamps, name)
	}
	if waited && len(got.Messages) == 0 {
		s.pending += int64(got.Accepted)
	}
	for _, m := range got.Messages {
		if m.State == "dead" {
			s.dead++
		}
	}
}

// notAccepted names the first line that was not accepted and why.
func notAccepted(b *batch, err error) error {
	first := b.lines[0]
	var gone *gaveUpError
	if errors.As(err, &gone) && gone.unknown {
		return fmt.Errorf("line %d is the first line not known to be accepted: %s may be stored or not: %w; lines with an id can be sent again safely",
			first, b.span(), gone.err)
	}
	var refused *refusedError
	if errors.As(err, &refused) && refused.problem.Line > 0 && refused.problem.Line <= len(b.lines) {
		bad := b.lines[refused.problem.Line-1]
		// The gateway counts from the beginning of the batch.
		detail := strings.TrimPrefix(refused.problem.Detail, fmt.Sprintf("line %d: ", refused.problem.Line))
		reason := fmt.Sprintf("line %d was refused: %s", bad, problem{Title: refused.problem.Title, Detail: detail})
		if bad == first && len(b.lines) == 1 {
			return fmt.Errorf("line %d is the first line not accepted: it %s", first, strings.TrimPrefix(reason, fmt.Sprintf("line %d ", bad)))
		}
		return fmt.Errorf("line %d is the first line not accepted: %s are stored together or not at all, and %s", first, b.span(), reason)
	}
	return fmt.Errorf("line %d is the first line not accepted: %w", first, err)
}

// summary says what was accepted, and how fast.
func (s *sent) summary(topic string, took time.Duration) string {
	text := fmt.Sprintf("accepted %s (%s) for topic %s", messages(s.messages), size(s.bytes), topic)
	if s.messages == 0 {
		return text
	}
	if len(s.stamps) > 0 {
		text += " at " + strings.Join(s.stamps, ", ")
	}
	text += fmt.Sprintf(", %s in %s", noun(int64(s.requests), "request"), age(took))
	if seconds := took.Seconds(); seconds > 0 {
		text += ", " + rate(float64(s.messages)/seconds)
	}
	if s.pending > 0 {
		text += fmt.Sprintf("; %s not in the hub yet", count(s.pending))
	}
	return text
}

// lengthOf tells how much a regular file holds from where it is read; others
// have no length.
func lengthOf(in io.Reader) (bytes int64, regular bool) {
	f, ok := in.(*os.File)
	if !ok {
		return 0, false
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, false
	}
	return info.Size() - at, true
}
