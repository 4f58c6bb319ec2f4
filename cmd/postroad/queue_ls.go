package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"postroad/internal/queue"
)

type queueLs struct {
	queueDir
	JSON bool `help:"One JSON object with everything."`
}

// Help says what is read.
func (c *queueLs) Help() string {
	return `Reads a few small files of each lane and no message, so that it answers at once. What it says of a running service is as old as the last heartbeat and the last saved progress: a few seconds.`
}

// Run lists a queue directory.
func (c *queueLs) Run(ctx context.Context, std streams) error {
	v, err := c.inspect()
	if err != nil {
		return err
	}
	l, err := v.List(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printLine(std.out, l)
	}
	printListing(std.out, l)
	return nil
}

func printListing(w io.Writer, l queue.Listing) {
	term := terminalOf(w)
	if len(l.Lanes) > 0 {
		printLanes(w, term, l.Lanes)
		fmt.Fprintln(w)
	}
	if len(l.Claims) > 0 {
		t := newTable("CHAIN", ">EPOCH", "CLAIM", "BY", "SINCE")
		for _, c := range l.Claims {
			t.add(c.Chain, fmt.Sprint(c.Epoch), text(c.State), ownerText(c.Owner), when(c.Claimed))
		}
		t.print(w, term)
		fmt.Fprintln(w)
	}
	if len(l.Quarantine) > 0 {
		t := newTable("SET ASIDE", ">SEGMENT", "SEQS", "WHAT", "FOUND")
		for _, r := range l.Quarantine {
			t.add(text(r.Lane), fmt.Sprint(r.Segment), seqRange(r.FirstSeq, r.LastSeq), text(r.Kind), when(r.Found))
		}
		t.print(w, term)
		fmt.Fprintln(w)
	}
	for _, name := range l.Others {
		fmt.Fprintf(w, "not a lane, left alone: %s\n", text(name))
	}
	fmt.Fprintln(w, summary(l))
}

func printLanes(w io.Writer, term terminal, lanes []queue.LaneView) {
	t := newTable("LANE", "KIND", "STATE", "WRITER", "CREATED", ">SEGMENTS", ">SIZE", "SEQS", ">WAITING")
	for _, l := range lanes {
		kind, waiting := l.Kind, count(int64(l.Unforwarded))
		switch l.Kind {
		case queue.KindSide:
			kind += " " + text(l.Topic)
		case queue.KindDead:
			waiting = count(int64(l.OpenLetters)) + " open"
		}
		state := l.State
		if state == queue.LaneLive && l.Owner.State == queue.OwnerGone {
			state = "abandoned"
		}
		t.add(l.Lane, kind, state, ownerText(l.Owner), when(l.Created), count(int64(l.Segments)), size(l.Bytes),
			seqRange(l.FirstSeq, l.DurableSeq), waiting)
	}
	t.print(w, term)
	for _, l := range lanes {
		if len(l.Trouble) > 0 {
			fmt.Fprintf(w, "%s: %s\n", l.Lane, text(strings.Join(l.Trouble, "; ")))
		}
	}
}

func summary(l queue.Listing) string {
	parts := []string{
		noun(int64(len(l.Lanes)), "lane"), size(l.Bytes),
		messages(int64(l.Unforwarded)) + " waiting",
	}
	if l.OpenLetters > 0 {
		parts = append(parts, noun(int64(l.OpenLetters), "open dead letter"))
	}
	if len(l.Quarantine) > 0 {
		parts = append(parts, noun(int64(len(l.Quarantine)), "report")+" in quarantine")
	}
	return strings.Join(parts, ", ")
}
