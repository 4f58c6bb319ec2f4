package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"

	"postroad/internal/telemetry"
)

// Numbers, sizes and times as a person reads them, and text made safe for a
// terminal.

// count writes n with a comma at every third digit.
func count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}

// messages writes "1 message", "2 messages".
func messages(n int64) string { return noun(n, "message") }

func noun(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + one + "s"
}

// size writes a number of bytes in decimal units with three digits.
func size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB", "PB", "EB"} {
		if f /= 1000; f < 999.5 {
			break
		}
	}
	switch {
	case f < 9.995:
		return fmt.Sprintf("%.2f %s", f, unit)
	case f < 99.95:
		return fmt.Sprintf("%.1f %s", f, unit)
	}
	return fmt.Sprintf("%.0f %s", f, unit)
}

// age writes a duration in its two largest units.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// rate writes a number per second.
func rate(perSecond float64) string {
	if perSecond >= 0.05 && perSecond < 10 {
		return fmt.Sprintf("%.1f/s", perSecond)
	}
	return count(int64(perSecond+0.5)) + "/s"
}

// printable makes text that others wrote safe for a terminal and readable in
// one line: control characters, invisible ones and bytes that are not UTF-8
// are written as escapes, so that no message can move the cursor, recolour
// the screen or pass for another.
func printable(s []byte) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == ' ' || unicode.IsGraphic(r) && !unicode.Is(unicode.Zs, r):
			b.WriteRune(r)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		s = s[n:]
	}
	return b.String()
}

// shorten cuts a printable text to a width in columns, with an ellipsis.
func shorten(s string, columns int) string {
	if columns < 1 {
		return ""
	}
	return runewidth.Truncate(s, columns, "…")
}

// pad fills a printable text up with spaces to a width in columns.
func pad(s string, columns int) string { return runewidth.FillRight(s, columns) }

// terminal is what a command knows of the terminal it writes to.
type terminal struct {
	// is says whether there is one; the rest is zero otherwise.
	is            bool
	width, height int
	colour        bool
}

// usualWidth is assumed where the width is not told.
const usualWidth = 100

// terminalOf looks at w. NO_COLOR and TERM=dumb turn colour off.
func terminalOf(w io.Writer) terminal {
	f, ok := w.(*os.File)
	if !ok || !telemetry.IsTerminal(w) {
		return terminal{}
	}
	t := terminal{is: true, width: usualWidth, height: 24}
	if width, height, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
		t.width, t.height = width, height
	}
	t.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return t
}

// The colours used, as SGR parameters.
const (
	bold   = "1"
	dim    = "2"
	red    = "1;31"
	green  = "32"
	yellow = "1;33"
)

// paint colours s where the terminal takes colour.
func (t terminal) paint(colour, s string) string {
	if !t.colour || s == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}
