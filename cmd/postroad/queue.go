package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"postroad/internal/durable"
	"postroad/internal/message"
	"postroad/internal/queue"
)

type queueCommand struct {
	Ls      queueLs      `cmd:"" help:"List lanes, claims, dead letters and what was set aside."`
	Show    queueShow    `cmd:"" help:"Show one lane, or one message whole."`
	Check   queueCheck   `cmd:"" help:"Verify every byte that holds an acknowledged message; exit code 3 if one is damaged."`
	Replay  queueReplay  `cmd:"" help:"Send once more what is kept and was forwarded."`
	Dead    queueDead    `cmd:"" help:"List the dead letters, or show one."`
	Release queueRelease `cmd:"" help:"Send dead letters once more."`
	Discard queueDiscard `cmd:"" help:"Mark dead letters as not wanted."`
	Import  queueImport  `cmd:"" help:"Store the messages of a directory of one file each."`
}

// queueDir is the argument of every verb.
type queueDir struct {
	Dir string `arg:"" help:"The queue's directory." placeholder:"DIR"`
}

// inspect opens the directory for looking.
func (d queueDir) inspect() (*queue.Inspector, error) {
	v, err := queue.Inspect(d.Dir, durable.OS{})
	if errors.Is(err, message.ErrInvalid) {
		return nil, usagef("%w", err)
	}
	return v, err
}

// printLine prints v as one line of JSON.
func printLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("print as JSON: %w", err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// table is columns under headings, as wide as they need.
type table struct {
	head  []string
	right []bool // columns of numbers
	rows  [][]string
}

// newTable makes a table; a heading that begins with ">" is of a column of
// numbers.
func newTable(heads ...string) *table {
	t := &table{}
	for _, h := range heads {
		name, right := strings.CutPrefix(h, ">")
		t.head, t.right = append(t.head, name), append(t.right, right)
	}
	return t
}

// add adds a row. What others wrote is made printable by who adds it.
func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print writes the table, its headings dimmed on a terminal.
func (t *table) print(w io.Writer, term terminal) {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], runewidth.StringWidth(cell))
		}
	}
	line := func(row []string) string {
		var b strings.Builder
		for i, cell := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			if t.right[i] {
				cell = runewidth.FillLeft(cell, widths[i])
			} else if i < len(row)-1 {
				cell = pad(cell, widths[i])
			}
			b.WriteString(cell)
		}
		return strings.TrimRight(b.String(), " ")
	}
	fmt.Fprintln(w, term.paint(dim, line(t.head)))
	for _, row := range t.rows {
		fmt.Fprintln(w, line(row))
	}
}

// when writes a time for a table.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// text makes what others wrote printable, and a dash of nothing.
func text(s string) string {
	if s == "" {
		return "-"
	}
	return printable([]byte(s))
}

// ownerText names a process and says whether it is there.
func ownerText(o queue.OwnerView) string {
	if o.Host == "" {
		return "unknown"
	}
	state := ""
	if o.State != queue.OwnerUnknown {
		state = " " + o.State
	}
	return fmt.Sprintf("%s/%d%s", text(o.Host), o.PID, state)
}

// seqRange writes the seqs from first to last.
func seqRange(first, last uint64) string {
	if first == 0 || last < first {
		return "-"
	}
	return fmt.Sprintf("%d-%d", first, last)
}
