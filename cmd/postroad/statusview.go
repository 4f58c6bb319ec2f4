package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Limits beyond which a state is pointed out.
const (
	lowDisk  = 1 << 30         // bytes
	oldAfter = 1 * time.Minute // a message that waits longer, although the hub answers
)

// verdict is the state of a stamp in a word and a sentence.
type verdict struct {
	word, colour, sentence string
}

// judge says the worst that is the matter, so that the first line is enough.
func judge(s stampStatus) verdict {
	oldest := time.Duration(s.Queue.OldestAgeSeconds * float64(time.Second))
	away := s.Part != partGateway && s.Forward.Breaker.State != "closed"
	switch {
	case !s.Accepting && s.Part == partForward:
		return verdict{"DOWN", red, "forwards nothing: " + printable([]byte(cmp.Or(s.Refusing, "no reason given")))}
	case !s.Accepting:
		return verdict{"DOWN", red, "accepts nothing: " + printable([]byte(cmp.Or(s.Refusing, "no reason given")))}
	case s.Queue.DamagedMessages > 0:
		return verdict{"DAMAGE", red, messages(s.Queue.DamagedMessages) + " damaged on disk and set aside"}
	case away && s.Queue.UnforwardedMessages > 0:
		return verdict{"HUB AWAY", yellow, "messages are kept here and go out by themselves when the hub is back"}
	case away:
		return verdict{"HUB AWAY", yellow, "nothing waits yet; what is accepted now is kept"}
	case s.held() != nil:
		return verdict{"HELD", red, "the hub refuses messages until somebody changes something; they are kept here"}
	case len(s.heldTopics()) > 0:
		return verdict{"HELD", yellow, "the hub refuses " + noun(int64(len(s.heldTopics())), "topic") + "; what is for the others goes out"}
	case s.Queue.FileSystem.Verdict == "refused":
		return verdict{"UNSAFE", yellow, "on " + printable([]byte(s.Queue.FileSystem.Type)) + " what was accepted may be lost; the override is set"}
	case s.Queue.DiskFreeBytes < lowDisk:
		return verdict{"DISK LOW", yellow, size(s.Queue.DiskFreeBytes) + " left for messages"}
	case oldest > oldAfter && s.Part == partGateway:
		return verdict{"BEHIND", yellow, "the oldest message has waited for " + age(oldest) + "; see the forwarders of this queue"}
	case oldest > oldAfter:
		return verdict{"BEHIND", yellow, "the oldest message has waited for " + age(oldest)}
	case s.Forward.DeadTotal > 0:
		return verdict{"OK", green, "but the hub refused " + messages(s.Forward.DeadTotal) + " for good"}
	}
	return verdict{"OK", green, wellText(s.Part)}
}

// wellText says what a process does with which nothing is the matter.
func wellText(part string) string {
	switch part {
	case partGateway:
		return "accepting; forwarders of this queue send to the hub"
	case partForward:
		return "forwarding"
	}
	return "accepting and forwarding"
}

// held is the first chain that the hub refuses, or nil.
func (s stampStatus) held() *chainStatus {
	for i := range s.Forward.Chains {
		if s.Forward.Chains[i].State == "held" {
			return &s.Forward.Chains[i]
		}
	}
	return nil
}

// heldTopics are the topics that the hub refuses, each once, in order.
func (s stampStatus) heldTopics() []topicStatus { return s.Forward.heldTopics() }

func (f forwardStatus) heldTopics() (held []topicStatus) {
	for _, c := range f.Chains {
		for _, t := range c.Topics {
			if t.State == "held" {
				held = append(held, t)
			}
		}
	}
	slices.SortStableFunc(held, func(a, b topicStatus) int { return strings.Compare(a.Topic, b.Topic) })
	return slices.CompactFunc(held, func(a, b topicStatus) bool { return a.Topic == b.Topic })
}

// heldShown is how many held topics are shown.
const heldShown = 5

// heldTexts tell of each topic that the hub refuses why, where its messages wait,
// and what happens next.
func heldTexts(f forwardStatus, now time.Time) (texts []string) {
	held := f.heldTopics()
	for _, t := range held[:min(len(held), heldShown)] {
		text := printable([]byte(t.Topic))
		if t.Aside {
			text += " (in a side lane)"
		}
		text += ": " + printable([]byte(cmp.Or(t.Error, "no reason given")))
		if t.NextTry.After(now) {
			text += ", next try in " + age(t.NextTry.Sub(now))
		}
		texts = append(texts, text)
	}
	if more := len(held) - heldShown; more > 0 {
		texts = append(texts, "and "+noun(int64(more), "other topic"))
	}
	return texts
}

