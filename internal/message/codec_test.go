package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// randomMessage makes any message that a gateway could accept, and then some:
// names and texts are any bytes.
func randomMessage(rng *rand.Rand) Message {
	m := Message{
		ID:    ID(randomBytes(rng, 16)),
		Topic: randomTopic(rng),
		Value: randomBytes(rng, sizes(rng)),
		Time:  time.UnixMicro(rng.Int64N(1<<52) - 1<<51).UTC(),
	}
	m.ID[0] |= 1 // not zero
	if rng.IntN(3) > 0 {
		m.Key = randomBytes(rng, sizes(rng)) // empty is not nil
	}
	for range rng.IntN(4) {
		m.Headers = append(m.Headers, Header{string(randomBytes(rng, sizes(rng))), randomBytes(rng, sizes(rng))})
	}
	if rng.IntN(2) == 0 {
		m.Principal = string(randomBytes(rng, 1+sizes(rng)))
	}
	if rng.IntN(2) == 0 {
		m.KeyHash = Hash(randomBytes(rng, 16))
	}
	if rng.IntN(2) == 0 {
		m.Digest = Hash(randomBytes(rng, 16))
	}
	m.Repeat = rng.IntN(2) == 0
	if rng.IntN(3) == 0 {
		m.Origin = &Origin{
			Stamp: string(randomBytes(rng, sizes(rng))),
			Place: Place{Lane: "01J9Z3N6Y8Q4W2X5V7T0RSKMBC", Seq: rng.Uint64() >> rng.IntN(64)},
			Time:  time.UnixMicro(rng.Int64()).UTC(),
		}
	}
	if rng.IntN(2) == 0 {
		m.TraceParent = string(randomBytes(rng, 55))
	}
	if rng.IntN(2) == 0 {
		m.Moved = &Place{Lane: string(randomBytes(rng, 26)), Seq: rng.Uint64()}
		m.Replay, m.Reason = true, string(randomBytes(rng, 20))
	}
	return m
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// sizes favours those at which the length of a length changes.
func sizes(rng *rand.Rand) int {
	return []int{0, 1, 2, 10, 126, 127, 128, 129, 300, 16383, 16384}[rng.IntN(11)]
}

func randomTopic(rng *rand.Rand) string {
	const of = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	b := make([]byte, 1+rng.IntN(MaxTopicLen))
	for i := range b {
		b[i] = of[rng.IntN(len(of))]
	}
	return string(b)
}

func TestDecodeIsTheInverseOfAppend(t *testing.T) {
	rng := randomly(t)
	for i := range 2000 {
		m := randomMessage(rng)
		before := randomBytes(rng, rng.IntN(20))
		b := Append(bytes.Clone(before), &m)
		if !bytes.HasPrefix(b, before) {
			t.Fatalf("message %d: Append changed what it was to append to", i)
		}
		got, err := Decode(b[len(before):])
		if err != nil {
			t.Fatalf("message %d: %v\n%+v", i, err, m)
		}
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("message %d:\nin  %+v\nout %+v", i, m, got)
		}
		if again := Append(nil, &got); !bytes.Equal(again, b[len(before):]) {
			t.Fatalf("message %d is encoded in two ways", i)
		}
	}
}

// What is finer than a microsecond, in another time zone or nil is stored in
// the one form there is for it.
func TestAppendNormalizes(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 123456789, time.FixedZone("here", 7200))
	m := Message{ID: ID{1}, Topic: "t", Time: at, Headers: []Header{{Name: "n"}}}
	got, err := Decode(Append(nil, &m))
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 5, 4, 1, 2, 1, 123456000, time.UTC); !got.Time.Equal(want) || got.Time.Location() != time.UTC {
		t.Errorf("time %v, want %v", got.Time, want)
	}
	if got.Value == nil || len(got.Value) != 0 || got.Key != nil {
		t.Errorf("value %#v, key %#v; want empty, nil", got.Value, got.Key)
	}
	if v := got.Headers[0].Value; v == nil || len(v) != 0 {
		t.Errorf("header value %#v, want empty", v)
	}
}

// Appending to one slice of a decoded message must not write into the next.
func TestDecodedSlicesDoNotRunIntoEachOther(t *testing.T) {
	m := Message{
		ID: ID{1}, Topic: "t", Key: []byte("key"), Value: []byte("value"), Time: time.UnixMicro(1),
		Headers: []Header{{"a", []byte("1")}, {"b", []byte("2")}},
	}
	b := Append(nil, &m)
	whole := bytes.Clone(b)
	got, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range [][]byte{got.Key, got.Value, got.Headers[0].Value, got.Headers[1].Value} {
		_ = append(s, "overrun"...)
	}
	if !bytes.Equal(b, whole) {
		t.Error("a decoded slice has room in its neighbour")
	}
}

// field encodes one field by hand.
func field(tag byte, value string) string {
	return string(binary.AppendUvarint([]byte{tag}, uint64(len(value)))) + value
}

var (
	sixteen  = strings.Repeat("i", 16)
	eight    = "\x01\x02\x03\x04\x05\x06\x07\x00"
	lane     = "01J9Z3N6Y8Q4W2X5V7T0RSKMBC"
	minimal  = field(tagID, sixteen) + field(tagTopic, "t") + field(tagValue, "v") + field(tagTime, eight)
	zeroTime = func() string {
		us := time.Time{}.UnixMicro()
		return string(binary.LittleEndian.AppendUint64(nil, uint64(us)))
	}()
)

func TestDecodeRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":             "",
		"no id":               minimal[18:],
		"no topic":            field(tagID, sixteen) + field(tagValue, "v") + field(tagTime, eight),
		"no value":            field(tagID, sixteen) + field(tagTopic, "t") + field(tagTime, eight),
		"no time":             field(tagID, sixteen) + field(tagTopic, "t") + field(tagValue, "v"),
		"zero id":             field(tagID, strings.Repeat("\x00", 16)) + minimal[18:],
		"zero time":           minimal[:len(minimal)-8] + zeroTime,
		"short id":            field(tagID, sixteen[1:]) + minimal[18:],
		"long id":             field(tagID, sixteen+"i") + minimal[18:],
		"topic not a topic":   field(tagID, sixteen) + field(tagTopic, "a/b") + field(tagValue, "v") + field(tagTime, eight),
		"short time":          minimal[:len(minimal)-10] + field(tagTime, eight[1:]),
		"long time":           minimal[:len(minimal)-10] + field(tagTime, eight+"t"),
		"tag zero":            field(0, "") + minimal,
		"tag alone":           minimal + "\x0c",
		"length over the end": minimal + "\x0c\x02t",
		"length over 64 bits": minimal + "\x0c" + strings.Repeat("\xff", 10) + "\x01",
		"length near 64 bits": minimal + "\x0c" + strings.Repeat("\xff", 9) + "\x01",
		"topic twice":         field(tagID, sixteen) + field(tagTopic, "t") + minimal[18:],
		"order":               field(tagTopic, "t") + minimal,
		"short key hash":      minimal + field(tagKeyHash, "short"),
		"short digest":        minimal + field(tagDigest, "short"),
		"empty header":        field(tagID, sixteen) + field(tagTopic, "t") + field(tagValue, "v") + field(tagHeader, "") + field(tagTime, eight),
		"header name over":    field(tagID, sixteen) + field(tagTopic, "t") + field(tagValue, "v") + field(tagHeader, "\x05name") + field(tagTime, eight),
		"empty origin":        minimal + field(tagOrigin, ""),
		"origin without time": minimal + field(tagOrigin, "\x01s\x1a"+lane+"\x01"),
		"origin with more":    minimal + field(tagOrigin, "\x01s\x1a"+lane+"\x01"+eight+"x"),
	} {
		m, err := Decode([]byte(in))
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: error %v, want one that matches ErrDamaged", name, err)
		}
		if !reflect.DeepEqual(m, Message{}) {
			t.Errorf("%s: a message beside the error: %+v", name, m)
		}
	}
}

func TestDecodePassesOverUnknownFields(t *testing.T) {
	got, err := Decode([]byte(minimal + field(tagTraceParent, "trace") + field(100, "future") + field(255, "")))
	if err != nil {
		t.Fatal(err)
	}
	want, err := Decode([]byte(minimal + field(tagTraceParent, "trace")))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v (%v)", got, want, err)
	}
}

// Every message that ends early is refused or, where it ends between two
// fields that may be missing, read as the shorter message it then is.
func TestDecodeOfEveryPrefix(t *testing.T) {
	m := randomMessage(rand.New(rand.NewPCG(1, 1)))
	m.Value, m.TraceParent, m.Repeat = []byte("value"), "trace", true
	whole := Append(nil, &m)
	short := 0
	for n := range whole {
		got, err := Decode(whole[:n])
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
			}
			continue
		}
		short++
		if again := Append(nil, &got); !bytes.Equal(again, whole[:n]) {
			t.Fatalf("%d of %d bytes are read as another message", n, len(whole))
		}
	}
	if short == 0 || short > 9 {
		t.Errorf("%d prefixes pass, want those that end before an optional field", short)
	}
}

func TestMessageSize(t *testing.T) {
	m := Message{
		ID: ID{1}, Topic: "not counted", Key: []byte("123"), Value: []byte("4567"), Principal: "nor this",
		Headers: []Header{{"89", []byte("0")}, {"", nil}, {"1", []byte("23")}},
	}
	if got := m.Size(); got != 13 {
		t.Errorf("size %d, want 13", got)
	}
}

// FuzzDecode: whatever the bytes, Decode ends with an error or with a message
// that is encoded and decoded to itself.
func FuzzDecode(f *testing.F) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 20 {
		m := randomMessage(rng)
		if len(m.Value) < 1000 {
			f.Add(Append(nil, &m))
		}
	}
	f.Add([]byte(minimal))
	f.Add([]byte(minimal + field(200, "future")))
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := bytes.Clone(b)
		m, err := Decode(b)
		if !bytes.Equal(b, whole) {
			t.Fatal("Decode writes to its input")
		}
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if m.ID.IsZero() || !ValidTopic(m.Topic) || m.Value == nil || m.Time.IsZero() {
			t.Fatalf("incomplete message %+v", m)
		}
		again, err := Decode(Append(nil, &m))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v\nbecomes %+v (%v)", m, again, err)
		}
	})
}
