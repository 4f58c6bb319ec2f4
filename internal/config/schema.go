package config

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// Schema returns a JSON Schema, draft 7, of what a file with the settings of root
// may say: each setting with its comment, and no key that is not one. It knows
// the kinds of values, not the rules of Validate. With a path, such as "hub", it
// is the schema of that section alone.
func Schema(root Root, path string) (map[string]any, error) {
	comments := map[string]string{}
	if err := json.Unmarshal(commentsJSON, &comments); err != nil {
		return nil, fmt.Errorf("read the comments of settings: %w", err)
	}
	t, err := newTree(root.Settings)
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", root.Command, err)
	}
	n := t.root
	if path != "" {
		if n = t.root.child(path); n == nil {
			return nil, fmt.Errorf("schema of %s: no section %q", root.Command, path)
		}
	}
	return n.schema(comments)
}

// schema is that of one node. The recursion ends with the depth of the settings.
func (n *node) schema(comments map[string]string) (map[string]any, error) {
	about := ""
	if n.owner != nil {
		about = addressed(comments[commentKey(n.owner, n.name)], n)
	}
	described := func(s map[string]any) map[string]any {
		if about != "" {
			s["description"] = about
		}
		return s
	}
	if n.leaf != nil {
		return described(leafSchema(n.leaf.value.Type())), nil
	}
	if n.many != nil {
		item, err := n.prototype()
		if err != nil {
			return nil, err
		}
		of, err := item.schema(comments)
		if err != nil {
			return nil, err
		}
		delete(of, "description") // that of the list, which has it itself
		if n.many.keyed {
			return described(map[string]any{"type": "object", "additionalProperties": of}), nil
		}
		return described(map[string]any{"type": "array", "items": of}), nil
	}
	properties := map[string]any{}
	for _, c := range n.children {
		s, err := c.schema(comments)
		if err != nil {
			return nil, err
		}
		properties[lastKey(c.path)] = s
	}
	return described(map[string]any{"type": "object", "additionalProperties": false, "properties": properties}), nil
}

// leafSchema is what a setting of type t is written as.
func leafSchema(t reflect.Type) map[string]any {
	switch {
	case t == durationType:
		return map[string]any{"type": "string", "pattern": `^(0|-?([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)$`}
	case reflect.PointerTo(t).Implements(textUnmarshalerType):
		return map[string]any{"type": []string{"string", "number", "boolean"}}
	}
	switch t.Kind() {
	case reflect.Slice:
		return map[string]any{"type": "array", "items": leafSchema(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.String:
		return map[string]any{"type": "string"}
	default:
		return map[string]any{"type": "integer"}
	}
}