// drawStatus draws a report as lines no wider than the terminal.
func drawStatus(report statusReport, now time.Time, t terminal) []string {
	if len(report.Stamps) == 0 {
		return []string{"no stamp runs there"}
	}
	names := 0
	for _, s := range report.Stamps {
		names = max(names, len(titleText(s)))
	}
	var lines []string
	for i, s := range report.Stamps {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, drawStamp(s, now, t, names)...)
	}
	return lines
}

func drawStamp(s stampStatus, now time.Time, t terminal, names int) []string {
	width := cmp.Or(t.width, usualWidth)
	v := judge(s)
	name := pad(titleText(s), names)
	head := t.paint(bold, name) + "  " + t.paint(v.colour, v.word) + "  " +
		shorten(v.sentence, width-names-len(v.word)-4)
	lines := []string{head}
	row := func(label, colour, text string) {
		lines = append(lines, "  "+t.paint(dim, pad(label, 10))+" "+t.paint(colour, shorten(text, width-13)))
	}
	if s.Part != partForward {
		row("accepting", "", acceptingText(s))
	}
	row("waiting", waitingColour(s), waitingText(s))
	if s.Part != partGateway {
		for i, text := range hubTexts(s, now) {
			row([]string{"hub", "", ""}[min(i, 2)], "", text)
		}
		for _, text := range heldTexts(s.Forward, now) {
			row("held", yellow, text)
		}
		row("forwarded", "", forwardedText(s.Forward))
	}
	row("disk", "", diskText(s.Queue))
	if text := roomText(s.Queue); text != "" {
		row("room", "", text)
	}
	row("version", "", versionText(s, now))
	return lines
}

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

// hubTexts are the hub's address and state, and while it is away why and what
// happens next.
func hubTexts(s stampStatus, now time.Time) []string {
	b := s.Forward.Breaker
	brokers := printable([]byte(cmp.Or(strings.Join(s.Hub.Brokers, ","), "no address")))
	if held := s.held(); b.State == "closed" && held != nil {
		return withNext([]string{brokers + "  reached, but refuses: " + printable([]byte(cmp.Or(held.Error, "no reason given")))}, held.NextTry, now)
	}
	if b.State == "closed" {
		return []string{brokers + "  reached"}
	}
	first := brokers + "  out of reach"
	if b.State == "half-open" {
		first = brokers + "  being tried"
	}
	if !b.Since.IsZero() {
		first += fmt.Sprintf(" since %s (%s)", stampTime(b.Since, now), age(now.Sub(b.Since)))
	}
	texts := []string{first}
	if cause := cmp.Or(b.Cause, s.Forward.LastError); cause != "" {
		texts = append(texts, printable([]byte(cause)))
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

// screen shows views, each in place of the one before where it writes to a
// terminal.
type screen struct {
	w    io.Writer
	full bool     // the terminal's second screen is in use
	last []string // the last view on it
}

// Terminal control sequences: the second screen with the cursor hidden, back
// again, and the cursor's first place with the rest of the screen cleared.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	homeScreen  = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

func newScreen(w io.Writer) *screen { return &screen{w: w} }

func (s *screen) show(lines []string) error {
	t := terminalOf(s.w)
	if !t.is {
		_, err := io.WriteString(s.w, strings.Join(lines, "\n")+"\n\n")
		return err
	}
	var b strings.Builder
	if !s.full {
		b.WriteString(enterScreen)
		s.full = true
	}
	s.last = lines
	b.WriteString(homeScreen)
	for i, line := range lines {
		if i == t.height-1 && i < len(lines)-1 {
			b.WriteString("…" + clearLine)
			break
		}
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line + clearLine)
	}
	b.WriteString(clearBelow)
	_, err := io.WriteString(s.w, b.String())
	return err
}

// close returns to the usual screen and leaves the last view there.
func (s *screen) close() {
	if s.full {
		io.WriteString(s.w, leaveScreen+strings.Join(s.last, "\n")+"\n")
	}
}
