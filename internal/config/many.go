package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// many says that a node is a list of sections, or a table of them by name. Its
// items are its children. They are said in the file alone: no variable makes one,
// though --set changes a setting of one that is there, as in
// door.origins[0].priority=2.
type many struct {
	// elem is the struct that an item is filled from.
	elem reflect.Type
	// pointed says that the list or table holds pointers to elem.
	pointed bool
	// keyed says that it is a table.
	keyed bool
	// keys are the names of the children of a table, in their order.
	keys []string
}

// manyOf returns what a value holds many of, or nil.
func manyOf(v reflect.Value) *many {
	t := v.Type()
	if t.Kind() != reflect.Slice && (t.Kind() != reflect.Map || t.Key().Kind() != reflect.String) {
		return nil
	}
	m := &many{elem: t.Elem(), keyed: t.Kind() == reflect.Map}
	if m.elem.Kind() == reflect.Pointer {
		m.elem, m.pointed = m.elem.Elem(), true
	}
	if !isSection(reflect.New(m.elem).Elem()) || reflect.PointerTo(t).Implements(textUnmarshalerType) {
		return nil
	}
	return m
}

// defaulter is an item that has other defaults than the zero value.
type defaulter interface{ SetDefaults() }

// fresh is a new item with its defaults.
func (m *many) fresh() reflect.Value {
	v := reflect.New(m.elem)
	if d, ok := v.Interface().(defaulter); ok {
		d.SetDefaults()
	}
	return v.Elem()
}

// itemPath is the path of an item: origins[0], or groups.gateways.
func (n *node) itemPath(key string) string {
	if n.many.keyed {
		return join(n.path, key)
	}
	return n.path + "[" + key + "]"
}

// addItem adds an item to n, of which v holds the defaults.
func (t *tree) addItem(n *node, key string, v reflect.Value) (*node, error) {
	c := &node{path: n.itemPath(key), value: v, owner: n.owner, name: n.name, item: true}
	if err := t.addFields(c, v); err != nil {
		return nil, err
	}
	n.children = append(n.children, c)
	n.many.keys = append(n.many.keys, key)
	return c, nil
}

// addItems takes apart what a list or table holds by default.
func (t *tree) addItems(n *node) error {
	add := func(key string, v reflect.Value) error {
		item := n.many.fresh()
		if n.many.pointed {
			v = v.Elem()
		}
		item.Set(v)
		_, err := t.addItem(n, key, item)
		return err
	}
	if !n.many.keyed {
		for i := range n.value.Len() {
			if err := add(fmt.Sprint(i), n.value.Index(i)); err != nil {
				return err
			}
		}
		return nil
	}
	for _, key := range sortedKeys(n.value) {
		if err := add(key.String(), n.value.MapIndex(key)); err != nil {
			return err
		}
	}
	return nil
}

// clear removes all items, for those that a file names replace them.
func (t *tree) clear(n *node) {
	for _, c := range n.children {
		t.forget(c)
	}
	n.children, n.many.keys = nil, nil
}

func (t *tree) forget(n *node) {
	if n.leaf != nil {
		delete(t.byPath, n.leaf.path)
		t.leaves = slices.DeleteFunc(t.leaves, func(f *field) bool { return f == n.leaf })
	}
	for _, c := range n.children {
		t.forget(c)
	}
}

// store writes the items of n and below into the lists and tables of the
// settings: items of a table cannot be changed in their place.
func store(n *node) {
	for _, c := range n.children {
		store(c)
	}
	if n.many == nil {
		return
	}
	held := func(c *node) reflect.Value {
		if n.many.pointed {
			return c.value.Addr()
		}
		return c.value
	}
	t := n.value.Type()
	switch {
	case len(n.children) == 0:
		n.value.SetZero()
	case n.many.keyed:
		m := reflect.MakeMapWithSize(t, len(n.children))
		for i, c := range n.children {
			m.SetMapIndex(reflect.ValueOf(n.many.keys[i]).Convert(t.Key()), held(c))
		}
		n.value.Set(m)
	default:
		list := reflect.MakeSlice(t, len(n.children), len(n.children))
		for i, c := range n.children {
			list.Index(i).Set(held(c))
		}
		n.value.Set(list)
	}
}

// prototype is an item as the reference describes it.
func (n *node) prototype() (*node, error) {
	key := ""
	if n.many.keyed {
		key = "NAME"
	}
	apart := &tree{byPath: map[string]*field{}, byEnv: map[string]*field{}}
	c := &node{path: n.itemPath(key), value: n.many.fresh(), owner: n.owner, name: n.name, item: true}
	return c, apart.addFields(c, c.value)
}

// applyMany sets a list or table from y.
func (l *fileLoader) applyMany(t *tree, n *node, y ast.Node) {
	if y == nil || y.Type() == ast.NullType {
		return // nothing in it, or everything commented out
	}
	n.origin = Origin{l.name, line(y)}
	if !n.many.keyed {
		seq, ok := y.(*ast.SequenceNode)
		if !ok {
			l.problem(line(y), n.path, quote(scalarText(y)), "must be a list of sections")
			return
		}
		t.clear(n)
		for i, item := range seq.Values {
			l.applyItem(t, n, fmt.Sprint(i), item)
		}
		return
	}
	m, ok := y.(ast.MapNode)
	if !ok {
		l.problem(line(y), n.path, quote(scalarText(y)), "must be sections by their names")
		return
	}
	t.clear(n)
	for it := m.MapRange(); it.Next(); {
		key := it.Key().GetToken().Value
		switch {
		case it.Key().IsMergeKey():
			l.problem(line(it.Key()), n.path, "<<", "merge keys are not supported")
		case key == "" || strings.ContainsAny(key, " :[]\n\t"):
			l.problem(line(it.Key()), n.path, quote(key), "must be a name without spaces, colons and brackets")
			l.resolve(it.Value())
		default:
			l.applyItem(t, n, key, it.Value())
		}
	}
}

func (l *fileLoader) applyItem(t *tree, n *node, key string, y ast.Node) {
	y = l.resolve(y)
	empty := n.many.keyed && (y == nil || y.Type() == ast.NullType)
	if _, ok := y.(ast.MapNode); !ok && !empty {
		l.problem(line(y), n.itemPath(key), quote(scalarText(y)), "must be a section with settings in it")
		return
	}
	c, err := t.addItem(n, key, n.many.fresh())
	if err != nil { // a mistake in the settings struct, which the reference finds first
		l.problem(line(y), n.itemPath(key), "", err.Error())
		return
	}
	c.origin = Origin{l.name, line(y)}
	l.apply(t, c, y)
}

// sortedKeys are the keys of a table in their order.
func sortedKeys(v reflect.Value) []reflect.Value {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
	return keys
}
