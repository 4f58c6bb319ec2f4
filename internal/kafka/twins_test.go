package kafka

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/message"
)

// copiesOf reads all of the topic's first partition from a time on.
func copiesOf(t *testing.T, s *Sink, since time.Time) (found []message.Copy, cut bool) {
	t.Helper()
	spans, cuts, err := s.Since(t.Context(), []message.Mark{{Topic: "messages"}}, since)
	if err != nil || len(spans) != 1 {
		t.Fatalf("Since: %v, %v", spans, err)
	}
	lost, err := s.Copies(t.Context(), spans, func(c message.Copy) { found = append(found, c) })
	if err != nil || len(lost) > 0 {
		t.Fatalf("Copies: lost %v, %v", lost, err)
	}
	return found, cuts[0]
}

// What any stamp has sent is read from a time on, with its marks: not what was
// aborted, what a replay wrote, or what is nobody's.
func TestCopies(t *testing.T) {
	_, addr := startCluster(t)
	s := startSink(t, options(addr))
	if found, cut := copiesOf(t, s, time.Unix(0, 0)); len(found) > 0 || cut {
		t.Fatalf("an empty topic holds %v, cut %v", found, cut)
	}
	now := time.Now().Truncate(time.Millisecond)
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("another"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i, commit := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		r := &kgo.Record{Topic: "messages", Timestamp: now.Add(time.Duration(i-3) * time.Hour), Value: fmt.Append(nil, i)}
		id := stored(uint64(i)).ID
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: HeaderID, Value: []byte(id.String())})
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
	}
	marked, replayed := stored(10), stored(11)
	marked.Repeat, replayed.Replay = true, true
	produce(t, s, 0, marked, replayed)
	for since, want := range map[time.Duration][]message.ID{
		-5 * time.Hour: {stored(0).ID, stored(2).ID, marked.ID},
		time.Hour:      nil,
	} {
		found, cut := copiesOf(t, s, now.Add(since))
		var ids []message.ID
		for _, c := range found {
			ids = append(ids, c.ID)
			if c.Repeat != (c.ID == marked.ID) || c.Produced.IsZero() {
				t.Errorf("%+v", c)
			}
		}
		if !slices.Equal(ids, want) || cut {
			t.Errorf("since %v: %v, cut %v; want %v", since, ids, cut, want)
		}
	}
}

// The record of a message that may have been there says so.
func TestLateHeader(t *testing.T) {
	_, addr := startCluster(t)
	s := startSink(t, options(addr))
	m := stored(1)
	m.Late = true
	produce(t, s, 0, m, stored(2))
	for i, r := range all(t, addr, FollowOptions{}) {
		has := slices.ContainsFunc(r.Headers, func(h message.Header) bool { return h.Name == HeaderLate && string(h.Value) == "1" })
		if has != (i == 0) {
			t.Errorf("record %d has %s: %v", i, HeaderLate, has)
		}
	}
}
