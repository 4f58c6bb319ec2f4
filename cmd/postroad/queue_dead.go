package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"postroad/internal/message"
	"postroad/internal/queue"
)

type queueDead struct {
	queueDir
	ID string `arg:"" optional:"" help:"Show this one whole: a dedupe id, a receipt or LANE.SEQ." placeholder:"ID"`

	Topic  string `help:"Only letters of this topic." short:"t"`
	Marked bool   `help:"Released and discarded ones, too."`
	Most   int    `help:"Show at most this many bytes of a value; 0 is all." default:"4096" placeholder:"BYTES"`
	JSON   bool   `help:"One JSON object a line."`
}

// Help says what a dead letter is.
func (c *queueDead) Help() string {
	return `Dead letters are messages that the hub refuses for good, each with its reason. They are kept until they are released, which sends them once more, or discarded.`
}

// letters opens the directory's dead letters.
func (d queueDir) letters() (*queue.Letters, error) {
	l, err := queue.OpenLetters(d.Dir, nil)
	if errors.Is(err, message.ErrInvalid) {
		return nil, usagef("%w", err)
	}
	return l, err
}

// Run lists dead letters, or shows one.
func (c *queueDead) Run(ctx context.Context, std streams) error {
	if c.ID != "" {
		return c.one(ctx, std)
	}
	d, err := c.letters()
	if err != nil {
		return err
	}
	t := newTable(">AGE", "TOPIC", "KEY", ">SIZE", "STATE", "ID", "STANDS", "REASON")
	n, bytes := int64(0), int64(0)
	err = d.Each(ctx, queue.LetterFilter{Topic: c.Topic, Marked: c.Marked}, func(l queue.Letter) error {
		if c.JSON {
			return printLine(std.out, l.View())
		}
		n++
		bytes += int64(l.Size())
		key := "-"
		if l.Key != nil {
			key = shorten(printable(l.Key), 24)
		}
		t.add(age(time.Since(l.Buried)), l.Topic, key, size(int64(l.Size())), l.State, l.ID.String(), placeText(l.Stands()), text(l.Reason))
		return nil
	})
	if err != nil || c.JSON {
		return err
	}
	if n > 0 {
		t.print(std.out, terminalOf(std.out))
		fmt.Fprintln(std.out)
	}
	fmt.Fprintf(std.out, "%s, %s\n", noun(n, "dead letter"), size(bytes))
	return nil
}

// one shows a letter whole.
func (c *queueDead) one(ctx context.Context, std streams) error {
	f, err := letterFilter([]string{c.ID})
	if err != nil {
		return err
	}
	d, err := c.letters()
	if err != nil {
		return err
	}
	f.Marked = true
	var last *queue.Letter // the newest, where a message died more than once
	if err := d.Each(ctx, f, func(l queue.Letter) error { last = &l; return nil }); err != nil {
		return err
	}
	if last == nil {
		return fmt.Errorf("dead letter %s: %w", c.ID, message.ErrNotFound)
	}
	found := queue.Found{Stored: last.Stored, Kind: queue.KindDead, Written: last.Buried, Fate: last.State, Why: last.Reason}
	if last.State == queue.LetterOpen {
		found.Fate = queue.FateDead
	}
	if c.JSON {
		return printLine(std.out, storedJSON(found, c.Most))
	}
	printStored(std.out, found, c.Most)
	return nil
}

// letterFilter reads ids, receipts and places.
func letterFilter(names []string) (queue.LetterFilter, error) {
	f, err := queue.ParseLetters(names)
	if err != nil {
		return f, usagef("%w", err)
	}
	return f, nil
}

// which says which letters release and discard are about.
type which struct {
	queueDir
	ID []string `arg:"" optional:"" help:"Letters, each by its dedupe id, a receipt or LANE.SEQ." placeholder:"ID"`

	Topic string `help:"All open letters of this topic." short:"t"`
	All   bool   `help:"All open letters."`
	JSON  bool   `help:"One JSON object with what was done."`
}

