package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
)

// Origin says where the value of a setting came from; ok is false for a path
// that no setting has.
func (l *Loaded) Origin(path string) (o Origin, ok bool) {
	f, ok := l.tree.byPath[path]
	if !ok {
		return Origin{}, false
	}
	return f.origin, true
}

// secretShown stands for the value of a secret that is set.
const secretShown = "***"

// Print writes the effective settings as YAML that Load reads back, each line
// with a comment that says where the value came from. Secrets are not shown,
// only that they are set.
func (l *Loaded) Print(w io.Writer) error {
	var lines [][2]string
	for _, c := range l.tree.root.children {
		lines = append(lines, printed(c, 0)...)
	}
	width := 0
	for _, line := range lines {
		if n := len([]rune(line[0])); line[1] != "" && n <= 60 {
			width = max(width, n)
		}
	}
	var b strings.Builder
	for _, line := range lines {
		if line[1] == "" {
			b.WriteString(line[0] + "\n")
			continue
		}
		fmt.Fprintf(&b, "%-*s  # %s\n", width, line[0], line[1])
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return nil
}

// printed returns the lines of a node, each the YAML and its comment.
func printed(n *node, depth int) [][2]string {
	indent := strings.Repeat("  ", depth)
	key := lastKey(n.path)
	if n.many != nil {
		return printedItems(n, depth)
	}
	if n.leaf == nil {
		lines := [][2]string{{indent + key + ":", ""}}
		for _, c := range n.children {
			lines = append(lines, printed(c, depth+1)...)
		}
		return lines
	}
	value := yamlText(n.leaf.value)
	if n.leaf.secret && value != "[]" && !n.leaf.value.IsZero() {
		value = yamlScalar(secretShown)
		if n.leaf.value.Kind() == reflect.Slice {
			value = "[" + value + "]"
		}
	}
	return [][2]string{{indent + key + ": " + value, n.leaf.origin.String()}}
}

// printedItems returns the lines of a list or table of sections.
func printedItems(n *node, depth int) [][2]string {
	indent, key := strings.Repeat("  ", depth), lastKey(n.path)
	if len(n.children) == 0 {
		none := "[]"
		if n.many.keyed {
			none = "{}"
		}
		return [][2]string{{indent + key + ": " + none, n.origin.String()}}
	}
	lines := [][2]string{{indent + key + ":", ""}}
	for i, item := range n.children {
		if n.many.keyed {
			lines = append(lines, [2]string{indent + "  " + yamlScalar(n.many.keys[i]) + ":", ""})
		}
		first := len(lines)
		for _, c := range item.children {
			lines = append(lines, printed(c, depth+2)...)
		}
		if !n.many.keyed && len(lines) > first { // the first setting of an item has the dash
			lines[first][0] = indent + "  - " + strings.TrimLeft(lines[first][0], " ")
		}
	}
	return lines
}

// yamlText writes a setting's value in one line.
func yamlText(v reflect.Value) string {
	if v.Kind() != reflect.Slice || v.Addr().Type().Implements(textUnmarshalerType) {
		return yamlValue(v)
	}
	items := make([]string, v.Len())
	for i := range items {
		items[i] = yamlValue(v.Index(i))
	}
	return "[" + strings.Join(items, ", ") + "]"
}

func yamlValue(v reflect.Value) string {
	s := text(v)
	switch v.Kind() {
	case reflect.String, reflect.Struct, reflect.Slice:
		return yamlScalar(s)
	}
	return s
}

// yamlScalar writes a string in one line, quoted unless it is plain beyond
// doubt: then a list, a number or a comment cannot be seen in it.
func yamlScalar(s string) string {
	if plain(s) {
		return s
	}
	b, err := yaml.MarshalWithOptions(s, yaml.JSON())
	if err != nil || strings.ContainsRune(strings.TrimSpace(string(b)), '\n') {
		return fmt.Sprintf("%q", s)
	}
	return strings.TrimSpace(string(b))
}

// plain reports whether s is a word of letters that YAML reads as nothing but
// a string.
func plain(s string) bool {
	switch strings.ToLower(s) {
	case "", "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf":
		return false
	}
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '/'
		inner := i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.')
		if !letter && !inner {
			return false
		}
	}
	return true
}
