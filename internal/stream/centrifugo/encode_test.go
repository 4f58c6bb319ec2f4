package centrifugo

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/centrifugal/protocol"
	"github.com/gobwas/ws"

	"postroad/internal/stream/live"
)

var update = flag.Bool("update", false, "write the golden files anew")

func encoders() [2]encoder {
	scratch := newScratch()
	return [2]encoder{{JSON, scratch}, {Protobuf, scratch}}
}

// readFrame reads a frame of a server.
func readFrame(r io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(r); err != nil {
		return f, err
	}
	if f.Header.Masked || f.Header.Length > 16<<20 {
		return f, fmt.Errorf("a frame with header %+v", f.Header)
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}

// frameOf takes the first frame off b.
func frameOf(t *testing.T, b []byte) (f ws.Frame, rest []byte) {
	t.Helper()
	r := bytes.NewReader(b)
	f, err := readFrame(r)
	if err != nil {
		t.Fatal(err)
	}
	return f, b[len(b)-r.Len():]
}

// decode reads the replies of a payload with the codec of the protocol.
func decode(t testing.TB, e Encoding, payload []byte) (replies []*protocol.Reply) {
	t.Helper()
	var d protocol.ReplyDecoder = protocol.NewJSONReplyDecoder(payload)
	if e == Protobuf {
		d = protocol.NewProtobufReplyDecoder(payload)
	}
	for {
		r, err := d.Decode()
		if errors.Is(err, io.EOF) {
			return replies
		}
		if err != nil {
			t.Fatalf("%v: %v in %.200q", e, err, payload)
		}
		replies = append(replies, r)
	}
}

func decodeFrames(t *testing.T, e Encoding, frames []byte) (replies []*protocol.Reply, sizes []int) {
	t.Helper()
	for len(frames) > 0 {
		var f ws.Frame
		f, frames = frameOf(t, frames)
		if want := map[Encoding]ws.OpCode{JSON: ws.OpText, Protobuf: ws.OpBinary}[e]; f.Header.OpCode != want || !f.Header.Fin {
			t.Errorf("%v: frame with opcode %v", e, f.Header.OpCode)
		}
		if e == JSON && len(bytes.Trim(f.Payload, "\n")) != len(f.Payload) {
			t.Errorf("a frame that begins or ends with a line end")
		}
		replies = append(replies, decode(t, e, f.Payload)...)
		sizes = append(sizes, len(f.Payload))
	}
	return replies, sizes
}

var goldenRows = []struct {
	name              string
	subject           string
	positioned, keyed bool
	records           []*live.Record
}{
	{"one", "vehicles/tram-7", true, false, []*live.Record{{Offset: 41, Key: []byte("tram-7"), Value: []byte(`{"lat":60.1}`)}}},
	{"burst", "vehicles/*", true, true, []*live.Record{
		{Offset: 0, Key: []byte("a/b"), Value: []byte(`{"n":1}`)},
		{Offset: 127, Key: nil, Value: []byte("plain text")},
		{Offset: 300, Key: []byte{0xff}, Value: []byte{0, 1, 0xff}},
		{Offset: 1 << 40, Key: []byte("ключ"), Value: nil},
	}},
	{"unpositioned", "/t/*", false, true, []*live.Record{{Offset: 9, Key: []byte("k"), Value: []byte("1")}}},
	{"escaped", `t/say "x"`, true, false, []*live.Record{{Offset: 1, Value: []byte{}}}},
	{"long", "t/k", true, false, []*live.Record{{Offset: 2, Value: []byte(strings.Repeat("0123456789", 20))}}},
}

// The bytes that clients are sent are kept: a change of them is one that every
// SDK must be looked at for.
func TestGoldenFrames(t *testing.T) {
	for _, row := range goldenRows {
		for _, e := range encoders() {
			got := e.Encode(row.subject, row.positioned, row.keyed, row.records)
			path := filepath.Join("testdata", "frames", row.name+"."+e.encoding.String()+".hex")
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(hex.Dump(got)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if hex.Dump(got) != string(want) {
				t.Errorf("%s is\n%s", path, hex.Dump(got))
			}
		}
	}
}

func TestFramesDecode(t *testing.T) {
	for _, row := range goldenRows {
		for _, e := range encoders() {
			replies, sizes := decodeFrames(t, e.encoding, e.Encode(row.subject, row.positioned, row.keyed, row.records))
			if len(replies) != len(row.records) || len(sizes) != 1 {
				t.Fatalf("%s %v: %d messages in %d frames", row.name, e.encoding, len(replies), len(sizes))
			}
			for i, r := range row.records {
				checkPush(t, e.encoding, replies[i], row.subject, row.positioned, row.keyed, r)
			}
		}
	}
}

func checkPush(t *testing.T, e Encoding, reply *protocol.Reply, name string, positioned, keyed bool, r *live.Record) {
	t.Helper()
	push := reply.Push
	if reply.Id != 0 || push == nil || push.Pub == nil || push.Channel != name {
		t.Fatalf("%v: reply %v", e, reply)
	}
	want, wantTags := r.Value, map[string]string{}
	if e == JSON {
		var tag string
		if want, tag = appendJSONData(nil, r.Value); tag != "" {
			wantTags[tagData] = tag
		}
	}
	if keyed {
		wantTags[tagKey] = live.EscapeKey(string(r.Key))
	}
	if !bytes.Equal(push.Pub.Data, want) || fmt.Sprint(push.Pub.Tags) != fmt.Sprint(wantTags) {
		t.Errorf("%v: offset %d has data %.60q and tags %v, want %.60q and %v", e, r.Offset, push.Pub.Data, push.Pub.Tags, want, wantTags)
	}
	offset := uint64(0)
	if positioned {
		offset = uint64(r.Offset) + 1
	}
	if push.Pub.Offset != offset {
		t.Errorf("%v: offset %d, want %d", e, push.Pub.Offset, offset)
	}
}

// A burst is cut into frames of at most 64 KiB, between messages; one message that
// is larger has a frame of its own. Nothing is lost or turned around by it.
func TestBurstsAreCut(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 50 {
		var records []*live.Record
		for i := range 1 + rng.IntN(60) {
			size := rng.IntN(3000)
			if rng.IntN(20) == 0 {
				size = maxFrame - 200 + rng.IntN(400)
			}
			records = append(records, &live.Record{Offset: int64(i * 3), Value: bytes.Repeat([]byte{'a'}, size)})
		}
		for _, e := range encoders() {
			frames := e.Encode("t/k", true, false, records)
			replies, sizes := decodeFrames(t, e.encoding, frames)
			if len(replies) != len(records) {
				t.Fatalf("%v: %d of %d messages", e.encoding, len(replies), len(records))
			}
			for i, r := range records {
				checkPush(t, e.encoding, replies[i], "t/k", true, false, r)
			}
			for i, size := range sizes {
				_, payloads := frameMessages(t, e.encoding, frames, i)
				if size > maxFrame && payloads != 1 {
					t.Errorf("%v: a frame of %d bytes with %d messages", e.encoding, size, payloads)
				}
			}
		}
	}
}

// frameMessages counts the messages of the n-th frame.
func frameMessages(t *testing.T, e Encoding, frames []byte, n int) (f ws.Frame, messages int) {
	t.Helper()
	for range n + 1 {
		f, frames = frameOf(t, frames)
	}
	return f, len(decode(t, e, f.Payload))
}

// All connections of an encoding share what is made: their encoders are equal.
func TestEncodersAreEqual(t *testing.T) {
	p, err := New(DefaultOptions(), Deps{Engine: noEngine{}, Ping: 1e9})
	if err != nil {
		t.Fatal(err)
	}
	var a, b, other live.Encoder = p.encoders[JSON], p.encoders[JSON], p.encoders[Protobuf]
	if a != b || a == other {
		t.Errorf("equal %v, of other encodings equal %v", a == b, a == other)
	}
}

func BenchmarkEncode(b *testing.B) {
	value := []byte(`{"id":"tram-7","lat":60.1699,"lon":24.9384,"speed":12.5,"text":"` + strings.Repeat("x", 440) + `"}`)
	for _, n := range []int{1, 50} {
		var records []*live.Record
		for i := range n {
			records = append(records, &live.Record{Offset: int64(i), Key: []byte("tram-7"), Value: value})
		}
		for _, e := range encoders() {
			b.Run(fmt.Sprintf("%v-%d", e.encoding, n), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(n * len(value)))
				for b.Loop() {
					e.Encode("vehicles/tram-7", true, false, records)
				}
			})
		}
	}
}
