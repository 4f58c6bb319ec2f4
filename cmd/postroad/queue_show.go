package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"postroad/internal/message"
	"postroad/internal/queue"
)

type queueShow struct {
	queueDir
	What string `arg:"" help:"A lane, a message as LANE.SEQ, or a receipt." placeholder:"LANE[.SEQ]|RECEIPT"`

	Groups bool `help:"List the groups of a lane, too."`
	Most   int  `help:"Show at most this many bytes of a value; 0 is all." default:"4096" placeholder:"BYTES"`
	JSON   bool `help:"One JSON object with everything."`
}

// Run shows a lane or a message.
func (c *queueShow) Run(ctx context.Context, std streams) error {
	if c.Most < 0 {
		return usagef("--most: %d: must not be negative", c.Most)
	}
	at, id, err := parsePlace(c.What)
	if err != nil {
		return err
	}
	v, err := c.inspect()
	if err != nil {
		return err
	}
	if at.Seq == 0 {
		return c.lane(ctx, std, v, at.Lane)
	}
	f, err := v.Message(ctx, at)
	if err != nil {
		return err
	}
	if !id.IsZero() && f.ID != id {
		return fmt.Errorf("message %d of lane %s has another id, %s: %w", at.Seq, at.Lane, f.ID, message.ErrNotFound)
	}
	if c.JSON {
		return printLine(std.out, storedJSON(f, c.Most))
	}
	printStored(std.out, f, c.Most)
	return nil
}

// parsePlace reads a lane, a place or a receipt.
func parsePlace(s string) (at message.Place, id message.ID, err error) {
	if strings.Count(s, ".") == 2 {
		r, err := message.ParseReceipt(s)
		if err != nil {
			return at, id, usagef("%w", err)
		}
		return r.Place, r.ID, nil
	}
	lane, seq, some := strings.Cut(s, ".")
	at.Lane = lane
	if !message.ValidLane(lane) {
		return at, id, usagef("%q: must be a lane, LANE.SEQ or a receipt", s)
	}
	if some {
		if at.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil || at.Seq == 0 {
			return at, id, usagef("%q: seq %q is not a positive number", s, seq)
		}
	}
	return at, id, nil
}

func (c *queueShow) lane(ctx context.Context, std streams, v *queue.Inspector, id string) error {
	d, err := v.Lane(ctx, id, queue.Want{Groups: c.Groups})
	if err != nil {
		return err
	}
	if c.JSON {
		return printLine(std.out, d)
	}
	printLane(std.out, d)
	return nil
}

func printLane(w io.Writer, d *queue.LaneDetail) {
	term := terminalOf(w)
	printLanes(w, term, []queue.LaneView{d.LaneView})
	fmt.Fprintln(w)
	fact := func(name, value string) { fmt.Fprintf(w, "%s%s\n", pad(name, 13), value) }
	fact("chain", d.Chain)
	if d.Predecessor != "" {
		fact("follows", d.Predecessor)
	}
	fact("stamp", text(d.Stamp))
	if d.Ended != "" {
		fact("ended", text(d.Ended))
	}
	if d.Kind != queue.KindDead {
		fact("settled", fmt.Sprintf("below %d", d.SettledBelow))
	}
	if d.Removed > 0 {
		fact("removed", messages(int64(d.Removed))+" by retention")
	}
	fmt.Fprintln(w)
	t := newTable(">SEGMENT", ">SIZE", ">USED", "SEQS", ">GROUPS", ">MESSAGES", "BEGUN", "LAST GROUP", "STATE")
	for _, s := range d.SegmentList {
		t.add(fmt.Sprint(s.Number), size(s.Bytes), size(s.Used), seqRange(s.FirstSeq, s.LastSeq), count(int64(s.Groups)),
			count(int64(s.Messages)), when(s.Begun), when(s.Written), text(s.State))
	}
	t.print(w, term)
	if len(d.GroupList) > 0 {
		fmt.Fprintln(w)
		t = newTable(">SEGMENT", ">OFFSET", ">BYTES", "SEQS", "WRITTEN")
		for _, g := range d.GroupList {
			t.add(fmt.Sprint(g.Segment), fmt.Sprint(g.Offset), fmt.Sprint(g.Bytes), seqRange(g.FirstSeq, g.LastSeq), when(g.Written))
		}
		t.print(w, term)
	}
	if len(d.Findings) > 0 {
		fmt.Fprintln(w)
		printFindings(w, d.Findings)
	}
}

// shownStored is a message of the queue as --json prints it. Bytes that are no
// UTF-8 stand under the name with _base64 instead.
type shownStored struct {
	Receipt     string        `json:"receipt"`
	ID          string        `json:"id"`
	Stands      string        `json:"stands"`
	Kind        string        `json:"kind"`
	Fate        string        `json:"fate"`
	Elsewhere   string        `json:"elsewhere,omitempty"`
	Reason      string        `json:"reason,omitempty"`
	Topic       string        `json:"topic"`
	Key         *string       `json:"key"`
	KeyBase64   *string       `json:"key_base64,omitempty"`
	Value       *string       `json:"value"`
	ValueBase64 *string       `json:"value_base64,omitempty"`
	ValueBytes  int           `json:"value_bytes"`
	Cut         bool          `json:"value_cut,omitempty"`
	Headers     []shownHeader `json:"headers"`
	Accepted    time.Time     `json:"accepted"`
	Written     time.Time     `json:"written"`
	Principal   string        `json:"principal,omitempty"`
	TraceParent string        `json:"traceparent,omitempty"`
	Repeat      bool          `json:"repeat,omitempty"`
	Replay      bool          `json:"replay,omitempty"`
	Origin      *shownOrigin  `json:"origin,omitempty"`
}

