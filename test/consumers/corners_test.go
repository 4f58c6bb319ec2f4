package consumers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/hub"
)

// cornerWindow is small, so that a few records reach beyond it.
const cornerWindow = 5

// corner is a partition with something unusual about it.
type corner struct {
	records []*record
	// start is where the log begins, committed where the group is; -1 for
	// nowhere.
	start, committed int64
	// show is where showing begins, and says is what the recipe says of it.
	show int64
	says string
}

// sequence makes records whose ids are numbers; 0 is a record without one.
func sequence(partition int32, ids ...int) []*record {
	var rs []*record
	for i, n := range ids {
		r := &record{partition: partition, offset: int64(i), key: []byte("k"), value: []byte(strconv.Itoa(i))}
		if n > 0 {
			r.id = id(int(partition), n)
		}
		rs = append(rs, r)
	}
	return append(rs, &record{partition: partition, value: []byte("last of " + strconv.Itoa(int(partition)))})
}

func allCorners() []corner {
	return []corner{
		{records: strangeRecords(0), committed: -1},
		{records: sequence(1, 1, 2, 3, 4, 5 /* W after: */, 1 /* W+1 after: */, 8, 2, 0, 0, 1, 1), committed: -1},
		{records: sequence(2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 /* shown from here */, 6, 5, 4, 10, 11), committed: 10, show: 10},
		{records: sequence(3, 1, 2, 3, 4, 5, 6, 7, 8, 3, 6, 7), start: 6, committed: 2, show: 6, says: "removed before they were read"},
		{records: sequence(4, 1, 2, 3, 4), committed: 4, show: 4},
		{records: sequence(5, 1, 2, 3, 4, 5, 6, 7, 8, 9 /* shown from here */, 6, 7, 8, 9, 5), start: 6, committed: 9, show: 9},
	}
}

// strangeRecords are records as anyone may write them.
func strangeRecords(p int32) []*record {
	rs := []*record{
		{id: id(0, 1), value: []byte("first")},
		{id: id(0, 1), raw: strings.ToUpper(id(0, 1)), value: []byte("upper case")},
		{value: nil, key: nil},
		{value: []byte{}, key: []byte{}},
		{raw: "not an id", value: []byte("a")},
		{raw: "not an id", value: []byte("b")},
		{raw: "{" + id(0, 2) + "}", value: []byte("braces")},
		{raw: "00000000-0000-0000-0000-000000000000", value: []byte("zero")},
		{raw: "00000000-0000-0000-0000-000000000000", value: []byte("zero again")},
		{id: id(0, 0xabcdef), key: []byte("ключ"), value: []byte("\"quoted\" \\ \t\n\x01 ünïcode 🚲")},
		{id: id(0, 3), headers: []kgo.RecordHeader{{Key: "postroad-id", Value: []byte(id(0, 0xabcdef))}}, value: []byte("the last header counts")},
		{id: id(0, 0xabcdef), headers: []kgo.RecordHeader{{Key: "postroad-id", Value: []byte(id(0, 99))}}, value: []byte("so this one is a duplicate")},
		{id: id(0, 4), aborted: true, value: []byte("aborted")},
		{id: id(0, 4), value: []byte("not aborted")},
		{id: id(0, 4), replay: true, value: []byte("replay of what is there")},
		{id: id(0, 5), replay: true, value: []byte("replay of what was lost")},
		{id: id(0, 5), replay: true, value: []byte("and once more")},
		{id: id(0, 5), value: []byte("a replay makes no other a duplicate")},
		{id: id(0, 6), headers: []kgo.RecordHeader{{Key: "postroad-time", Value: nil}, {Key: "bytes", Value: []byte{0xff}}}, value: []byte("odd headers")},
		{value: []byte("last of 0")},
	}
	for _, r := range rs {
		r.partition = p
	}
	return rs
}

