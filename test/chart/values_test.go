package chart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"postroad/internal/config"
)

// The schema of values is made from values.yaml and from the settings of the
// program.
func TestValuesSchema(t *testing.T) {
	schema, err := valuesSchema(read(t, chartDir+"/values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(schema, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	current(t, chartDir+"/values.schema.json", append(b, '\n'))
}

func TestValuesSchemaNeedsEveryValueDescribed(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\n":                                    "a: is not described",
		"# -- A.\n# @schema {x}\na: 1\n":            "a: @schema",
		"# @config nobody\n# -- A.\na: {}\n":        "a: @config",
		"b:\n  # -- C.\n  c: 1\n  d: 2\n":           "b.d: is not described",
		"# -- A.\na: []\n":                          "a: what is in the list is not said",
		"# @config stamp nowhere\n# -- A.\na: {}\n": "no section",
		"b:\n  # -- C.\n  c:\n    d: 2\n":           "b.c.d: is not described",
	} {
		if _, err := valuesSchema([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// note is what comments say of a value.
type note struct{ about, schema, config string }

var keyLine = regexp.MustCompile(`^( *)([A-Za-z][\w.-]*):`)

// notes reads the comments above keys, by path.
func notes(text []byte) map[string]note {
	all := map[string]note{}
	var now note
	var path []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		trimmed := strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(trimmed, "# -- "); ok {
			now.about = rest
		} else if rest, ok := strings.CutPrefix(trimmed, "# @schema "); ok {
			now.schema = rest
		} else if rest, ok := strings.CutPrefix(trimmed, "# @config "); ok {
			now.config = rest
		} else if m := keyLine.FindStringSubmatch(line); m != nil && len(m[1])/2 <= len(path) {
			path = append(path[:len(m[1])/2:len(m[1])/2], m[2])
			all[strings.Join(path, ".")] = now
			now = note{}
		} else if trimmed == "" {
			now = note{}
		}
	}
	return all
}

// valuesSchema makes the schema of values from their defaults and comments.
func valuesSchema(text []byte) (map[string]any, error) {
	var values yaml.MapSlice
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.UseOrderedMap()).Decode(&values); err != nil {
		return nil, err
	}
	schema, err := tableSchema(values, notes(text), "")
	if err != nil {
		return nil, err
	}
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	schema["$comment"] = "Made by make chart from values.yaml and the settings of the program."
	// What a chart around this one hands to all of its parts.
	schema["properties"].(map[string]any)["global"] = map[string]any{"type": "object"}
	return schema, nil
}

func tableSchema(values yaml.MapSlice, said map[string]note, path string) (map[string]any, error) {
	properties := map[string]any{}
	for _, item := range values {
		key := fmt.Sprint(item.Key)
		at := strings.TrimPrefix(path+"."+key, ".")
		s, err := valueSchema(item.Value, said, at)
		if err != nil {
			return nil, err
		}
		properties[key] = s
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}, nil
}

func valueSchema(value any, said map[string]note, at string) (map[string]any, error) {
	n := said[at]
	if n.config != "" {
		return settingsSchema(n, at)
	}
	more := map[string]any{}
	if n.schema != "" {
		if err := json.Unmarshal([]byte(n.schema), &more); err != nil {
			return nil, fmt.Errorf("%s: @schema: %w", at, err)
		}
	}
	table, isTable := value.(yaml.MapSlice)
	if isTable && more["type"] == nil && more["additionalProperties"] == nil {
		return tableSchema(table, said, at)
	}
	if n.about == "" {
		return nil, fmt.Errorf("%s: is not described", at)
	}
	s := map[string]any{"description": n.about}
	switch value.(type) {
	case yaml.MapSlice:
		s["type"] = "object"
	case []any:
		s["type"] = "array"
		if more["items"] == nil {
			return nil, fmt.Errorf("%s: what is in the list is not said", at)
		}
	case bool:
		s["type"] = "boolean"
	case string:
		s["type"] = "string"
	default:
		s["type"] = "integer"
	}
	maps.Copy(s, more)
	return s, nil
}

// settingsSchema is that of settings of the program: all of a command, or one
// section.
func settingsSchema(n note, at string) (map[string]any, error) {
	command, section, _ := strings.Cut(n.config, " ")
	for _, root := range config.Roots() {
		if !strings.HasPrefix(root.Command+",", "postroad "+command+",") {
			continue
		}
		s, err := config.Schema(root, section)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		if n.about != "" {
			s["description"] = n.about
		}
		return s, nil
	}
	return nil, fmt.Errorf("%s: @config: no command %q", at, command)
}
