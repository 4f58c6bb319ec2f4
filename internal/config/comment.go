package config

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
)

// Structs returns the struct types that hold the settings of the roots and
// their sections, sorted by name: those whose comments the reference needs.
func Structs(roots ...Root) ([]reflect.Type, error) {
	found := map[reflect.Type]bool{}
	for _, r := range roots {
		t, err := newTree(r.Settings)
		if err != nil {
			return nil, err
		}
		if err := collect(t.root, found); err != nil {
			return nil, err
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b reflect.Type) int {
		return cmp.Compare(a.PkgPath()+"."+a.Name(), b.PkgPath()+"."+b.Name())
	}), nil
}

func collect(n *node, found map[reflect.Type]bool) error {
	if n.many != nil {
		item, err := n.prototype()
		if err != nil {
			return err
		}
		n = item
	}
	for _, c := range n.children {
		found[c.owner] = true
		if err := collect(c, found); err != nil {
			return err
		}
	}
	return nil
}
