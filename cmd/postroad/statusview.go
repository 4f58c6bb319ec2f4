package main

import (
	"cmp"
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
	held := len(s.heldTopics())
	switch {
	case !s.Accepting && s.Part == partForward:
		return verdict{"DOWN", red, "forwards nothing: " + printable([]byte(cmp.Or(s.Refusing, "no reason given")))}
	case !s.Accepting:
		return verdict{"DOWN", red, "accepts nothing: " + printable([]byte(cmp.Or(s.Refusing, "no reason given")))}
	case s.Queue.DamagedMessages > 0:
		return verdict{"DAMAGE", red, messages(s.Queue.DamagedMessages) + " damaged on disk and set aside"}
	case away && s.Forward.Breaker.Own:
		return verdict{"PAUSED", yellow, "this process may not send now, its lanes may be another's"}
	case away && s.Queue.UnforwardedMessages > 0:
		return verdict{"HUB AWAY", yellow, "messages are kept here until the hub is back"}
	case away:
		return verdict{"HUB AWAY", yellow, "nothing waits yet; what is accepted now is kept"}
	case s.held() != nil && held == 0:
		return verdict{"HELD", red, "the hub refuses messages until somebody changes something; they are kept here"}
	case held > 0:
		return verdict{"HELD", yellow, noun(int64(held), "topic") + " held until somebody changes something"}
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

// drawStatus draws a report as lines no wider than the terminal.
func drawStatus(report statusReport, now time.Time, t terminal) []string {
	if len(report.Stamps)+len(report.Streams) == 0 {
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
	for _, s := range report.Streams {
		if len(lines) > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, drawStream(s, now, t)...)
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
	rows := func(label, colour string, texts []string) {
		for _, text := range texts {
			row(label, colour, text)
			label = ""
		}
	}
	rows("waiting", waitingColour(s), waitingTexts(s))
	if s.Part != partGateway {
		rows("hub", "", hubTexts(s, now, width-13))
		rows("held", yellow, heldTexts(s.Forward, now, width-13))
		rows("throttled", yellow, throttledTexts(s.Hub, now))
		row("forwarded", "", forwardedText(s.Forward))
	}
	rows("rate", "", rateTexts(s))
	row("disk", "", diskText(s.Queue))
	if text := roomText(s.Queue); text != "" {
		row("room", "", text)
	}
	row("version", "", versionText(s, now))
	return lines
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
