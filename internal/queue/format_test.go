package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
)

// update rewrites the golden files. They are kept for ever: a format that
// changes gets a new version and new files beside the old ones.
var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares b with a golden file and returns what the file holds.
func golden(t *testing.T, name string, b []byte) []byte {
	t.Helper()
	name = filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, kept) {
		t.Errorf("what is written now differs from %s:\n%.200q\n%.200q", name, b, kept)
	}
	return kept
}

var goldenOwner = owner{
	Process: "01JK0000000000000000000001", Host: "gateway-1", BootID: "1b4e28ba-2fa1-41d2-883f-0016d3cca427",
	PIDNamespace: "pid:[4026531836]", PID: 4711, PIDStart: 123456789,
}

var goldenTime = time.Date(2026, 2, 3, 4, 5, 6, 789_012_000, time.UTC)

// disk is a file system that holds one file.
func disk(t testing.TB, name string, b []byte) *faultfs.FS {
	t.Helper()
	fsys := faultfs.New(1)
	dir := ""
	for _, elem := range strings.Split(filepath.Dir(name), "/") {
		dir += elem
		if err := fsys.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
		dir += "/"
	}
	f, err := fsys.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return fsys
}

func TestGoldenLane(t *testing.T) {
	const id = "01JK0000000000000000000003"
	want := laneInfo{
		Format: laneFormat, Lane: id, Stamp: "onprem", Predecessor: "01JK0000000000000000000002",
		Created: goldenTime, Owner: goldenOwner,
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	kept := golden(t, "lane.v1.golden", append(text, '\n'))
	q := &Queue{deps: Deps{FS: disk(t, "q/lanes/"+id+"/lane", kept)}.withDefaults(), at: layout{"q"}}
	l, err := q.loadLane(id)
	if err != nil || !reflect.DeepEqual(l.info, want) || l.settled.Load() != 1 {
		t.Errorf("read %+v, %v, want %+v", l.info, err, want)
	}
}

func TestGoldenClaim(t *testing.T) {
	want := claimInfo{
		Format: laneFormat, Chain: goldenOwner.Process, Epoch: 7, Token: "01JK0000000000000000000009",
		Claimed: goldenTime, Owner: goldenOwner,
	}
	for name, heartbeat := range map[string]string{"claim.v1.golden": "", "claim.heartbeat.v1.golden": "01JK0000000000000000000008"} {
		want.Heartbeat = heartbeat
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got claimInfo
		if err := json.Unmarshal(golden(t, name, append(text, '\n')), &got); err != nil || got != want {
			t.Errorf("%s: read %+v (%v), want %+v", name, got, err, want)
		}
	}
}

func TestGoldenNotes(t *testing.T) {
	for name, c := range map[string]struct {
		content []byte
		empty   bool
	}{
		"fence.v1.golden":          {make([]byte, noteSize), true},
		"fence.ended.v1.golden":    {note("closed by its writer"), false},
		"revoked.v1.golden":        {make([]byte, noteSize), true},
		"revoked.filled.v1.golden": {note("revoked by process " + goldenOwner.Process), false},
	} {
		kept := golden(t, name, c.content)
		if empty, err := allZero(disk(t, "q/note", kept), "q/note"); err != nil || empty != c.empty {
			t.Errorf("%s: empty %v, %v", name, empty, err)
		}
	}
	for _, reason := range []string{"", " ", strings.Repeat("x", 2*noteSize), "\x00"} {
		if n := note(reason); len(n) != noteSize || n[noteSize-1] != '\n' {
			t.Errorf("note of %d bytes", len(n))
		} else if empty, err := allZero(disk(t, "q/note", n), "q/note"); err != nil || empty {
			t.Errorf("note %q reads as empty: %v", reason, err)
		}
	}
}

func TestGoldenHeartbeat(t *testing.T) {
	b := make([]byte, heartbeatSize)
	for _, h := range []heartbeat{{counter: 41, durable: 1000}, {counter: 42, durable: 1 << 40}} {
		copy(b[h.slot():], h.encode())
	}
	kept := golden(t, "heartbeat.v1.golden", b)
	if h, ok := decodeHeartbeat(kept); !ok || h != (heartbeat{42, 1 << 40}) {
		t.Errorf("read %+v, %v", h, ok)
	}
	kept[heartbeatSlot*0+20] ^= 1 // the newer slot
	if h, ok := decodeHeartbeat(kept); !ok || h != (heartbeat{41, 1000}) {
		t.Errorf("with the newer slot damaged: %+v, %v", h, ok)
	}
	kept[heartbeatSlot*1+5] ^= 1
	if h, ok := decodeHeartbeat(kept); ok {
		t.Errorf("with both slots damaged: %+v", h)
	}
}

func goldenProgress() message.Progress {
	return message.Progress{
		Lanes:      []message.LaneProgress{{Lane: "01JK0000000000000000000002", Next: 1001}, {Lane: "01JK0000000000000000000003", Next: 1}},
		Marks:      []message.Mark{{Topic: "messages", Partition: 0, Offset: 1 << 33}, {Topic: "messages", Partition: 7, Offset: 0}, {Topic: "orders.v1", Partition: 2, Offset: 5}},
		Partitions: map[string]int32{"messages": 8, "orders.v1": 3, "quiet": 1},
	}
}

// savedProgress is a progress file with one value in each slot.
func savedProgress(t *testing.T, first, second message.Progress) []byte {
	t.Helper()
	fsys := faultfs.New(1)
	p, err := createProgress(fsys, "progress", first)
	if err == nil {
		err = p.save(second)
	}
	if err != nil {
		t.Fatal(err)
	}
	f, err := fsys.Open("progress")
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2*progressSlot)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenProgress(t *testing.T) {
	b := savedProgress(t, message.Progress{}, goldenProgress())
	kept := golden(t, "progress.v1.golden", bytes.TrimRight(b, "\x00"))
	full := slices.Concat(kept, make([]byte, len(b)-len(kept)))
	got, err := loadProgress(disk(t, "q/progress", full), "q/progress")
	if err != nil || !reflect.DeepEqual(got, goldenProgress()) {
		t.Errorf("read %+v, %v", got, err)
	}
	full[30] ^= 1 // the newer slot
	if got, err := loadProgress(disk(t, "q/progress", full), "q/progress"); err != nil || len(got.Lanes) > 0 {
		t.Errorf("with the newer slot damaged: %+v, %v", got, err)
	}
	full[progressSlot] ^= 1
	if got, err := loadProgress(disk(t, "q/progress", full), "q/progress"); !errors.Is(err, errNoProgress) {
		t.Errorf("with both slots damaged: %+v, %v", got, err)
	}
}

// TestGoldenProgressNamesHub: the second form of a slot, kept for ever too, and
// beside the first in one file.
func TestGoldenProgressNamesHub(t *testing.T) {
	named := goldenProgress()
	named.Hub = "central.prod#3"
	b := savedProgress(t, goldenProgress(), named)
	kept := golden(t, "progress.hub.v1.golden", bytes.TrimRight(b, "\x00"))
	full := slices.Concat(kept, make([]byte, len(b)-len(kept)))
	got, err := loadProgress(disk(t, "q/progress", full), "q/progress")
	if err != nil || !reflect.DeepEqual(got, named) {
		t.Errorf("read %+v, %v", got, err)
	}
	full[30] ^= 1 // the newer slot
	got, err = loadProgress(disk(t, "q/progress", full), "q/progress")
	if err != nil || !reflect.DeepEqual(got, goldenProgress()) {
		t.Errorf("with the newer slot damaged: %+v, %v", got, err)
	}
	// A hub's name is never taken for a lane's, nor the other way round.
	if v, err := decodeProgress(progressMagic, appendProgress(nil, named)); err == nil {
		t.Errorf("read without its hub as %+v", v)
	}
	if v, err := decodeProgress(progressHubMagic, []byte{0, 0, 0}); err == nil {
		t.Errorf("an empty name is read as %+v", v)
	}
}

func randomProgress(rng *rand.Rand) message.Progress {
	var p message.Progress
	if rng.IntN(2) == 0 {
		p.Hub = fmt.Sprint("hub", rng.Uint32(), "#1")
	}
	for range rng.IntN(5) {
		p.Lanes = append(p.Lanes, message.LaneProgress{Lane: fmt.Sprint("lane", rng.Uint32()), Next: rng.Uint64() >> rng.IntN(64)})
	}
	for i := range rng.IntN(5) {
		topic := fmt.Sprint("topic", i) // ascending, as they are read back
		if p.Partitions == nil {
			p.Partitions = map[string]int32{}
		}
		p.Partitions[topic] = rng.Int32()
		for range rng.IntN(6) {
			p.Marks = append(p.Marks, message.Mark{Topic: topic, Partition: rng.Int32(), Offset: rng.Int64()})
		}
	}
	return p
}

// TestSavedProgressIsLoaded saves values one after the other, with saves between
// them that fail or are torn: the last one that returned is what is loaded, or a
// later one that did not.
func TestSavedProgressIsLoaded(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		fsys := faultfs.New(seed)
		value := randomProgress(rng)
		p, err := createProgress(fsys, "progress", value)
		if err != nil {
			t.Fatal(err)
		}
		allowed := []message.Progress{value}
		for range 1 + rng.IntN(6) {
			heal := func() {}
			if rng.IntN(2) == 0 {
				kind := []faultfs.Kind{faultfs.OpWrite, faultfs.OpSync}[rng.IntN(2)]
				fault := []faultfs.Fault{faultfs.FailBefore(errFull), faultfs.FailTorn(errFull), faultfs.FailAfter(errFull)}[rng.IntN(3)]
				heal = fsys.When(faultfs.Match{Kind: kind}, fault)
			}
			value = randomProgress(rng)
			if err := p.save(value); err == nil {
				allowed = nil
			}
			allowed = append(allowed, value)
			heal()
		}
		left := fsys.Reboot()
		got, err := loadProgress(left, "progress")
		if err != nil || !slices.ContainsFunc(allowed, func(v message.Progress) bool { return reflect.DeepEqual(v, got) }) {
			t.Fatalf("seed %d: loaded %+v (%v), saved %+v", seed, got, err, allowed)
		}
	}
}

