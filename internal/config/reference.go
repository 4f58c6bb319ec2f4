package config

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
)

//go:generate go run ./refgen

// commentsJSON holds the comments of the fields of every Options, as refgen
// read them from the source: import path, type and field, joined by dots.
//
//go:embed comments.json
var commentsJSON []byte

// Root is the settings struct of one command, with its defaults.
type Root struct {
	// Command is what takes these settings, such as "postroad stamp".
	Command string
	// About, where set, stands below the heading.
	About string
	// Settings points to the struct.
	Settings any
}

// Roots are the settings structs of all commands that take a file.
func Roots() []Root {
	stamp, stream, door := DefaultStamp(), DefaultStream(), DefaultDoor()
	return []Root{{
		Command: "postroad stamp, postroad gateway, postroad forward", Settings: &stamp,
		About: "A stamp in one process, or its halves on a shared queue directory. One file serves all three commands: each half takes every section and passes over what it does not run. What differs between processes, such as addresses, can be given by `--set` or the environment.",
	}, {
		Command: "postroad stream", Settings: &stream,
		About: "A stream node. [stream.md](../stream.md) says what it is for and how to choose sizes. `postroad config check` takes a file with a section `stream` for one of these.",
	}, {
		Command: "postroad door", Settings: &door,
		About: "A front door. `postroad config check` takes a file with a section `door` for one of these. The file is read again on SIGHUP and when it changes. Lists and tables of sections, such as `door.origins`, are said in the file only; `--set` changes a setting of one that is there, as in `--set 'door.origins[0].priority=2'`.",
	}}
}

const referenceHead = `# Settings

<!-- Written by "go generate ./internal/config" from the comments in the source. -->

A setting is taken from the first of these that has it:

1. the command line: ` + "`--set path=value`" + `, once for each setting, and the flags that a command has for the common ones;
2. the environment: ` + "`POSTROAD_`" + ` and the path in upper case, dots as underscores;
3. the YAML file given by ` + "`--config`" + `;
4. the default.

Durations are written like ` + "`250ms`, `10s` or `24h`" + `, sizes in bytes as plain numbers, lists as YAML lists in the file and with commas elsewhere. An unknown key, variable or path is an error. ` + "`postroad config check`" + ` reports all problems at once, ` + "`postroad config print`" + ` shows each value and where it came from. Secrets are taken from the file or the environment only and are never printed.
`

// Reference writes the settings of all roots as Markdown.
func Reference(w io.Writer, roots ...Root) error {
	return ReferenceFrom(w, commentsJSON, roots...)
}

// ReferenceFrom is Reference with other comments than those embedded, for the
// generator that renews them.
func ReferenceFrom(w io.Writer, commentsJSON []byte, roots ...Root) error {
	comments := map[string]string{}
	if err := json.Unmarshal(commentsJSON, &comments); err != nil {
		return fmt.Errorf("read the comments of settings: %w", err)
	}
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, r := range roots {
		t, err := newTree(r.Settings)
		if err != nil {
			return fmt.Errorf("reference of %s: %w", r.Command, err)
		}
		fmt.Fprintf(&b, "\n## %s\n", r.Command)
		if r.About != "" {
			fmt.Fprintf(&b, "\n%s\n", r.About)
		}
		for _, c := range t.root.children {
			if err := reference(&b, c, comments); err != nil {
				return fmt.Errorf("reference of %s: %w", r.Command, err)
			}
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write reference: %w", err)
	}
	return nil
}

// reference writes one node: a section with a heading of its own and its
// settings as a list, subsections after.
func reference(b *strings.Builder, n *node, comments map[string]string) error {
	comment := comments[commentKey(n.owner, n.name)]
	if comment == "" {
		return fmt.Errorf("setting %s has no comment at %s", n.path, commentKey(n.owner, n.name))
	}
	comment = addressed(comment, n)
	if n.leaf != nil {
		env := "in the file only"
		if n.leaf.env != "" {
			env = "`" + n.leaf.env + "`"
		}
		fmt.Fprintf(b, "\n- **`%s`** · %s · %s · %s\n\n  %s\n", n.path, kind(n.leaf), defaultText(n.leaf), env, comment)
		return nil
	}
	if n.many != nil {
		item, err := n.prototype()
		if err != nil {
			return err
		}
		n = item
	}
	fmt.Fprintf(b, "\n### %s\n\n%s\n", n.path, comment)
	for _, leaves := range []bool{true, false} {
		for _, c := range n.children {
			if (c.leaf != nil) != leaves {
				continue
			}
			if err := reference(b, c, comments); err != nil {
				return err
			}
		}
	}
	return nil
}

func commentKey(owner reflect.Type, name string) string {
	return owner.PkgPath() + "." + owner.Name() + "." + name
}

// addressed turns a Go comment to an operator: the field is called as the
// file calls it, and a default at its end is left to the line above.
func addressed(comment string, n *node) string {
	if rest, ok := strings.CutPrefix(comment, n.name+" "); ok {
		comment = "`" + lastKey(n.path) + "` " + rest
	}
	if n.leaf == nil {
		return comment
	}
	if text, stated, ok := cutDefault(comment); ok && stated != "" {
		return text
	}
	return comment
}

// cutDefault splits "…. Default 30s." or "…. Default 8388608 (8 MiB)." into
// the text before and the value stated. What says more than a value is left.
func cutDefault(comment string) (before, stated string, ok bool) {
	i := strings.LastIndex(comment, " Default ")
	if i < 0 {
		return comment, "", false
	}
	stated, ok = strings.CutSuffix(comment[i+len(" Default "):], ".")
	if value, note, noted := strings.Cut(stated, " ("); noted && strings.HasSuffix(note, ")") {
		stated = value
	}
	if !ok || strings.Contains(stated, " ") {
		return comment, "", false
	}
	return comment[:i], strings.Trim(stated, `"`+"`"), true
}

func kind(f *field) string {
	if f.secret {
		return kindName(f.value.Type()) + ", secret"
	}
	return kindName(f.value.Type())
}

func defaultText(f *field) string {
	if f.value.Kind() == reflect.Slice && f.value.Len() == 0 || f.value.Kind() == reflect.String && f.value.Len() == 0 {
		return "empty by default"
	}
	s := "default `" + yamlText(f.value) + "`"
	if strings.HasSuffix(f.path, "_bytes") && f.value.CanInt() {
		s += binarySize(f.value.Int())
	}
	return s
}

// binarySize names a size of whole KiB, MiB or GiB as a person would.
func binarySize(n int64) string {
	for _, unit := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= unit.size && n%unit.size == 0 {
			return " (" + strconv.FormatInt(n/unit.size, 10) + " " + unit.name + ")"
		}
	}
	return ""
}