func (w *which) filter() (queue.LetterFilter, error) {
	ways := 0
	for _, given := range []bool{len(w.ID) > 0, w.Topic != "", w.All} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return queue.LetterFilter{}, usagef("say which: ids, --topic or --all")
	}
	f, err := letterFilter(w.ID)
	f.Topic = w.Topic
	return f, err
}

// chosen are letters of a directory, and the filter that chooses them.
type chosen struct {
	*queue.Letters
	queue.Chosen
	filter queue.LetterFilter
}

// choose opens the letters and counts those that are meant. It fails where one
// that is named is none.
func (w *which) choose(ctx context.Context) (c chosen, err error) {
	if c.filter, err = w.filter(); err != nil {
		return c, err
	}
	if c.Letters, err = w.letters(); err != nil {
		return c, err
	}
	if c.Chosen, err = c.Survey(ctx, c.filter); err != nil {
		return c, err
	}
	if len(c.Unknown) > 0 {
		return c, fmt.Errorf("dead letter %s: %w; nothing was changed", strings.Join(c.Unknown, ", "), message.ErrNotFound)
	}
	return c, nil
}

// settledLetters is what release and discard did, for --json.
type settledLetters struct {
	Letters []queue.LetterView `json:"letters"`
	// Before are letters that were named and were marked already.
	Before []queue.LetterView `json:"marked_before"`
	Error  string             `json:"error,omitempty"`
}

// settle does what verb says with the chosen letters and reports it.
func (w *which) settle(std streams, c chosen, verb string, do func(done func(queue.Letter)) error) error {
	r := settledLetters{Letters: []queue.LetterView{}, Before: []queue.LetterView{}}
	for i := range c.Before {
		r.Before = append(r.Before, c.Before[i].View())
	}
	err := do(func(l queue.Letter) { r.Letters = append(r.Letters, l.View()) })
	if w.JSON {
		if err != nil {
			r.Error = err.Error()
		}
		return errors.Join(printLine(std.out, r), err)
	}
	for _, l := range r.Before {
		fmt.Fprintf(std.out, "%s was %s before\n", l.ID, l.State)
	}
	fmt.Fprintf(std.out, "%s %s\n", verb, noun(int64(len(r.Letters)), "dead letter"))
	return err
}

type queueRelease struct {
	which
	writeFlags
}

// Help says what happens to a letter.
func (c *queueRelease) Help() string {
	return `Appends a copy of each letter to a lane of this command's own, under the letter's own identity, and marks the letter. A forwarder sends it; should the hub refuse it again it becomes another dead letter. Interrupted, it can be run again: readers show each message once.`
}

// Run releases letters.
func (c *queueRelease) Run(ctx context.Context, std streams) (err error) {
	l, err := c.choose(ctx)
	if err != nil {
		return err
	}
	to := c.store(c.Dir, std)
	defer func() { err = errors.Join(err, to.close()) }()
	return c.settle(std, l, "released", func(done func(queue.Letter)) error {
		return l.Release(ctx, to, l.filter, whoAsks(), done)
	})
}

type queueDiscard struct {
	which
	Yes bool `help:"Do it without asking." short:"y"`
}

// Help says what happens to a letter.
func (c *queueDiscard) Help() string {
	return `Marks letters as not wanted. They are shown no more, and removed once every letter of their lane is marked and older than queue.retain.`
}

// Run discards letters.
func (c *queueDiscard) Run(ctx context.Context, std streams) error {
	l, err := c.choose(ctx)
	if err != nil {
		return err
	}
	if !c.Yes && l.Open > 0 {
		if err := confirm(std, "discard "+noun(int64(l.Open), "dead letter")); err != nil {
			return err
		}
	}
	return c.settle(std, l, "discarded", func(done func(queue.Letter)) error {
		return l.Discard(ctx, l.filter, whoAsks(), done)
	})
}
