package consumers

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// record is a record of a topic, as the test means it.
type record struct {
	partition  int32
	offset     int64  // set when it was produced
	id         string // "" for none
	raw        string // how the id is written, where not as it is
	headers    []kgo.RecordHeader
	key, value []byte
	replay     bool
	aborted    bool // in a transaction that came to nothing
}

// kafka is the record that is produced.
func (r *record) kafka(topic string) *kgo.Record {
	k := &kgo.Record{Topic: topic, Partition: r.partition, Key: r.key, Value: r.value, Headers: r.headers}
	if written := cmp.Or(r.raw, r.id); written != "" {
		k.Headers = append(k.Headers, kgo.RecordHeader{Key: "postroad-id", Value: []byte(written)})
	}
	if r.replay {
		k.Headers = append(k.Headers, kgo.RecordHeader{Key: "postroad-replay", Value: []byte("1")})
	}
	return k
}

// id is a dedupe id.
func id(partition, n int) string {
	return fmt.Sprintf("%08x-0000-8000-8000-%012x", partition, n)
}

// duplicates is a partition in which a third of the records are duplicates of
// others within w, some at exactly w and w+1 offsets, and some were aborted.
func duplicates(random *rand.Rand, partition int32, n int, w int) []*record {
	var rs []*record
	for i := range n {
		r := &record{partition: partition, id: id(int(partition), i), key: fmt.Appendf(nil, "key %d", i%7), value: fmt.Appendf(nil, "message %d", i)}
		back := 0
		switch random.IntN(12) {
		case 0, 1:
			back = 1 + random.IntN(w)
		case 2:
			back = w
		case 3:
			back = w + 1
		}
		if back > 0 && back <= i {
			r.id, r.value = rs[i-back].id, fmt.Appendf(nil, "message %d, again at %d", i-back, i)
		}
		r.aborted = i%1000 >= 400 && i%1000 < 430
		rs = append(rs, r)
	}
	return append(rs, &record{partition: partition, id: id(int(partition), n), value: fmt.Appendf(nil, "last of %d", partition)})
}

// produce writes records in their order and notes their offsets.
func produce(t *testing.T, addrs []string, topic string, rs []*record) {
	t.Helper()
	common := []kgo.Opt{kgo.SeedBrokers(addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DisableClientMetrics(), kgo.ProducerBatchCompression(kgo.NoCompression())}
	plain, err := kgo.NewClient(common...)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	transactions, err := kgo.NewClient(append(common, kgo.TransactionalID("test-"+topic))...)
	if err != nil {
		t.Fatal(err)
	}
	defer transactions.Close()
	ctx := t.Context()
	for len(rs) > 0 {
		n := 1
		for n < len(rs) && rs[n].aborted == rs[0].aborted {
			n++
		}
		if rs[0].aborted {
			err = inVain(ctx, transactions, topic, rs[:n])
		} else {
			err = write(ctx, plain, topic, rs[:n])
		}
		if err != nil {
			t.Fatal(err)
		}
		rs = rs[n:]
	}
}

func write(ctx context.Context, client *kgo.Client, topic string, rs []*record) error {
	of := make(map[*kgo.Record]*record, len(rs))
	var ks []*kgo.Record
	for _, r := range rs {
		k := r.kafka(topic)
		of[k], ks = r, append(ks, k)
	}
	for _, result := range client.ProduceSync(ctx, ks...) {
		if result.Err != nil {
			return result.Err
		}
		of[result.Record].offset = result.Record.Offset
	}
	return nil
}

// inVain writes records in a transaction that is aborted.
func inVain(ctx context.Context, client *kgo.Client, topic string, rs []*record) error {
	if err := client.BeginTransaction(); err != nil {
		return err
	}
	if err := write(ctx, client, topic, rs); err != nil {
		return err
	}
	return client.EndTransaction(ctx, kgo.TryAbort)
}

// forever is a look-back that nothing lies beyond.
const forever = 1 << 40

// expected is what a reader shows of one partition that begins at start and
// shows from show on: the rule as docs/consumers.md has it, by looking at every
// pair.
func expected(rs []*record, w, start, show int64, replays bool) []*record {
	var want []*record
	for i, r := range rs {
		if r.aborted || r.offset < show || r.replay && !replays {
			continue
		}
		duplicate := false
		for _, before := range rs[:i] {
			within := before.offset >= start && before.offset >= r.offset-w
			duplicate = duplicate || within && r.id != "" && before.id == r.id && !before.aborted && !before.replay
		}
		if !duplicate {
			want = append(want, r)
		}
	}
	return want
}

// judge says what is wrong with what was shown of each partition: missing,
// shown twice, out of order, or not what was produced.
func judge(got []shown, want ...[]*record) []string {
	var problems []string
	for _, records := range want {
		if len(records) == 0 {
			continue
		}
		p := records[0].partition
		var mine []shown
		for _, s := range got {
			if s.Partition == p {
				mine = append(mine, s)
			}
		}
		for i := range max(len(mine), len(records)) {
			switch {
			case i >= len(mine):
				problems = append(problems, fmt.Sprintf("partition %d: offset %d was not shown", p, records[i].offset))
			case i >= len(records):
				problems = append(problems, fmt.Sprintf("partition %d: offset %d was shown beyond the end", p, mine[i].Offset))
			case !same(mine[i], records[i]):
				problems = append(problems, fmt.Sprintf("partition %d: offset %d (%s) was shown, not offset %d (%s)", p, mine[i].Offset, text(mine[i].Value), records[i].offset, records[i].value))
			default:
				continue
			}
			break // what follows is shifted
		}
	}
	return problems
}

func same(s shown, r *record) bool {
	return s.Offset == r.offset && text(s.Value) == string(r.value) && (s.Value == nil) == (r.value == nil) &&
		text(s.Key) == string(r.key) && (s.Key == nil) == (r.key == nil) && s.Replay == r.replay && text(s.ID) == r.id
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
