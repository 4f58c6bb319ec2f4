package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows on a terminal how far sending has come; elsewhere it only
// says when it has to wait.
type progress struct {
	w     io.Writer
	bars  *mpb.Progress // nil away from a terminal
	bar   *mpb.Bar
	known bool // the length of the input is
	start time.Time

	mu       sync.Mutex
	messages int64  // guarded by mu
	trouble  string // guarded by mu; empty while all is well
}

// newProgress begins to show; length is that of the input in bytes, or 0 where
// it is not known.
func newProgress(w io.Writer, length int64) *progress {
	p := &progress{w: w, known: length > 0, start: time.Now()}
	t := terminalOf(w)
	if !t.is {
		return p
	}
	p.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(min(40, max(10, t.width-60))), mpb.WithRefreshRate(120*time.Millisecond))
	text := decor.Any(func(decor.Statistics) string { return p.line(t.width) })
	if p.known {
		p.bar = p.bars.New(length, mpb.BarStyle().Lbound("").Filler("━").Tip("━").Padding("─").Rbound(""),
			mpb.PrependDecorators(decor.Percentage(decor.WC{W: 5}), decor.Name(" ")), mpb.AppendDecorators(text))
	} else {
		p.bar = p.bars.New(0, mpb.SpinnerStyle(), mpb.BarWidth(1), mpb.AppendDecorators(text))
	}
	return p
}

// line is what stands beside the bar.
func (p *progress) line(width int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := " " + count(p.messages) + " accepted"
	if p.trouble != "" {
		text += "; " + p.trouble
	} else if seconds := time.Since(p.start).Seconds(); seconds > 0.2 {
		text += ", " + rate(float64(p.messages)/seconds)
	}
	if p.known {
		width -= 48
	}
	return shorten(text, max(20, width-4))
}

// add counts an accepted batch.
func (p *progress) add(messages, bytes int) {
	p.mu.Lock()
	p.messages += int64(messages)
	p.trouble = ""
	p.mu.Unlock()
	if p.bars == nil {
		return
	}
	if p.known {
		p.bar.IncrBy(bytes)
	} else {
		p.bar.Increment()
	}
}

// waiting says why the next attempt waits.
func (p *progress) waiting(why error, pause time.Duration) {
	text := fmt.Sprintf("%v; again in %s", why, age(pause))
	if p.bars == nil {
		fmt.Fprintln(p.w, "postroad:", text)
		return
	}
	p.mu.Lock()
	p.trouble = text
	p.mu.Unlock()
}

// close stops showing. A bar that is not full is left as it is, unless all was
// sent: blank lines count for the length, too.
func (p *progress) close(all bool) {
	if p.bars == nil {
		return
	}
	if all {
		p.bar.SetTotal(-1, true)
	} else {
		p.bar.Abort(false)
	}
	p.bars.Wait()
}
