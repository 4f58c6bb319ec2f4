package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeStamp stands for gateway, queue, hub and reader at once, in memory. By
// default it is faultless: it stores, then answers, and shows what was sent
// twice under one idempotency key once.
type fakeStamp struct {
	mu      sync.Mutex
	n       int
	keys    map[string]bool
	records []Record

	// fault, where set, is asked for each request, counted from 1.
	fault func(n int) fault
}

// fault is what a fakeStamp does wrong with one request.
type fault int

const (
	none fault = iota
	// cut answers nothing, after it stored; cutBefore before it stored. Both
	// are no fault of the promise.
	cut
	cutBefore
	// refuse answers 503 and stores nothing, which is no fault either.
	refuse
	// unstored answers 202 and stores nothing.
	unstored
	// doubled stores twice.
	doubled
	// refuted answers 503 and stores.
	refuted
	// torn stores only the first of several messages, and answers nothing.
	torn
	// late stores in front of all others what comes after.
	late
)

func (f *fakeStamp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	records := fakeRecords(r, body)
	switch f.take(r.Header.Get("Idempotency-Key"), records) {
	case cut, cutBefore, torn:
		panic(http.ErrAbortHandler)
	case refuse, refuted:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

// take stores the records, as far as the fault lets it.
func (f *fakeStamp) take(key string, records []Record) fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	todo := none
	if f.fault != nil {
		todo = f.fault(f.n)
	}
	if todo == cutBefore || todo == refuse || todo == unstored || key != "" && f.keys[key] {
		return todo
	}
	if key != "" {
		f.keys[key] = true
	}
	switch todo {
	case torn:
		records = records[:1]
	case doubled:
		records = append(records, records...)
	case late:
		f.records = append(records, f.records...)
		return todo
	}
	f.records = append(f.records, records...)
	return todo
}

// fakeRecords are the records of a request, as a gateway makes them.
func fakeRecords(r *http.Request, body []byte) []Record {
	var key []byte
	if r.URL.Query().Has("key") {
		key = []byte(r.URL.Query().Get("key"))
	}
	switch {
	case r.URL.Path == "/ServiceAPI/message":
		var call struct{ SenderID, Value string }
		if json.Unmarshal(body, &call) != nil {
			return nil
		}
		id, at := "an id", "a time"
		value, err := json.Marshal(classicRecord{&call.SenderID, &id, &call.Value, &at})
		if err != nil {
			return nil
		}
		return []Record{{Key: []byte(call.SenderID), Value: value}}
	case r.Header.Get("Content-Type") == "application/x-ndjson":
		var records []Record
		for line := range bytes.Lines(body) {
			var l struct {
				Key   *string
				Value string
			}
			if json.Unmarshal(line, &l) != nil {
				return nil
			}
			record := Record{Value: []byte(l.Value)}
			if l.Key != nil {
				record.Key = []byte(*l.Key)
			}
			records = append(records, record)
		}
		return records
	}
	return []Record{{Key: key, Value: body}}
}

// loadFake sends to a fake stamp until it has had so many requests, and judges.
func loadFake(t *testing.T, f *fakeStamp, requests int) Verdict {
	t.Helper()
	f.keys = make(map[string]bool)
	s := httptest.NewServer(f)
	defer s.Close()
	l := NewLedger()
	load := NewLoad(l, LoadOptions{
		Topic: topic, Classic: true, Connections: 8, ValueBytes: 64, Patience: testLimit, Seed: seed(t),
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- load.Run(ctx, Target{URL: s.URL, Ordered: true}) }()
	err := Until(ctx, testLimit, "enough was sent", func() (bool, error) { return l.Requests() >= requests, nil })
	cancel()
	if runErr := <-done; err != nil || runErr != nil {
		t.Fatal(err, runErr)
	}
	// Requests whose sender has gone may still be at work in the server; Close
	// waits for them, and only then is it settled what was stored.
	s.Close()
	j := l.Judge()
	for _, r := range f.records {
		j.Saw(r)
	}
	return j.Verdict()
}

// Lost connections, refusals and repeats are not held against a stamp that
// keeps its promise.
func TestFaultlessStampIsJudgedGood(t *testing.T) {
	v := loadFake(t, &fakeStamp{fault: func(n int) fault {
		switch {
		case n%23 == 0:
			return cut
		case n%29 == 0:
			return cutBefore
		case n%31 == 0:
			return refuse
		}
		return none
	}}, 3000)
	if !v.OK() || v.Unknown == 0 || v.UnknownSeen == 0 || v.UnknownSeen == v.Unknown || v.Refused == 0 {
		t.Errorf("verdict: %s", v)
	}
}

// Each way to break the promise is found under load, as what it is.
func TestFaultyStampIsFound(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault fault
		every int
		want  func(Verdict) Findings
	}{
		{"answered before it is stored, then killed", unstored, 500, func(v Verdict) Findings { return v.Lost }},
		{"stored twice", doubled, 500, func(v Verdict) Findings { return v.Twice }},
		{"refused and stored", refuted, 500, func(v Verdict) Findings { return v.Refuted }},
		{"stored in part", torn, 20, func(v Verdict) Findings { return v.Torn }},
		{"stored out of order", late, 500, func(v Verdict) Findings { return v.Disordered }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := loadFake(t, &fakeStamp{fault: func(n int) fault {
				if n%tc.every == 0 {
					return tc.fault
				}
				return none
			}}, 3000)
			if v.OK() || tc.want(v).Count == 0 {
				t.Errorf("verdict: %s", v)
			}
			// Where a torn request is sent again, and taken for stored, the
			// rest of it is lost as well; a twin that is refused and stored is
			// its twin seen twice.
			if others := total(v) - tc.want(v).Count; others > 0 && tc.fault != torn && tc.fault != refuted {
				t.Errorf("%d other findings: %s", others, v)
			}
		})
	}
}