var errFull = errors.New("full")

func FuzzHeartbeat(f *testing.F) {
	b := make([]byte, heartbeatSize)
	copy(b[heartbeatSlot:], heartbeat{counter: 1}.encode())
	f.Add(b)
	f.Add(b[:heartbeatSlot+5])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := decodeHeartbeat(b)
		if !ok {
			return
		}
		if !bytes.HasPrefix(b, h.encode()) && (len(b) < heartbeatSlot || !bytes.HasPrefix(b[heartbeatSlot:], h.encode())) {
			t.Fatalf("%+v stands in neither slot", h)
		}
	})
}

// FuzzProgress reads arbitrary bytes as a slot, as they are and with a header
// that fits them.
func FuzzProgress(f *testing.F) {
	body := appendProgress(nil, goldenProgress())
	f.Add(body)
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	named := goldenProgress()
	named.Hub = "prod#3"
	f.Add(appendProgress(nil, named))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, c, err := decodeProgressSlot(b); err == nil {
			t.Logf("a sound slot by itself: %d %+v", c, v)
		}
		for _, magic := range [][4]byte{progressMagic, progressHubMagic} {
			rewriteProgress(t, magic, b)
		}
	})
}

// rewriteProgress: what can be read is what would be written.
func rewriteProgress(t *testing.T, magic [4]byte, b []byte) {
	t.Helper()
	v, err := decodeProgress(magic, b)
	if err != nil {
		if !errors.Is(err, message.ErrDamaged) {
			t.Fatal(err)
		}
		return
	}
	again, err := decodeProgress(progressMagicOf(v), appendProgress(nil, v))
	if err != nil {
		t.Fatalf("%+v cannot be read back: %v", v, err)
	}
	if len(again.Lanes) != len(v.Lanes) || len(again.Marks) != len(v.Marks) || again.Hub != v.Hub ||
		!reflect.DeepEqual(again.Partitions, v.Partitions) {
		t.Fatalf("%+v became %+v", v, again)
	}
}

