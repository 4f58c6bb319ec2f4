package main

import (
	"cmp"
	"strings"
	"time"
)

// streamStatus is the state of one stream node.
type streamStatus struct {
	Name        string    `json:"name"`
	Version     string    `json:"version"`
	Started     time.Time `json:"started"`
	URL         string    `json:"url"`
	Topics      []string  `json:"topics"`
	Ready       bool      `json:"ready"`
	Refusing    string    `json:"refusing,omitempty"`
	Connections int       `json:"connections"`
}

// drawStream draws a stream node as lines no wider than the terminal.
func drawStream(s streamStatus, now time.Time, t terminal) []string {
	width := cmp.Or(t.width, usualWidth)
	v := verdict{"OK", green, "takes clients"}
	if !s.Ready {
		v = verdict{"DOWN", red, "takes no clients: " + printable([]byte(cmp.Or(s.Refusing, "no reason given")))}
	}
	name := "stream node " + printable([]byte(s.Name))
	lines := []string{t.paint(bold, name) + "  " + t.paint(v.colour, v.word) + "  " + shorten(v.sentence, width-len(name)-len(v.word)-4)}
	for _, row := range [][2]string{
		{"clients", noun(int64(s.Connections), "connection") + " at " + printable([]byte(s.URL))},
		{"topics", printable([]byte(strings.Join(s.Topics, ", ")))},
		{"version", printable([]byte(s.Version)) + ", up " + age(now.Sub(s.Started))},
	} {
		lines = append(lines, "  "+t.paint(dim, pad(row[0], 10))+" "+shorten(row[1], width-13))
	}
	return lines
}
