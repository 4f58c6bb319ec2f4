package drill

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// scene is a ledger and the records that a faultless Postroad shows for it.
type scene struct {
	ledger  *Ledger
	records []Record
}

func record(key, value string) Record {
	return Record{Key: []byte(key), Value: []byte(value)}
}

// play enters a message, and shows it as often as said.
func (s *scene) play(stream Stream, at int, outcome Outcome, shown int, r Record) Send {
	send := s.ledger.Sending("it", stream, at, r.Print())
	s.ledger.Answered(send, outcome)
	for range shown {
		s.show(r)
	}
	return send
}

func (s *scene) show(r Record) {
	r.Offset = int64(len(s.records))
	s.records = append(s.records, r)
}

func (s *scene) judge() Verdict {
	j := s.ledger.Judge()
	for _, r := range s.records {
		j.Saw(r)
	}
	return j.Verdict()
}

// goodScene has every case that is right.
func goodScene() *scene {
	s := &scene{ledger: NewLedger()}
	a, b := s.ledger.NewStream(), s.ledger.NewStream()
	s.play(a, 0, Acknowledged, 1, record("a", "first"))
	s.play(a, 1, Acknowledged, 1, record("a", "second"))
	s.play(b, 0, Acknowledged, 1, record("b", "first")) // the bytes of a's first under another key
	s.play(a, 2, Refused, 0, record("a", "refused"))
	s.play(a, 3, Unknown, 1, record("a", "unknown and stored"))
	s.play(a, 4, Unknown, 0, record("a", "unknown and not stored"))
	s.play(a, 5, Acknowledged, 1, record("a", "third"))
	s.play(NoStream, 0, Acknowledged, 1, Record{Value: []byte("no key")})
	s.play(NoStream, 1, Acknowledged, 1, Record{Key: []byte{}, Value: []byte("no key")}) // an empty one
	// Twins: the same bytes under different idempotency keys.
	s.play(b, 1, Acknowledged, 1, record("b", "twin"))
	s.play(b, 2, Acknowledged, 1, record("b", "twin"))
	// Unknown at first, sent again and acknowledged; behind a later one.
	again := s.play(b, 3, Unknown, 0, record("b", "again"))
	s.play(b, 4, Acknowledged, 1, record("b", "between"))
	s.ledger.Again(again)
	s.ledger.Answered(again, Acknowledged)
	s.show(record("b", "again"))
	// Unknown at first, then refused: still unknown.
	again = s.play(b, 5, Unknown, 1, record("b", "refused later"))
	s.ledger.Again(again)
	s.ledger.Answered(again, Refused)
	// An unknown request may be stored after later ones.
	s.play(a, 6, Unknown, 0, record("a", "slow"))
	s.play(a, 7, Acknowledged, 1, record("a", "fourth"))
	s.show(record("a", "slow"))
	// Batches, whole or not at all.
	s.batch(NoStream, Acknowledged, 3, record("c", "1"), record("c", "2"), record("c", "3"))
	s.batch(NoStream, Unknown, 3, record("c", "4"), record("c", "5"), record("c", "6"))
	s.batch(NoStream, Unknown, 0, record("c", "7"), record("c", "8"), record("c", "9"))
	s.records = append(s.records, Record{
		Key:   []byte("sender"),
		Value: []byte(`{"senderId":"sender","correlationId":"x","value":"classic","serverTimestamp":"y"}`),
	})
	s.ledger.Answered(s.ledger.Sending("a call", NoStream, 9, PrintOf(kindClassic, []byte("sender"), []byte("classic"))), Acknowledged)
	return s
}

// batch enters one request of several messages of which the first n are shown.
func (s *scene) batch(stream Stream, outcome Outcome, n int, records ...Record) {
	var prints []Print
	for i, r := range records {
		prints = append(prints, r.Print())
		if i < n {
			s.show(r)
		}
	}
	s.ledger.Answered(s.ledger.Sending("a batch", stream, 0, prints...), outcome)
}

func TestGoodSceneIsJudgedGood(t *testing.T) {
	v := goodScene().judge()
	if !v.OK() {
		t.Fatalf("verdict: %s", v)
	}
	want := Verdict{Sent: 26, Acknowledged: 15, Refused: 1, Unknown: 10, Seen: 21, UnknownSeen: 6}
	got := v
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counts:\n%swant:\n%s", got, want)
	}
	if !strings.HasPrefix(v.String(), "nothing lost") {
		t.Errorf("printed: %s", v)
	}
}

// Each sabotage of a good scene must be found, as what it is.
func TestSabotageIsFound(t *testing.T) {
	find := func(s *scene, value string) int {
		return slices.IndexFunc(s.records, func(r Record) bool { return string(r.Value) == value })
	}
	drop := func(value string) func(*scene) {
		return func(s *scene) { i := find(s, value); s.records = slices.Delete(s.records, i, i+1) }
	}
	double := func(value string) func(*scene) {
		return func(s *scene) { s.records = append(s.records, s.records[find(s, value)]) }
	}
	for _, tc := range []struct {
		name     string
		sabotage func(*scene)
		want     func(Verdict) Findings
	}{
		{"one dropped", drop("second"), func(v Verdict) Findings { return v.Lost }},
		{"one of a batch dropped", drop("2"), func(v Verdict) Findings { return v.Lost }},
		{"one of two twins dropped", drop("twin"), func(v Verdict) Findings { return v.Lost }},
		{"the one that was sent again dropped", drop("again"), func(v Verdict) Findings { return v.Lost }},
		{"one doubled", double("second"), func(v Verdict) Findings { return v.Twice }},
		{"an unknown one doubled", double("unknown and stored"), func(v Verdict) Findings { return v.Twice }},
		{"a twin tripled", double("twin"), func(v Verdict) Findings { return v.Twice }},
		{"one invented", func(s *scene) { s.show(record("a", "made up")) }, func(v Verdict) Findings { return v.Invented }},
		{"a refused one shown", func(s *scene) { s.show(record("a", "refused")) }, func(v Verdict) Findings { return v.Refuted }},
		{"part of an unknown batch shown", drop("5"), func(v Verdict) Findings { return v.Torn }},
		{"two swapped", func(s *scene) {
			i, j := find(s, "second"), find(s, "third")
			s.records[i], s.records[j] = s.records[j], s.records[i]
		}, func(v Verdict) Findings { return v.Disordered }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := goodScene()
			tc.sabotage(s)
			v := s.judge()
			if v.OK() || tc.want(v).Count != 1 {
				t.Errorf("verdict: %s", v)
			}
			if total := total(v); total != 1 {
				t.Errorf("%d findings, want the one: %s", total, v)
			}
			if example := tc.want(v).Examples; len(example) != 1 || !strings.Contains(v.String(), example[0]) {
				t.Errorf("the example is not printed: %q in %s", example, v)
			}
		})
	}
}

