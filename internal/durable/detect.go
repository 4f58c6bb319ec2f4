package durable

import (
	"fmt"
	"strings"
)

// Verdict says whether a queue may stand on a file system.
type Verdict string

// The verdicts.
const (
	// Supported: what was synced survives, and other hosts see it in time.
	Supported Verdict = "supported"
	// Remarked: supported, but with an option that somebody should look at.
	Remarked Verdict = "supported with remarks"
	// Refused: what was acknowledged could be lost.
	Refused Verdict = "refused"
)

// Support is what is known about the file system of a directory.
type Support struct {
	// Type is the name that the kernel gives it, such as "ext4"; one that only
	// statfs told is its number in hexadecimal where we have no name for it.
	Type string `json:"type"`
	// Mount is where it is mounted; empty where the kernel does not say.
	Mount string `json:"mount,omitempty"`
	// Source is the device, or the export of a share.
	Source string `json:"source,omitempty"`
	// Options are those of the mount and of the file system.
	Options []string `json:"options,omitempty"`
	Verdict Verdict  `json:"verdict"`
	// Reasons say why, where the verdict is not Supported.
	Reasons []string `json:"reasons,omitempty"`
	// Notes are what to know about this type, and conditions that cannot be
	// looked at from this side, such as how a server exports a share.
	Notes []string `json:"notes,omitempty"`
	// FillsZero says that files overwritten in place gain from having been
	// filled with zero bytes before.
	FillsZero bool `json:"-"`
}

// Summary says it in one line: the type, where it is mounted, the verdict.
func (s Support) Summary() string {
	where := ""
	if s.Mount != "" {
		where = " at " + s.Mount
	}
	return fmt.Sprintf("%s%s: %s", s.Type, where, s.Verdict)
}

// Why is all reasons in one line; empty where there is none.
func (s Support) Why() string { return strings.Join(s.Reasons, "; ") }

// mount is an entry of mountinfo. See proc_pid_mountinfo(5).
type mount struct {
	id     int
	point  string
	kind   string // "ext4", "fuse.sshfs", …
	source string
	// options are those of the mount, then those of the file system behind it
	// ("super options"), each whole: "rw", "vers=4.1".
	options []string
}

// option returns the value of an option, and whether it is there. Where an
// option stands twice, the file system's own, which is the later one, counts.
func (m mount) option(name string) (value string, found bool) {
	for _, o := range m.options {
		if key, v, _ := strings.Cut(o, "="); key == name {
			value, found = v, true
		}
	}
	return value, found
}

// has reports whether the option, "name" or "name=value", is there.
func (m mount) has(option string) bool {
	name, want, valued := strings.Cut(option, "=")
	got, found := m.option(name)
	return found && (!valued || got == want)
}

// judge looks a mount up in the table. optionsKnown is false where only statfs
// told what it is: then the options that decide could not be looked at.
func judge(m mount, optionsKnown bool) Support {
	s := Support{Type: m.kind, Mount: m.point, Source: m.source, Options: m.options, Verdict: Supported}
	k := kindOf(m.kind)
	s.FillsZero, s.Notes = k.fillsZero, k.notes
	worse := func(v Verdict, why string) {
		if v == Refused || s.Verdict == Supported {
			s.Verdict = v
		}
		s.Reasons = append(s.Reasons, why)
	}
	if k.verdict != Supported {
		worse(k.verdict, k.why)
	}
	switch {
	case k.verdict == Refused:
		return s // options change nothing about it
	case optionsKnown:
		for _, r := range k.rules {
			if r.hits(m) {
				worse(r.verdict, r.reason(m))
			}
		}
	case k.network:
		worse(Refused, "its mount options cannot be read from /proc/self/mountinfo, and on a share they decide")
	default:
		worse(Remarked, "its mount options cannot be read from /proc/self/mountinfo")
	}
	return s
}

// kindOf finds the type in the table; the last row is for every other one.
func kindOf(name string) kind {
	table := kinds()
	for _, k := range table {
		if k.is(name) {
			return k
		}
	}
	return table[len(table)-1]
}
