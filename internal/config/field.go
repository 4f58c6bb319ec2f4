package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// EnvPrefix begins the name of every environment variable that is a setting.
const EnvPrefix = "POSTROAD_"

// field is one setting: a leaf of the settings struct.
type field struct {
	path   string
	env    string
	value  reflect.Value // settable
	secret bool
	origin Origin
	// owner and name say where the field is declared, for its comment.
	owner reflect.Type
	name  string
	// broken says that a source gave it a value it cannot take, so that
	// what Validate says of it is about another value.
	broken bool
}

// node is a section of the settings, or a leaf of them.
type node struct {
	path     string
	value    reflect.Value
	leaf     *field  // nil for a section
	many     *many   // set for a list or a table of sections
	item     bool    // of a list or table: there is no variable for what is in it
	origin   Origin  // of a list or table and of its items
	children []*node // in the order of the struct
	owner    reflect.Type
	name     string
}

// child finds a child of a section by its key.
func (n *node) child(key string) *node {
	for _, c := range n.children {
		if lastKey(c.path) == key {
			return c
		}
	}
	return nil
}

func lastKey(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// tree is a settings struct taken apart.
type tree struct {
	root   *node
	leaves []*field
	byPath map[string]*field
	byEnv  map[string]*field
}

// newTree takes target apart, a pointer to a struct. The error is about the
// struct, not about a user's input: a kind of field that cannot be set, or two
// settings with one environment variable.
func newTree(target any) (*tree, error) {
	v := reflect.ValueOf(target)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("settings are %T, want a pointer to a struct", target)
	}
	t := &tree{byPath: map[string]*field{}, byEnv: map[string]*field{}}
	t.root = &node{value: v.Elem()}
	if err := t.addFields(t.root, t.root.value); err != nil {
		return nil, err
	}
	return t, nil
}

// addFields adds the fields of v, the struct that n holds, as children of n.
// Embedded structs with the tag ",inline" are part of the section around them.
func (t *tree) addFields(n *node, v reflect.Value) error {
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		key, options, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			if err := t.addFields(n, v.Field(i)); err != nil {
				return err
			}
			continue
		case key == "-" || !sf.IsExported():
			continue
		case key == "":
			return fmt.Errorf("setting %s of %s has no yaml name", sf.Name, v.Type())
		}
		c := &node{path: join(n.path, key), value: v.Field(i), owner: v.Type(), name: sf.Name, item: n.item}
		n.children = append(n.children, c)
		if c.many = manyOf(c.value); c.many != nil {
			if err := t.addItems(c); err != nil {
				return err
			}
			continue
		}
		if isSection(c.value) {
			if err := t.addFields(c, c.value); err != nil {
				return err
			}
			continue
		}
		if err := t.addLeaf(c, sf); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) addLeaf(n *node, sf reflect.StructField) error {
	if !settable(n.value.Type()) {
		return fmt.Errorf("setting %s is a %s, which has no written form", n.path, n.value.Type())
	}
	f := &field{
		path:   n.path,
		env:    EnvPrefix + strings.ToUpper(strings.ReplaceAll(n.path, ".", "_")),
		value:  n.value,
		secret: sf.Tag.Get("secret") == "true",
		owner:  n.owner,
		name:   n.name,
	}
	n.leaf = f
	t.leaves = append(t.leaves, f)
	t.byPath[f.path] = f
	if n.item {
		f.env = ""
		return nil
	}
	if twin, taken := t.byEnv[f.env]; taken {
		return fmt.Errorf("settings %s and %s have the same environment variable %s", twin.path, f.path, f.env)
	}
	t.byEnv[f.env] = f
	return nil
}

// isSection reports whether a value has settings of its own: a struct that
// does not write itself as text.
func isSection(v reflect.Value) bool {
	if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return false
	}
	return v.Kind() == reflect.Struct
}

var (
	durationType        = reflect.TypeFor[time.Duration]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// settable reports whether parse can make a value of type t.
func settable(t reflect.Type) bool {
	if t.Kind() == reflect.Slice {
		return isScalar(t.Elem())
	}
	return isScalar(t)
}

func isScalar(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(textUnmarshalerType) {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Float64,
		reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64, reflect.Int16, reflect.Uint16:
		return true
	}
	return false
}
