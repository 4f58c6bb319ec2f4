package drill

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// crowdOf is a ledger of two keys in two partitions and messages without a key:
// n requests of each, of which the last was never answered and the one before
// refused.
func crowdOf(t *testing.T, n int) (*crowd, map[string][]int32) {
	t.Helper()
	l, origins := NewLedger(), make(map[Print]origin)
	all := make(map[string][]Print)
	for i, key := range []string{"a/b", "c", ""} {
		stream := l.NewStream()
		if key == "" {
			stream = NoStream
		}
		for at := range n {
			var k []byte
			if key != "" {
				k = []byte(key)
			}
			p := PrintOf(kindPlain, k, fmt.Appendf(nil, "%s %d", key, at))
			send := l.Sending(fmt.Sprintf("%s %d", key, at), stream, at, p)
			switch at {
			case n - 1:
			case n - 2:
				l.Answered(send, Refused)
			default:
				l.Answered(send, Acknowledged)
			}
			all[key] = append(all[key], p)
			origins[p] = origin{key: key, hasKey: key != "", partition: int32(i % 2)}
		}
	}
	names := newPrints()
	ids := make(map[string][]int32)
	for key, prints := range all {
		for _, p := range prints {
			ids[key] = append(ids[key], names.id(p))
		}
	}
	return newCrowd(l, names, origins), ids
}

func TestStreamJudge(t *testing.T) {
	const n = 10
	c, ids := crowdOf(t, n)
	ab, cc, none := ids["a/b"], ids["c"], ids[""]
	stranger := c.prints.id(PrintOf(kindPlain, nil, []byte("nobody's")))
	key := subject{topic: "t", key: []byte("a/b"), partition: -1}
	for _, tc := range []struct {
		name    string
		subject subject
		seen    []int32
		want    string // of the verdict, "" for none
	}{
		{"all of a key", key, ab[:n-2], ""},
		{"with one of unknown outcome", key, append(slices.Clone(ab[:n-2]), ab[n-1]), ""},
		{"one missed", key, ab[1 : n-2], "acknowledged and missed"},
		{"nothing", key, nil, "acknowledged and missed"},
		{"one twice", key, append(slices.Clone(ab[:n-2]), ab[0]), "seen twice"},
		{"one refused", key, ab[:n-1], "seen, and not of the subject"},
		{"one of another key", key, append(slices.Clone(ab[:n-2]), cc[0]), "seen, and not of the subject"},
		{"one that nobody sent", key, append(slices.Clone(ab[:n-2]), stranger), "seen, and not of the subject"},
		{"two in another order", key, append([]int32{ab[1], ab[0]}, ab[2:n-2]...), "out of order"},
		{"without a key", subject{topic: "t", partition: -1}, none[:n-2], ""},
		{"without a key in another order", subject{topic: "t", partition: -1}, append([]int32{none[1], none[0]}, none[2:n-2]...), ""},
		{"a partition", subject{topic: "t", all: true, partition: 0}, append(slices.Clone(none[:n-2]), ab[:n-2]...), ""},
		{"half a partition", subject{topic: "t", all: true, partition: 0}, none[:n-2], "acknowledged and missed"},
		{"a topic", subject{topic: "t", all: true, partition: -1}, slices.Concat(none[:n-2], ab[:n-2], cc[:n-2]), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := &view{subject: tc.subject, client: "client", seen: tc.seen}
			verdict, err := c.verdict([]*view{v})
			if tc.want != "" {
				if verdict.OK() || !strings.Contains(verdict.String(), tc.want) {
					t.Fatalf("found %s, want %q", verdict, tc.want)
				}
				kinds := 0
				for _, k := range verdict.kinds() {
					if k.found.Count > 0 {
						kinds++
					}
				}
				if kinds != 1 {
					t.Errorf("%d kinds of findings, want one: %s", kinds, verdict)
				}
				return
			}
			if err != nil || !verdict.OK() {
				t.Fatalf("%v: %s", err, verdict)
			}
			if missing := c.missing(v); missing != 0 {
				t.Errorf("%d are missing", missing)
			}
		})
	}
}

// What clients found wrong, or were told, is a finding.
func TestStreamJudgeHearsClients(t *testing.T) {
	c, ids := crowdOf(t, 10)
	v := &view{subject: subject{topic: "t", key: []byte("c"), partition: -1}, client: "client", seen: ids["c"][:8]}
	v.fault("offset 3 behind 4")
	verdict, err := c.verdict([]*view{v})
	if err != nil || verdict.OK() || verdict.Faults.Count != 1 {
		t.Errorf("%v: %s", err, verdict)
	}
	v.faults = nil
	v.gap("recovered false")
	verdict, err = c.verdict([]*view{v})
	if err != nil || verdict.OK() || verdict.Unrecovered.Count != 1 {
		t.Errorf("%v: %s", err, verdict)
	}
}

// A verdict over next to nothing is an error, and so is a blind judge.
func TestStreamJudgeMustSee(t *testing.T) {
	c, ids := crowdOf(t, 3) // one acknowledged of each key
	v := &view{subject: subject{topic: "t", key: []byte("c"), partition: -1}, client: "client", seen: ids["c"][:1]}
	if verdict, err := c.verdict([]*view{v}); err == nil {
		t.Errorf("no error: %s", verdict)
	}
	c, ids = crowdOf(t, 10)
	v.seen = ids["c"][:8]
	for _, w := range c.byID { // as if the ledger had promised nothing
		w.least, w.most = 0, 9
	}
	if verdict, err := c.verdict([]*view{v}); err == nil && verdict.OK() {
		t.Errorf("a judge without a promise is content: %s", verdict)
	}
}

func TestEscapeKey(t *testing.T) {
	for key, want := range map[string]string{
		"plain": "plain", "a/b%c": "a%2Fb%25c", "ä€ x": "ä€ x", "\xff\x00": "%FF\x00", "": "",
	} {
		if got := escapeKey(key); got != want {
			t.Errorf("%q: %q, want %q", key, got, want)
		}
	}
}
