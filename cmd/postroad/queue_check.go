package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"postroad/internal/queue"
)

type queueCheck struct {
	queueDir
	JSON bool `help:"One JSON object with everything that was found."`
}

// Help says what the findings mean.
func (c *queueCheck) Help() string {
	return `Reads every segment of every lane that is kept, and every heartbeat, fence, claim and progress file. It may run while the service does: what looks wrong is looked at twice, and what retention removes is not missed.

  damage   acknowledged messages are damaged or missing; exit code 3
  unread   something could not be read, so nothing is known of it; exit code 1
  warning  something is damaged that cost no message
  notice   worth knowing, and as it may be: a tail that nobody was told was kept, or what was set aside`
}

// Run checks a queue directory.
func (c *queueCheck) Run(ctx context.Context, std streams) error {
	v, err := c.inspect()
	if err != nil {
		return err
	}
	r, err := v.Check(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := printLine(std.out, r); err != nil {
			return err
		}
	} else {
		printFindings(std.out, r.Findings)
		fmt.Fprintf(std.out, "checked %s: %s in %s, %s, %s\n", noun(int64(r.Lanes), "lane"), noun(int64(r.Groups), "group"),
			noun(int64(r.Segments), "segment"), messages(int64(r.Messages)), size(r.Bytes))
	}
	return verdictOf(r)
}

func verdictOf(r queue.CheckReport) error {
	unread := r.Count(queue.SeverityUnread)
	if r.Lost > 0 {
		text := messages(int64(r.Lost)) + " damaged or missing"
		if sent := r.Lost - r.Unsent; sent > 0 {
			text += fmt.Sprintf(", %s of them forwarded before", count(int64(sent)))
		}
		return &lossError{text}
	}
	if unread > 0 {
		return errors.New("not everything could be read")
	}
	return nil
}

func printFindings(w io.Writer, findings []queue.Finding) {
	term := terminalOf(w)
	colours := map[string]string{queue.SeverityDamage: red, queue.SeverityUnread: red, queue.SeverityWarning: yellow}
	for _, f := range findings {
		where := f.File
		if f.Bytes > 0 || f.Offset > 0 {
			where += fmt.Sprintf(" at byte %d", f.Offset)
		}
		if f.Bytes > 0 {
			where += fmt.Sprintf(", %d bytes", f.Bytes)
		}
		what := f.Text
		switch {
		case f.FirstSeq > 0 && f.FirstSeq == f.LastSeq:
			what = fmt.Sprintf("message %d: %s", f.FirstSeq, what)
		case f.FirstSeq > 0:
			what = fmt.Sprintf("messages %d to %d: %s", f.FirstSeq, f.LastSeq, what)
		}
		if f.Severity == queue.SeverityDamage && f.Forwarded {
			what += " (forwarded before)"
		}
		fmt.Fprintf(w, "%s  %s: %s\n", term.paint(colours[f.Severity], pad(f.Severity, 7)), text(where), text(what))
	}
}
