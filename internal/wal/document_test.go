package wal

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// document reads the specification of the format.
func document(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "design", "queue-format.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var byteRow = regexp.MustCompile(`(?m)^\| (\d+) \| (\d+) \| (.+) \|$`)

// layout reads the byte table whose third column has the title: its rows follow
// each other without a gap. It returns the fields by their place and the size.
func layout(t *testing.T, text, title string) (fields map[int]string, size int) {
	t.Helper()
	_, table, ok := strings.Cut(text, "| at | bytes | "+title+" |\n|---|---|---|\n")
	if !ok {
		t.Fatalf("no table %q", title)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	fields = map[int]string{}
	for _, row := range byteRow.FindAllStringSubmatch(table, -1) {
		at, _ := strconv.Atoi(row[1])
		n, _ := strconv.Atoi(row[2])
		if at != size {
			t.Errorf("%s: a field at %d, the one before ends at %d", title, at, size)
		}
		fields[at] = row[3]
		size += n
	}
	return fields, size
}

func TestDocumentAgrees(t *testing.T) {
	text := document(t)
	for title, want := range map[string]struct {
		size   int
		fields map[int]string
	}{
		"segment header copy": {headerBytes, map[int]string{0: string(segmentMagic[:]), 8: "CRC", 12: "version", 16: "lane", 32: "number", 40: "first seq", 48: "time", 56: "salt"}},
		"group header":        {GroupHeaderSize, map[int]string{0: string(groupMagic[:]), 4: "CRC", 8: "first seq", 16: "durable", 24: "count", 28: "length", 32: "CRC", 36: "zero", 40: "time"}},
	} {
		fields, size := layout(t, text, title)
		if size != want.size {
			t.Errorf("%s: %d bytes, the code has %d", title, size, want.size)
		}
		for at, word := range want.fields {
			if !strings.Contains(fields[at], word) {
				t.Errorf("%s: at %d stands %q, the code has %q", title, at, fields[at], word)
			}
		}
	}
	for name, want := range map[string]int{
		"segment header": HeaderSize, "segment header copy": headerBytes, "place of the second copy": headerCopy,
		"segment version": version, "group header": GroupHeaderSize, "alignment of groups": groupAlign,
		"most bytes of frames in a group": MaxGroupFrames,
	} {
		if !strings.Contains(text, "\n| "+name+" | "+strconv.Itoa(want)+" |\n") {
			t.Errorf("the constant %q is %d", name, want)
		}
	}
}
