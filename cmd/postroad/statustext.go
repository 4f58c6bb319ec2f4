package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
)

// titleText is the stamp's name, and which half of it this is.
func titleText(s stampStatus) string {
	title := printable([]byte(s.Name))
	if s.Part != "" {
		title += " (" + printable([]byte(s.Part)) + ")"
	}
	return title
}

func acceptingText(s stampStatus) string {
	if !s.Accepting {
		return "no"
	}
	if s.Gateway != "" {
		return "yes, at " + printable([]byte(s.Gateway))
	}
	return "yes"
}

func waitingColour(s stampStatus) string {
	away := s.Part != partGateway && s.Forward.Breaker.State != "closed"
	if s.Queue.UnforwardedMessages > 0 && (away || s.held() != nil) {
		return yellow
	}
	return ""
}

// waitingTexts are what waits, and until when.
func waitingTexts(s stampStatus) []string {
	texts := []string{waitingText(s)}
	switch f := s.Flow; {
	case f.NeverDrains:
		texts = append(texts, "never empty at this rate")
	case f.DrainSeconds > 0:
		// Longer than a Duration can hold is never, too.
		texts = append(texts, "empty in about "+age(time.Duration(min(f.DrainSeconds, 1e9)*float64(time.Second))))
	}
	return texts
}

// rateTexts are what goes in and out, where that is known.
func rateTexts(s stampStatus) []string {
	f := s.Flow
	if f.InPerSecond == nil {
		return nil
	}
	text := fmt.Sprintf("in %s (%s/s)", rate(*f.InPerSecond), size(int64(f.InBytesPerSecond)))
	if s.Part != partGateway {
		text += fmt.Sprintf(", out %s (%s/s)", rate(f.OutPerSecond), size(int64(f.OutBytesPerSecond)))
	}
	return []string{text}
}

// throttledTexts tell of a quota that slows the stamp down.
func throttledTexts(h hubStatus, now time.Time) []string {
	if h.ThrottledSeconds <= 0 {
		return nil
	}
	text := "for " + age(time.Duration(h.ThrottledSeconds*float64(time.Second))) + " of the last minute by the hub, because of a quota"
	if !h.ThrottledAt.IsZero() {
		text += ", last " + age(now.Sub(h.ThrottledAt)) + " ago"
	}
	return []string{text}
}

func waitingText(s stampStatus) string {
	q := s.Queue
	if q.Listing {
		return messages(q.UnforwardedMessages) + " and what else is in the lanes of earlier processes, still being listed"
	}
	if q.UnreadLanes > 0 {
		return fmt.Sprintf("%s and what else is in %s of earlier processes, still being read",
			messages(q.UnforwardedMessages), noun(q.UnreadLanes, "lane"))
	}
	if q.UnforwardedMessages == 0 && s.Part == partGateway {
		return "nothing that this process knows of"
	}
	if q.UnforwardedMessages == 0 {
		return "nothing: all that was accepted is in the hub"
	}
	return fmt.Sprintf("%s, %s, the oldest for %s, in %s", messages(q.UnforwardedMessages), size(q.UnforwardedBytes),
		age(time.Duration(q.OldestAgeSeconds*float64(time.Second))), noun(int64(q.Lanes), "lane"))
}

// hubText is the hub's name, kind and address.
func hubText(h hubStatus) string {
	text := printable([]byte(cmp.Or(strings.Join(h.Brokers, ","), "no address")))
	if h.Dialect != "" && h.Dialect != "kafka" {
		text = printable([]byte(h.Dialect)) + " at " + text
	}
	switch name := printable([]byte(h.Name)); {
	case h.Generation > 0:
		text = fmt.Sprintf("%s (generation %d), %s", cmp.Or(name, "no name"), h.Generation, text)
	case name != "":
		text = name + ", " + text
	}
	return text
}

// hubTexts are the hub's address and state, and while it is away why and what
// happens next. What may be long is wrapped.
func hubTexts(s stampStatus, now time.Time, width int) []string {
	texts := reachTexts(s, now, width)
	if s.Hub.Trouble != "" {
		texts = append(texts, wrap("going on with what its files held before: "+printable([]byte(s.Hub.Trouble)), width, reasonLines)...)
	}
	return texts
}

