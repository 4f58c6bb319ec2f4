package message

import "testing"

func TestGroupDigest(t *testing.T) {
	a, b := Message{ID: ID{1}}, Message{ID: ID{2}}
	if GroupDigest([]Message{a}) != Hash(a.ID) {
		t.Error("the digest of one message is not its id")
	}
	seen := map[Hash]string{}
	for name, group := range map[string][]Message{
		"none": {}, "a": {a}, "b": {b}, "a b": {a, b}, "b a": {b, a}, "a a": {a, a}, "a b b": {a, b, b},
	} {
		d := GroupDigest(group)
		if other, ok := seen[d]; ok {
			t.Errorf("%q and %q have one digest", name, other)
		}
		seen[d] = name
	}
	with := a
	with.Value, with.TraceParent, with.Repeat = []byte("x"), "t", true
	if GroupDigest([]Message{with, b}) != GroupDigest([]Message{a, b}) {
		t.Error("more than the ids counts")
	}
}
