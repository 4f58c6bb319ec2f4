package main

import (
	"cmp"
	"fmt"
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
	table := [][]string{{"origin", "state", "priority", "weight", "in flight", "streams", "answered", "failed", "since"}}
	for _, o := range g.Origins {
		table = append(table, []string{
			printable([]byte(o.Name)), doorStateText(o), fmt.Sprint(o.Priority), weightText(o),
			count(int64(o.InFlight)), count(int64(o.Streams)), count(int64(o.Answered)), count(int64(o.Failed)), sinceText(o.Since, now),
		})
	}
	for i, row := range columns(table) {
		if i == 0 {
			lines = append(lines, "  "+t.paint(dim, shorten(row, width-2)))
			continue
		}
		o := g.Origins[i-1]
		lines = append(lines, "  "+t.paint(stateColour(o), shorten(row, width-2)))
		if why := reasonText(o, now); why != "" {
			lines = append(lines, "    "+shorten(why, width-4))
		}
	}
	if b := g.Budget; b.Posted > 0 {
		lines = append(lines, "  "+t.paint(dim, shorten(fmt.Sprintf("repeats and hedges: %s of %s, %s refused by the budget",
			count(int64(b.Spent)), noun(int64(b.Posted), "POST"), count(int64(b.Refused))), width-2)))
	}
	return lines
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

// reasonText says why an origin is not healthy, and until when at least.
func reasonText(o doorOrigin, now time.Time) string {
	if o.State == "healthy" {
		return ""
	}
	text := printable([]byte(o.Reason))
	if o.State == "suspect" && o.IsolatedUntil.After(now) {
		text += ", out for " + age(o.IsolatedUntil.Sub(now)) + " at least"
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