// FuzzLane reads arbitrary bytes as a lane's file. Whatever it says, the chain's
// name must be safe as the name of a directory.
func FuzzLane(f *testing.F) {
	const id = "01JK0000000000000000000003"
	for _, text := range []string{
		`{"lane":"` + id + `","owner":{"process":"01JK0000000000000000000001"}}`,
		`{"lane":"` + id + `","owner":{"process":"../../etc"}}`, `{"lane":"` + id + `","owner":{"process":""}}`,
		`{"lane":"other","owner":{"process":"01JK0000000000000000000001"}}`, `[]`, `null`, ``, `{"lane":1}`, "\x00\x00",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q := &Queue{deps: Deps{FS: disk(t, "q/lanes/"+id+"/lane", b)}.withDefaults(), at: layout{"q"}}
		l, err := q.loadLane(id)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if l.id != id || l.info.Lane != id || !message.ValidLane(l.info.Owner.Process) {
			t.Fatalf("%q gave %+v", b, l.info)
		}
		l.info.Owner.deadFor(goldenOwner) // whatever it says, it ends
	})
}

// --- docs/design/queue-format.md ---

func document(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "design", "queue-format.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDocumentAgrees(t *testing.T) {
	text := document(t)
	for name, want := range map[string]int{
		"fence, revocation": noteSize, "heartbeat slot": heartbeatSlot, "heartbeat slot in use": heartbeatBytes,
		"heartbeat file": heartbeatSize, "progress slot": progressSlot, "progress slot header": progressHeader,
		"format of lane and claim": laneFormat,
	} {
		if !strings.Contains(text, "\n| "+name+" | "+strconv.Itoa(want)+" |\n") {
			t.Errorf("the constant %q is %d", name, want)
		}
	}
	for _, phrase := range []string{
		"| 0 | 4 | magic `" + string(heartbeatMagic[:]) + "` |", "| 16 | 8 | durable seq: every message",
		"| 0 | 4 | magic `" + string(progressMagic[:]) + "` |", "where the magic is `" + string(progressHubMagic[:]) + "` instead", "| 24 | … | body |",
		fmt.Sprintf("Slots stand at 0 and %d; the file has %d bytes", heartbeatSlot, heartbeatSize),
		fmt.Sprintf("A slot is half of the file: %d bytes, doubled", progressSlot), fmt.Sprintf("to %d at most", maxProgressSlot),
	} {
		if !strings.Contains(text, phrase) {
			t.Errorf("the document lacks %q", phrase)
		}
	}
	at := layout{"q"}
	for _, name := range []string{at.laneFile("<lane>", fenceFileName), at.laneFile("<lane>", heartbeatFileName), at.laneFile("<lane>", laneFileName)} {
		if !strings.Contains(text, "| `"+strings.TrimPrefix(name, "q/")+"` |") {
			t.Errorf("the document lacks %s", name)
		}
	}
}