func total(v Verdict) int {
	n := 0
	for _, k := range v.kinds() {
		n += k.found.Count
	}
	return n
}

// A changed byte is a loss and an invention.
func TestAlteredMessageIsFound(t *testing.T) {
	for _, alter := range []func(*Record){
		func(r *Record) { r.Value = []byte("Second") },
		func(r *Record) { r.Key = []byte("b") },
		func(r *Record) { r.Key = nil },
		func(r *Record) { r.Value = nil },
	} {
		s := goodScene()
		alter(&s.records[1])
		if v := s.judge(); v.Lost.Count != 1 || v.Invented.Count != 1 {
			t.Errorf("verdict: %s", v)
		}
	}
}

func TestNothingAcknowledgedProvesNothing(t *testing.T) {
	s := &scene{ledger: NewLedger()}
	s.play(NoStream, 0, Unknown, 1, record("a", "b"))
	if v := s.judge(); v.OK() || !strings.Contains(v.String(), "PROVES NOTHING") {
		t.Errorf("verdict: %s", v)
	}
}

// A classic record is known by what was posted, and by nothing that is only
// like one.
func TestClassicRecord(t *testing.T) {
	classic := `{"senderId":"s","correlationId":"c","value":"v","serverTimestamp":"t"}`
	want := PrintOf(kindClassic, []byte("s"), []byte("v"))
	for value, is := range map[string]bool{
		classic: true,
		`{"senderId":"s","correlationId":"c","value":"v"}`:                             false,
		`{"senderId":"s","correlationId":"c","value":"v","serverTimestamp":"t","x":1}`: false,
		`{"senderId":"t","correlationId":"c","value":"v","serverTimestamp":"t"}`:       false,
		`{"senderId":1}`: false,
	} {
		if got := record("s", value).Print() == want; got != is {
			t.Errorf("%s: classic %v, want %v", value, got, is)
		}
	}
}

// Random histories: what a faultless Postroad would show is good, and any one
// record more or less is not, unless its message was of unknown outcome.
func TestRandomHistories(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 0))
	for range 300 {
		s := &scene{ledger: NewLedger()}
		stream := s.ledger.NewStream()
		certain := make(map[string]bool) // by value: may be neither dropped nor doubled
		for at := range 1 + rng.IntN(20) {
			value := fmt.Sprintf("m%d", rng.IntN(12)) // some twins
			switch rng.IntN(4) {
			case 0:
				s.play(stream, at, Unknown, rng.IntN(2), record("k", value))
				certain[value] = false
			case 1:
				s.play(stream, at, Refused, 0, record("k", value))
			default:
				s.play(stream, at, Acknowledged, 1, record("k", value))
				if _, twin := certain[value]; !twin {
					certain[value] = true
				}
			}
		}
		v := s.judge()
		if v.Acknowledged > 0 != v.OK() {
			t.Fatalf("a faultless history: %s", v)
		}
		for i, r := range s.records {
			if !certain[string(r.Value)] {
				continue
			}
			less := &scene{ledger: s.ledger, records: slices.Delete(slices.Clone(s.records), i, i+1)}
			more := &scene{ledger: s.ledger, records: append(slices.Clone(s.records), r)}
			if v := less.judge(); v.Lost.Count != 1 {
				t.Fatalf("without %s: %s", r.Value, v)
			}
			if v := more.judge(); v.Twice.Count != 1 {
				t.Fatalf("%s once more: %s", r.Value, v)
			}
		}
	}
}

// A judge that overlooks what it is deceived with is found out itself.
func TestPanelFindsBlindJudge(t *testing.T) {
	for name, blind := range map[string]func(*Judge){
		"sees nothing wrong": func(j *Judge) { j.ledger = NewLedger() },
		"takes all for seen": func(j *Judge) {
			for p := range j.ledger.byPrint {
				j.seen[p] = 1
			}
		},
	} {
		s := goodScene()
		good, bad := newPanel(s.ledger), newPanel(s.ledger)
		for _, r := range s.records {
			good.saw(r)
			bad.saw(r)
		}
		if v, err := good.verdict(); err != nil || !v.OK() {
			t.Errorf("%s: a good panel: %v, %s", name, err, v)
		}
		blind(bad.deceived)
		if _, err := bad.verdict(); err == nil {
			t.Errorf("%s: not found", name)
		}
	}
	if _, err := newPanel(NewLedger()).verdict(); err != nil {
		t.Error(err) // nothing was acknowledged, which the verdict says itself
	}
}