// corners are what a topic may hold and where a group may be, against the
// embedded hub. It returns what is wrong.
func corners(t *testing.T, r recipe) (problems []string) {
	t.Helper()
	all := allCorners()
	addr := startHub(t, len(all))
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	var cut, at kadm.Offsets
	for p, c := range all {
		produce(t, []string{addr}, "corners", c.records)
		if c.start > 0 {
			cut.Add(kadm.Offset{Topic: "corners", Partition: int32(p), At: c.start})
		}
		if c.committed >= 0 {
			at.Add(kadm.Offset{Topic: "corners", Partition: int32(p), At: c.committed, LeaderEpoch: -1})
		}
	}
	if _, err := admin.DeleteRecords(t.Context(), cut); err != nil {
		t.Fatal(err)
	}
	if err := admin.CommitAllOffsets(t.Context(), "shown", at); err != nil {
		t.Fatal(err)
	}

	p := r.start(t, writeProperties(t, []string{addr}, "shown", 1), "corners", strconv.Itoa(cornerWindow), "print")
	p.until(lastOf(len(all)))
	got := p.end(syscall.SIGTERM)
	for _, c := range all {
		problems = append(problems, judge(got, expected(c.records, cornerWindow, c.start, c.show, false))...)
		if !strings.Contains(p.errs.String(), c.says) {
			problems = append(problems, fmt.Sprintf("nothing says %q: %s", c.says, p.errs.String()))
		}
	}
	committed, err := admin.FetchOffsets(t.Context(), "shown")
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range all {
		end := c.records[len(c.records)-1].offset + 1
		if o, _ := committed.Lookup("corners", int32(i)); o.At != end {
			problems = append(problems, fmt.Sprintf("partition %d: %d is committed, the end is %d", i, o.At, end))
		}
	}

	if len(problems) > 0 {
		return problems // enough to know
	}
	p = r.start(t, writeProperties(t, []string{addr}, "replays", 1), "corners", strconv.Itoa(cornerWindow), "print", "replays")
	p.until(lastOf(len(all)))
	got = p.end(syscall.SIGTERM)
	for _, c := range all {
		for _, problem := range judge(got, expected(c.records, cornerWindow, c.start, c.start, true)) {
			problems = append(problems, "with replays: "+problem)
		}
	}
	if len(problems) > 0 {
		return problems
	}
	at = nil
	at.Add(kadm.Offset{Topic: "corners", Partition: 0, At: 9000, LeaderEpoch: -1})
	if err := admin.CommitAllOffsets(t.Context(), "beyond", at); err != nil {
		t.Fatal(err)
	}
	p = r.start(t, writeProperties(t, []string{addr}, "beyond", 1), "corners", strconv.Itoa(cornerWindow), "print")
	p.drain()
	if len(p.lines) > 0 || p.cmd.ProcessState.Success() || !strings.Contains(p.errs.String(), "before position 9000") {
		problems = append(problems, fmt.Sprintf("beyond the end it showed %d messages: %v: %s", len(p.lines), p.cmd.ProcessState, p.errs.String()))
	}
	return problems
}

// What the corners are there for is noticed.
func TestCornersCatchSabotage(t *testing.T) {
	t.Parallel()
	for _, twin := range []struct {
		name string
		change
	}{
		{"looks back one less", change{"once.py", "< offset - self.size:", "<= offset - self.size:"}},
		{"looks back one more", change{"once.py", "< offset - self.size:", "< offset - self.size - 1:"}},
		{"forgets duplicates", change{"once.py", "        self.last[id] = offset\n", "        if not duplicate:\n            self.last[id] = offset\n"}},
		{"notes replays", change{"once.py", "reading.window.holds(id, m.offset())", "reading.window.seen(id, m.offset())"}},
		{"takes any id", change{"once.py", "return (id if id and id.int else None),", "return id,"}},
		{"reads uncommitted", change{"once.py", "read_committed", "read_uncommitted"}},
		{"keeps quiet about a gap", change{"once.py", "if show < start:", "if show < 0:"}},
		{"begins anew by itself", change{"once.py", "elif show > end:", "elif False:"}},
	} {
		t.Run(twin.name, func(t *testing.T) {
			t.Parallel()
			problems := corners(t, preparePython(t, twin.change))
			if len(problems) == 0 {
				t.Error("nobody noticed")
			}
			t.Log(problems)
		})
	}
}

// startHub runs an embedded hub with a topic.
func startHub(t *testing.T, partitions int) (addr string) {
	t.Helper()
	o := hub.DefaultOptions()
	o.Listen, o.Topics, o.Partitions = "127.0.0.1:0", []string{"corners"}, partitions
	h, err := hub.New(o, hub.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, h.Close()); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return h.Addr()
}