func reachTexts(s stampStatus, now time.Time, width int) []string {
	b, hub := s.Forward.Breaker, hubText(s.Hub)
	if held := s.held(); b.State == "closed" && held != nil && len(s.heldTopics()) == 0 {
		text := hub + "  reached, but refuses: " + printable([]byte(cmp.Or(held.Error, "no reason given")))
		return withNext(wrap(text, width, reasonLines), held.NextTry, now)
	}
	if b.State == "closed" {
		return []string{hub + "  reached"}
	}
	state := "out of reach"
	switch {
	case b.Own:
		state = "not asked"
	case b.State == "half-open":
		state = "being tried"
	}
	if !b.Since.IsZero() {
		state += fmt.Sprintf(" since %s (%s)", stampTime(b.Since, now), age(now.Sub(b.Since)))
	}
	texts := []string{hub + "  " + state}
	if runewidth.StringWidth(texts[0]) > width { // the state is what matters
		texts = []string{shorten(hub, width), state}
	}
	if cause := cmp.Or(b.Cause, s.Forward.LastError); cause != "" {
		texts = append(texts, wrap(printable([]byte(cause)), width, reasonLines)...)
	}
	return withNext(texts, b.NextTry, now)
}

func withNext(texts []string, next, now time.Time) []string {
	if next.After(now) {
		texts = append(texts, "next try in "+age(next.Sub(now)))
	}
	return texts
}

func forwardedText(f forwardStatus) string {
	text := count(f.ForwardedTotal) + " since the start, " + rate(f.RatePerSecond) + " now"
	if f.DeadTotal > 0 {
		text += ", " + count(f.DeadTotal) + " dead"
	}
	if f.DuplicateTotal > 0 {
		text += ", " + count(f.DuplicateTotal) + " left to another stamp's copy"
	}
	return text
}

func diskText(q queueStatus) string {
	text := size(q.DiskFreeBytes) + " free"
	if q.DiskTotalBytes > 0 {
		text += " of " + size(q.DiskTotalBytes)
	}
	if q.Dir != "" {
		text += " at " + printable([]byte(q.Dir))
	}
	if fs := q.FileSystem; fs.Type != "" {
		text += ", " + printable([]byte(fs.Type))
		if fs.Verdict != "supported" {
			text += " (" + printable([]byte(fs.Verdict)) + ")"
		}
	}
	return text
}

// roomText is what is used of the quota, and what room was made of.
func roomText(q queueStatus) string {
	var texts []string
	if s := q.Space; s.QuotaBytes > 0 {
		texts = append(texts, size(s.UsedBytes)+" of the quota of "+size(s.QuotaBytes))
	}
	if missing := q.Space.ReplayMissingSeconds; missing > 0 {
		texts = append(texts, age(time.Duration(missing*float64(time.Second)))+" of replay gave way")
	}
	return strings.Join(texts, ", ")
}

func versionText(s stampStatus, now time.Time) string {
	text := printable([]byte(cmp.Or(s.Version, "unknown")))
	if !s.Started.IsZero() {
		text += ", up " + age(now.Sub(s.Started))
	}
	var where []string
	for _, part := range []string{s.Region, s.Zone} {
		if part != "" {
			where = append(where, printable([]byte(part)))
		}
	}
	if len(where) > 0 {
		text += ", in " + strings.Join(where, " ")
	}
	return text
}

// stampTime is the time of day, with the date where it is another.
func stampTime(at, now time.Time) string {
	at = at.In(now.Location())
	if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}

// heldTexts tell of each topic that is held why, where its messages wait, and
// what happens next. Each is wrapped.
func heldTexts(f forwardStatus, now time.Time, width int) (texts []string) {
	held := f.heldTopics()
	for _, t := range held[:min(len(held), heldShown)] {
		text := printable([]byte(t.Topic)) + ": " + printable([]byte(cmp.Or(t.Error, "no reason given")))
		texts = append(texts, wrap(text, width, reasonLines)...)
		var next []string
		if t.Aside {
			next = append(next, "in a side lane")
		}
		if t.NextTry.After(now) {
			next = append(next, "next try in "+age(t.NextTry.Sub(now)))
		}
		if len(next) > 0 {
			texts = append(texts, indent+strings.Join(next, ", "))
		}
	}
	if more := len(held) - heldShown; more > 0 {
		texts = append(texts, "and "+noun(int64(more), "other topic"))
	}
	return texts
}

// reasonLines is how many lines the reason of an error may take.
const reasonLines = 4

// indent begins a line that belongs to the one above.
const indent = "  "

// wrap breaks a printable text at spaces into lines of a width, those after the
// first indented. What does not fit into so many lines is cut off.
func wrap(text string, width, lines int) (out []string) {
	for len(out) < lines-1 && runewidth.StringWidth(text) > width {
		head := runewidth.Truncate(text, width, "")
		at := strings.LastIndexByte(head, ' ')
		if strings.HasPrefix(text[len(head):], " ") {
			at = len(head)
		}
		if at <= len(indent) { // one long word
			at = len(head)
		}
		if at == 0 {
			break
		}
		out = append(out, strings.TrimRight(text[:at], " "))
		text = indent + strings.TrimLeft(text[at:], " ")
	}
	return append(out, shorten(text, width))
}