// shownOrigin is where a relayed message was first accepted.
type shownOrigin struct {
	Stamp    string    `json:"stamp"`
	Place    string    `json:"place"`
	Accepted time.Time `json:"accepted"`
}

func placeText(p message.Place) string {
	if p.Lane == "" {
		return ""
	}
	return p.Lane + "." + strconv.FormatUint(p.Seq, 10)
}

// cut shortens a value to a number of bytes, where text at a character.
func cut(b []byte, most int) []byte {
	switch {
	case most == 0 || len(b) <= most:
		return b
	case utf8.Valid(b):
		return b[:cutUTF8(b, most)]
	}
	return b[:most]
}

func storedJSON(f queue.Found, most int) shownStored {
	s := shownStored{
		Receipt: message.Receipt{ID: f.ID, Place: f.Place}.String(), ID: f.ID.String(), Stands: placeText(f.Stands()),
		Kind: f.Kind, Fate: f.Fate, Elsewhere: placeText(f.Elsewhere), Reason: f.Why, Topic: f.Topic,
		ValueBytes: len(f.Value), Headers: make([]shownHeader, 0, len(f.Headers)), Accepted: f.Time, Written: f.Written,
		Principal: f.Principal, TraceParent: f.TraceParent, Repeat: f.Repeat, Replay: f.Replay,
	}
	value := cut(f.Value, most)
	s.Cut = len(value) < len(f.Value)
	s.Key, s.KeyBase64 = textOrBase64(f.Key)
	s.Value, s.ValueBase64 = textOrBase64(value)
	for _, h := range f.Headers {
		header := shownHeader{Name: h.Name}
		header.Value, header.ValueBase64 = textOrBase64(h.Value)
		s.Headers = append(s.Headers, header)
	}
	if o := f.Origin; o != nil {
		s.Origin = &shownOrigin{Stamp: o.Stamp, Place: placeText(o.Place), Accepted: o.Time}
	}
	return s
}

func printStored(w io.Writer, f queue.Found, most int) {
	fact := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s%s\n", pad(name, 13), value)
		}
	}
	fact("receipt", message.Receipt{ID: f.ID, Place: f.Place}.String())
	if f.Stands() != f.Place {
		fact("stands at", placeText(f.Stands())+" ("+f.Kind+")")
	}
	fact("fate", fateText(f))
	fact("topic", f.Topic)
	key := "(none)"
	if f.Key != nil {
		key = printable(f.Key)
	}
	fact("key", key)
	fact("accepted", f.Time.Format(time.RFC3339Nano))
	fact("written", f.Written.Format(time.RFC3339Nano))
	fact("principal", printable([]byte(f.Principal)))
	fact("traceparent", printable([]byte(f.TraceParent)))
	if o := f.Origin; o != nil {
		fact("origin", fmt.Sprintf("%s at %s, %s", placeText(o.Place), text(o.Stamp), o.Time.Format(time.RFC3339Nano)))
	}
	if f.Repeat {
		fact("repeat", "yes: another copy may exist")
	}
	if f.Replay {
		fact("replay", "yes")
	}
	for _, h := range f.Headers {
		fact("header", printable([]byte(h.Name))+": "+printable(h.Value))
	}
	value := cut(f.Value, most)
	about := size(int64(len(f.Value)))
	if !utf8.Valid(f.Value) {
		about += ", not text, in base64"
	}
	if len(value) < len(f.Value) {
		about += fmt.Sprintf(", the first %d bytes", len(value))
	}
	fact("value", "("+about+")")
	if plain, coded := textOrBase64(value); plain != nil {
		fmt.Fprintln(w, strings.ReplaceAll(printable([]byte(*plain)), `\n`, "\n"))
	} else if coded != nil {
		fmt.Fprintln(w, *coded)
	}
}

// fateText says in words what became of a message.
func fateText(f queue.Found) string {
	to := ""
	if f.Elsewhere.Lane != "" {
		to = ", at " + placeText(f.Elsewhere)
	}
	switch f.Fate {
	case queue.FateQueued:
		return "queued: waits for the hub"
	case queue.FateUnacknowledged:
		return "written, and not known to be durable: nobody was told yet that it is kept"
	case queue.FateHeld:
		return "held: waits in its topic's side lane" + to
	case queue.FateForwarded:
		return "forwarded" + to
	case queue.FateDead:
		return "dead: " + text(f.Why) + to
	}
	return f.Fate + ": was a dead letter, " + text(f.Why) + to
}
