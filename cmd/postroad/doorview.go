package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// drawDoor draws the state of a door as lines no wider than the terminal.
func drawDoor(s doorState, now time.Time, t terminal) []string {
	var lines []string
	for i, g := range s.Groups {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, drawGroup(g, now, t)...)
	}
	if len(lines) == 0 {
		return []string{"the door has no origins"}
	}
	return lines
}

// judgeGroup says the worst that is the matter with a group.
func judgeGroup(g doorGroup) verdict {
	usable, out := 0, 0
	for _, o := range g.Origins {
		switch {
		case o.Usable:
			usable++
		case o.State != "disabled":
			out++
		}
	}
	switch {
	case g.Panic:
		return verdict{"PANIC", red, "too few origins are healthy: requests go to those that are not, too"}
	case usable == 0:
		return verdict{"DOWN", red, "no origin takes requests"}
	case g.Stalled:
		return verdict{"STALLED", yellow, "this machine stood still a moment ago; silence of origins is not counted"}
	case out > 0:
		return verdict{"REDUCED", yellow, fmt.Sprintf("%d of %s take requests", usable, noun(int64(len(g.Origins)), "origin"))}
	}
	return verdict{"OK", green, noun(int64(usable), "origin")}
}

func drawGroup(g doorGroup, now time.Time, t terminal) []string {
	width := cmp.Or(t.width, usualWidth)
	v := judgeGroup(g)
	name := printable([]byte(g.Name))
	lines := []string{t.paint(bold, name) + "  " + t.paint(v.colour, v.word) + "  " + shorten(v.sentence, width-len(name)-len(v.word)-4)}
	rows, wide := originRows(g, now, width-2)
	for i, row := range rows {
		if i == 0 {
			lines = append(lines, "  "+t.paint(dim, shorten(row, width-2)))
			continue
		}
		o := g.Origins[i-1]
		lines = append(lines, "  "+t.paint(stateColour(o), shorten(row, width-2)))
		for _, more := range []string{reasonText(o, now, !wide), announcedText(o.Said)} {
			if more != "" {
				lines = append(lines, "    "+shorten(more, width-4))
			}
		}
	}
	if b := g.Budget; b.Posted > 0 {
		lines = append(lines, "  "+t.paint(dim, shorten(fmt.Sprintf("repeats and hedges: %s of %s, %s refused by the budget",
			count(int64(b.Spent)), noun(int64(b.Posted), "POST"), count(int64(b.Refused))), width-2)))
	}
	return lines
}

// originRows is the table of a group's origins, heading first. wide says that since
// when each is what it is stands in it, too, which a narrow terminal has no room for.
func originRows(g doorGroup, now time.Time, width int) (rows []string, wide bool) {
	table := [][]string{{"origin", "state", "priority", "weight", "in flight", "streams", "answered", "failed", "since"}}
	for _, o := range g.Origins {
		state := printable([]byte(cmp.Or(o.State, "unknown")))
		if o.State == "restoring" {
			state += fmt.Sprintf(", %.0f %%", 100*o.Ramp)
		}
		table = append(table, []string{
			printable([]byte(o.Name)), state, fmt.Sprint(o.Priority), weightText(o),
			count(int64(o.InFlight)), count(int64(o.Streams)), count(int64(o.Answered)), count(int64(o.Failed)), sinceText(o.Since, now),
		})
	}
	rows = columns(table)
	if slices.IndexFunc(rows, func(row string) bool { return len([]rune(row)) > width }) < 0 {
		return rows, true
	}
	streams := slices.ContainsFunc(g.Origins, func(o doorOrigin) bool { return o.Streams > 0 })
	table[0][2], table[0][4] = "prio", "flight" // whole words would cost a column
	for i, row := range table {
		row[3] = strings.ReplaceAll(row[3], " ", "")
		table[i] = row[:8]
		if !streams {
			table[i] = slices.Delete(table[i], 5, 6)
		}
	}
	return columns(table), false
}

// announcedText is what an origin says of itself, as far as it is worth a look.
func announcedText(a doorSaid) string {
	var words []string
	if a.Fill >= 0.5 {
		words = append(words, fmt.Sprintf("its queue is %.0f %% full", 100*a.Fill))
	}
	if a.Throttled {
		words = append(words, "its hub throttles it, or is away")
	}
	if a.Weight != nil && *a.Weight != 100 {
		words = append(words, fmt.Sprintf("it asks for %d %% of its share", *a.Weight))
	}
	if len(words) == 0 {
		return ""
	}
	return "announces: " + strings.Join(words, ", ")
}

// doorStateText is the state of an origin in a few words.
func doorStateText(o doorOrigin) string {
	text := printable([]byte(cmp.Or(o.State, "unknown")))
	if o.State == "restoring" {
		text += fmt.Sprintf(", %.0f %% of its share", 100*o.Ramp)
	}
	if o.Percent != 100 && !strings.Contains(text, "%") {
		text += fmt.Sprintf(", at %d %%", o.Percent)
	}
	return text
}

func stateColour(o doorOrigin) string {
	switch {
	case o.State == "suspect":
		return red
	case o.State != "healthy":
		return yellow
	}
	return ""
}

func weightText(o doorOrigin) string {
	if o.Percent == 100 {
		return fmt.Sprint(o.Weight)
	}
	return fmt.Sprintf("%d × %d %%", o.Weight, o.Percent)
}

func sinceText(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	return stampTime(at, now) + " (" + age(now.Sub(at)) + ")"
}

// reasonText says why an origin is not healthy, until when at least and, if asked,
// since when.
func reasonText(o doorOrigin, now time.Time, since bool) string {
	if o.State == "healthy" {
		return ""
	}
	text := printable([]byte(o.Reason))
	if o.State == "suspect" && o.IsolatedUntil.After(now) {
		text += ", out for " + age(o.IsolatedUntil.Sub(now)) + " at least"
	}
	if since && !o.Since.IsZero() {
		text += ", since " + sinceText(o.Since, now)
	}
	return text
}

// columns aligns the cells of a table.
func columns(table [][]string) []string {
	widths := make([]int, len(table[0]))
	for _, row := range table {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	lines := make([]string, len(table))
	for i, row := range table {
		cells := make([]string, len(row))
		for j, cell := range row {
			cells[j] = pad(cell, widths[j])
		}
		lines[i] = strings.TrimRight(strings.Join(cells, "  "), " ")
	}
	return lines
}

// eventText is an event in one line.
func eventText(e doorEvent, now time.Time) string {
	var words []string
	if where := strings.Trim(printable([]byte(e.Group+"/"+e.Origin)), "/"); where != "" {
		words = append(words, where)
	}
	switch {
	case e.From != "" || e.To != "":
		words = append(words, printable([]byte(e.From))+" -> "+printable([]byte(e.To)))
		if e.Reason != "" {
			words = append(words, printable([]byte(e.Reason)))
		}
	default:
		words = append(words, strings.TrimSuffix(printable([]byte(e.Kind+": "+e.Reason)), ": "))
	}
	return stampTime(e.At, now) + "  " + strings.Join(words, "  ")
}