// TestDocumentNamesEveryMember holds the JSON tables against the structs.
func TestDocumentNamesEveryMember(t *testing.T) {
	text := document(t)
	for title, of := range map[string]any{"`lane`": laneInfo{}, "`claim.<epoch>`": claimInfo{}, "`owner`": owner{}} {
		_, table, ok := strings.Cut(text, "| member of "+title+" | meaning |\n")
		if !ok {
			t.Fatalf("no table of %s", title)
		}
		table, _, _ = strings.Cut(table, "\n\n")
		var documented, members []string
		for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(table, -1) {
			documented = append(documented, row[1])
		}
		for i := range reflect.TypeOf(of).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(of).Field(i).Tag.Get("json"), ",")
			members = append(members, name)
		}
		if !slices.Equal(documented, members) {
			t.Errorf("%s: the document has %q, the code %q", title, documented, members)
		}
	}
}

// TestDocumentNamesEveryTag encodes a message with every field and compares its
// tags with the table.
func TestDocumentNamesEveryTag(t *testing.T) {
	m := message.Message{
		ID: message.ID{1}, Topic: "t", Key: []byte("k"), Value: []byte("v"), Headers: []message.Header{{Name: "h"}},
		Time: goldenTime, Principal: "p", KeyHash: message.Hash{1}, Digest: message.Hash{1}, Repeat: true,
		Origin: &message.Origin{Stamp: "s", Time: goldenTime}, TraceParent: "t",
		Moved: &message.Place{Lane: "l", Seq: 1}, Replay: true, Reason: "r",
	}
	for i := range reflect.TypeOf(m).NumField() {
		if reflect.ValueOf(m).Field(i).IsZero() {
			t.Fatalf("Message.%s is not encoded here", reflect.TypeOf(m).Field(i).Name)
		}
	}
	var tags []string
	for b := message.Append(nil, &m); len(b) > 0; b = b[2+int(b[1]):] { // every length here takes one byte
		tags = append(tags, strconv.Itoa(int(b[0])))
	}
	_, table, _ := strings.Cut(document(t), "| tag | field | bytes |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var documented []string
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(table, -1) {
		documented = append(documented, row[1])
	}
	if !slices.Equal(tags, documented) {
		t.Errorf("the document has tags %q, the code %q", documented, tags)
	}
}
