package kafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/message"
)

// Values of Apache Kafka's own client for these inputs.
func TestMurmur2(t *testing.T) {
	rows := map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	}
	for in, want := range rows {
		if got := int32(message.Murmur2([]byte(in))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", in, got, want)
		}
	}
}

// The mapping is for ever: a changed one would break the order of keys.
func TestPartitionGolden(t *testing.T) {
	id, err := message.ParseID("0190b3a4-5d6e-8f70-8123-456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		key  []byte
		want int32
	}{
		{[]byte("vehicle-17"), 2},
		{[]byte{}, 1},
		{nil, 2},
		{[]byte("\xff\x00"), 7},
	}
	for _, row := range rows {
		m := message.Message{ID: id, Key: row.key}
		if got := Partition(&m, 8); got != row.want {
			t.Errorf("partition of key %q is %d, want %d", row.key, got, row.want)
		}
	}
	if got := string(appendID(nil, id)); got != id.String() {
		t.Errorf("appendID writes %s for %s", got, id)
	}
}

func FuzzPartition(f *testing.F) {
	f.Add([]byte("k"), int32(8))
	f.Fuzz(func(t *testing.T, key []byte, n int32) {
		if n < 1 || key == nil {
			return
		}
		java := kgo.StickyKeyPartitioner(nil).ForTopic("t")
		want := java.Partition(&kgo.Record{Key: key}, int(n))
		if got := Partition(&message.Message{Key: key}, n); len(key) > 0 && int(got) != want {
			t.Fatalf("%q of %d: %d, want %d", key, n, got, want)
		}
	})
}

func FuzzParseMarks(f *testing.F) {
	f.Add("postroad-id", []byte("0190b3a4-5d6e-8f70-8123-456789abcdef"))
	f.Add("postroad-seq", []byte("-1"))
	f.Add("postroad-via", []byte("01HZZZZZZZZZZZZZZZZZZZZZZZ.7"))
	f.Add("postroad-time", []byte("2023-11-14T22:13:20.000007Z"))
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		m := parseMarks([]kgo.RecordHeader{{Key: name, Value: value}})
		if m.hasID && m.id.IsZero() || m.place.Lane != "" && !message.ValidLane(m.place.Lane) ||
			m.via.Seq > 0 && !message.ValidLane(m.via.Lane) {
			t.Fatalf("%q: %q gives %+v", name, value, m)
		}
	})
}