// A server that takes requests and never answers gives outcomes unknown, and
// the load ends all the same.
func TestLoadEndsWithoutAnswers(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer s.Close()
	defer close(release)
	l := NewLedger()
	load := NewLoad(l, LoadOptions{Topic: topic, Connections: 4, Patience: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- load.Run(ctx, Target{URL: s.URL}) }()
	err := Until(ctx, testLimit, "all connections wait", func() (bool, error) { return load.UnderWay() == 4, nil })
	cancel()
	if runErr := <-done; err != nil || runErr != nil {
		t.Fatal(err, runErr)
	}
	if v := l.Judge().Verdict(); v.Unknown == 0 || v.Unknown != v.Sent || load.Acknowledged() > 0 {
		t.Errorf("verdict: %s", v)
	}
}

func TestLoadRefusesBadTarget(t *testing.T) {
	if err := NewLoad(NewLedger(), LoadOptions{Connections: 1}).Run(t.Context(), Target{URL: "nowhere"}); err == nil {
		t.Error("taken")
	}
}

func TestJudged(t *testing.T) {
	for status, want := range map[int]Outcome{
		0: Unknown, 200: Acknowledged, 202: Acknowledged, 299: Acknowledged, 301: Unknown, 400: Refused, 408: Refused, 409: Refused,
		413: Refused, 429: Refused, 500: Unknown, 502: Unknown, 503: Refused, 504: Unknown, 507: Refused,
	} {
		if got := Judged(status); got != want {
			t.Errorf("%d: %d, want %d", status, got, want)
		}
	}
}

func TestReadTail(t *testing.T) {
	text := `{"topic":"t","partition":1,"offset":7,"key":"k","value":"v"}
{"partition":0,"offset":8,"key":null,"key_base64":"/w==","value":"","new":1}
{"partition":0,"offset":9,"key":null,"value":null,"value_base64":""}
`
	want := []Record{
		{Partition: 1, Offset: 7, Key: []byte("k"), Value: []byte("v")},
		{Offset: 8, Key: []byte{0xff}, Value: []byte{}},
		{Offset: 9, Value: []byte{}},
	}
	var got []Record
	if err := readTail(strings.NewReader(text), func(r Record) error { got = append(got, r); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d records", len(got))
	}
	for i := range want {
		if got[i].Print() != want[i].Print() || got[i].Partition != want[i].Partition || got[i].Offset != want[i].Offset {
			t.Errorf("line %d: %+v, want %+v", i+1, got[i], want[i])
		}
	}
	for _, bad := range []string{"x\n", "{}\n", `{"partition":0,"offset":1,"key":"k","key_base64":"aw=="}` + "\n", `{"partition":0,"offset":1,"value_base64":"?"}` + "\n", `{"partition":0,"offset":1}`} {
		if err := readTail(strings.NewReader(bad), func(Record) error { return nil }); err == nil {
			t.Errorf("taken: %s", bad)
		}
	}
}

func FuzzReadTail(f *testing.F) {
	f.Add([]byte(`{"partition":1,"offset":7,"key":"k","value_base64":"dg=="}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = readTail(bytes.NewReader(text), func(r Record) error {
			if r.Partition < 0 || r.Offset < 0 {
				t.Errorf("%+v", r)
			}
			r.Print()
			return nil
		})
	})
}
