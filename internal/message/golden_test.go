package message

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var addGolden = flag.Bool("add-golden", false, "write golden files that are missing; none is ever replaced")

// goldenMessage is a message as testdata has it: bytes in hex, text as it is.
type goldenMessage struct {
	ID          ID
	Topic       string
	Key         *string // hex, or null
	Value       string  // hex
	Headers     [][2]string
	Time        string
	Principal   string
	KeyHash     string
	Digest      string
	Repeat      bool
	OriginStamp string
	OriginLane  string
	OriginSeq   uint64
	OriginTime  string
	TraceParent string
	MovedLane   string `json:",omitempty"`
	MovedSeq    uint64 `json:",omitempty"`
	Replay      bool   `json:",omitempty"`
	Reason      string `json:",omitempty"`
}

func golden(m *Message) goldenMessage {
	const micros = "2006-01-02T15:04:05.000000Z"
	g := goldenMessage{
		ID: m.ID, Topic: m.Topic, Value: hex.EncodeToString(m.Value), Time: m.Time.Format(micros),
		Principal: m.Principal, KeyHash: hex.EncodeToString(m.KeyHash[:]), Digest: hex.EncodeToString(m.Digest[:]),
		Repeat: m.Repeat, TraceParent: m.TraceParent, Replay: m.Replay, Reason: m.Reason,
	}
	if m.Moved != nil {
		g.MovedLane, g.MovedSeq = m.Moved.Lane, m.Moved.Seq
	}
	if m.Key != nil {
		key := hex.EncodeToString(m.Key)
		g.Key = &key
	}
	for _, h := range m.Headers {
		g.Headers = append(g.Headers, [2]string{h.Name, hex.EncodeToString(h.Value)})
	}
	if o := m.Origin; o != nil {
		g.OriginStamp, g.OriginLane, g.OriginSeq, g.OriginTime = o.Stamp, o.Place.Lane, o.Place.Seq, o.Time.Format(micros)
	}
	return g
}

// goldenMessages are those that the files were made from. To add a case, add
// it here and run the test with -add-golden. Cases are not changed or removed:
// what was ever stored must be read for ever.
func goldenMessages() map[string]Message {
	at := time.Date(2026, 3, 14, 15, 9, 26, 535897000, time.UTC)
	id := DeriveID("site", "messages", "key", Hash{1, 2, 3}, 0)
	return map[string]Message{
		"least": {ID: id, Topic: "t", Value: []byte{}, Time: at},
		"classic": {
			ID: id, Topic: "messages", Key: []byte("sensor-7"), Time: at, Principal: "site",
			Value:   []byte(`{"senderId":"sensor-7","value":"21.5"}`),
			Headers: []Header{{"content-type", []byte("application/json")}},
			Digest:  Hash{15: 9},
		},
		"everything": {
			ID: id, Topic: "a.b_c-D9", Key: []byte{0, 0xff, '\n'}, Value: bytes.Repeat([]byte{0x80}, 300), Time: at,
			Headers: []Header{
				{"ce_id", []byte("A234-1234-1234")},
				{"ce_source", []byte("/meters/7")},
				{"twice", []byte("1")},
				{"twice", []byte{}},
				{"", []byte("nameless")},
				{strings.Repeat("n", 200), bytes.Repeat([]byte{7}, 200)},
			},
			Principal: "größe", KeyHash: Hash{0: 0xaa, 15: 0xbb}, Digest: Hash{0: 0xcc, 15: 0xdd}, Repeat: true,
			Origin: &Origin{
				Stamp: "onprem", Time: at.Add(-time.Hour),
				Place: Place{Lane: "01J9Z3N6Y8Q4W2X5V7T0RSKMBC", Seq: 1<<63 + 5},
			},
			TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		},
		"dead-letter": {
			ID: id, Topic: "t", Value: []byte("v"), Time: at, Reason: "record too large",
			Moved: &Place{Lane: "01J9Z3N6Y8Q4W2X5V7T0RSKMBC", Seq: 7},
		},
		"replay": {
			ID: id, Topic: "t", Value: []byte("v"), Time: at, Replay: true,
			Moved: &Place{Lane: "01J9Z3N6Y8Q4W2X5V7T0RSKMBC", Seq: 300},
		},
		"empty-key":       {ID: id, Topic: "t", Key: []byte{}, Value: []byte("v"), Time: at},
		"before-1970":     {ID: id, Topic: "t", Value: []byte("v"), Time: time.Date(1901, 2, 3, 4, 5, 6, 7000, time.UTC)},
		"minimal-origin":  {ID: id, Topic: "t", Value: []byte("v"), Time: at, Origin: &Origin{Time: time.UnixMicro(0).UTC()}},
		"repeat-no-value": {ID: id, Topic: strings.Repeat("t", MaxTopicLen), Value: []byte{}, Time: at, Repeat: true},
	}
}

// The bytes on disk never change: each case is encoded to its file, byte for
// byte, and the file decoded to the fields beside it.
func TestGolden(t *testing.T) {
	for name, m := range goldenMessages() {
		t.Run(name, func(t *testing.T) {
			encoded := Append(nil, &m)
			checkGolden(t, name+".bin", encoded)
			decoded, err := Decode(encoded)
			if err != nil {
				t.Fatal(err)
			}
			fields, err := json.MarshalIndent(golden(&decoded), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			checkGolden(t, name+".json", append(fields, '\n'))
		})
	}
}

// Every file is read, those too whose case is no longer in the code.
func TestGoldenFilesDecode(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.bin")
	if err != nil || len(files) < 7 {
		t.Fatalf("%d golden files, %v", len(files), err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Decode(b)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		want, err := os.ReadFile(strings.TrimSuffix(file, ".bin") + ".json")
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.MarshalIndent(golden(&m), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(append(got, '\n'), want) {
			t.Errorf("%s is read as\n%s\nwant\n%s", file, got, want)
		}
	}
}

// checkGolden compares content with a golden file, which it makes if it is
// missing and the flag says so.
func checkGolden(t *testing.T, name string, content []byte) {
	t.Helper()
	name = filepath.Join("testdata", "golden", name)
	want, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && *addGolden {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		want, err = content, os.WriteFile(name, content, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content, want) {
		t.Errorf("%s: the encoding has changed:\n%s\nwas\n%s", name, hex.Dump(content), hex.Dump(want))
	}
}
