package durable

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// errMountinfo says that a line is not one of mountinfo.
var errMountinfo = errors.New("not a line of mountinfo")

// parseMount reads one line of /proc/self/mountinfo, without its newline:
//
//	36 35 98:0 /sub /mnt rw,noatime master:1 shared:2 - ext4 /dev/root rw,errors=continue
//
// that is id, parent, device, root, mount point, options, any number of
// optional fields, a dash, type, source, options of the file system. Space,
// tab, newline and backslash within a field are written in octal.
func parseMount(line string) (mount, error) {
	bad := func(what string) (mount, error) {
		return mount{}, fmt.Errorf("%w: %s: %.80q", errMountinfo, what, line)
	}
	fields := strings.Split(line, " ")
	const fixed = 6
	if len(fields) < fixed {
		return bad("too few fields")
	}
	id, err := strconv.Atoi(fields[0])
	if err != nil || id < 0 {
		return bad("no id")
	}
	rest := fields[fixed:]
	for len(rest) > 0 && rest[0] != "-" {
		rest = rest[1:]
	}
	// The source is empty for some types, which leaves two spaces in a row.
	if len(rest) < 4 || rest[1] == "" {
		return bad("no type, source and options behind a dash")
	}
	m := mount{id: id, point: unescape(fields[4]), kind: unescape(rest[1]), source: unescape(rest[2])}
	// A source with a space in it that was not escaped would move the options:
	// they are the last field.
	for _, list := range []string{fields[5], rest[len(rest)-1]} {
		for o := range strings.SplitSeq(list, ",") {
			if o != "" {
				m.options = append(m.options, unescape(o))
			}
		}
	}
	return m, nil
}

// findMount returns the entry with the id. A line that cannot be read is passed
// over, unless nothing else is found.
func findMount(mountinfo []byte, id int) (m mount, found bool, err error) {
	for line := range bytes.Lines(mountinfo) {
		m, parseErr := parseMount(string(bytes.TrimSuffix(line, []byte("\n"))))
		switch {
		case parseErr != nil:
			err = errors.Join(err, parseErr)
		case m.id == id:
			return m, true, nil
		}
	}
	return mount{}, false, err
}

// mountID reads "mnt_id" from /proc/self/fdinfo.
func mountID(fdinfo []byte) (int, error) {
	for line := range bytes.Lines(fdinfo) {
		if value, ok := bytes.CutPrefix(line, []byte("mnt_id:")); ok {
			return strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	return 0, errors.New("no mnt_id in fdinfo")
}

// unescape undoes the kernel's \ooo.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
