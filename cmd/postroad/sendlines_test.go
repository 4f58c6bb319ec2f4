package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// gathered reads in through readLines and gather.
func gathered(ctx context.Context, in io.Reader, most int, patient bool) <-chan batch {
	lines, batches := make(chan inputLine, linesAhead), make(chan batch)
	go readLines(ctx, in, "test", lines)
	go gather(ctx, lines, most, patient, batches)
	return batches
}

// However lines are cut into batches, together they are the input in order,
// each with its number, and no batch is over a limit.
func TestBatchesAreTheInput(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 20 {
		var in bytes.Buffer
		want := map[int]string{}
		total := rng.IntN(120)
		for n := 1; n <= total; n++ {
			line := ""
			switch rng.IntN(12) {
			case 0: // empty
			case 1:
				line = strings.Repeat("x", rng.IntN(bodyLimit/3))
			default:
				line = fmt.Sprintf(`{"value":%d}`, n)
			}
			if line != "" {
				want[n] = line
			}
			in.WriteString(line + "\n")
		}
		most, patient := 1+rng.IntN(40), rng.IntN(2) == 0
		last, seen := 0, 0
		for b := range gathered(t.Context(), &in, most, patient) {
			lines := strings.Split(strings.TrimSuffix(string(b.body), "\n"), "\n")
			if len(lines) != len(b.lines) || len(lines) > most || len(lines) > 1 && len(b.body) > bodyLimit+len(lines) || b.err != nil {
				t.Fatalf("batch of %d lines, %d numbers and %d bytes, at most %d; error %v", len(lines), len(b.lines), len(b.body), most, b.err)
			}
			for i, n := range b.lines {
				if n <= last || lines[i] != want[n] {
					t.Fatalf("line %d after %d does not fit the input", n, last)
				}
				last = n
				seen++
			}
		}
		if seen != len(want) {
			t.Fatalf("%d lines of %d", seen, len(want))
		}
	}
}

// A line that is there is sent although no second one comes.
func TestTricklingLinesAreNotHeldUp(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	batches := gathered(t.Context(), r, 1000, false)
	for n := 1; n <= 3; n++ {
		if _, err := fmt.Fprintf(w, "{\"value\":%d}\n", n); err != nil {
			t.Fatal(err)
		}
		if b := <-batches; len(b.lines) != 1 || b.lines[0] != n {
			t.Fatalf("batch %+v, want line %d", b.lines, n)
		}
	}
}

func TestInputThatBreaks(t *testing.T) {
	long := strings.Repeat("x", lineLimit+1)
	for name, tc := range map[string]struct {
		in   io.Reader
		want string
	}{
		"long line":   {strings.NewReader("a\n" + long), "read test: line 2 is longer than 4.19 MB"},
		"broken pipe": {io.MultiReader(strings.NewReader("a\n"), brokenReader{}), "read test: after line 1: broken"},
	} {
		var lines int
		var err error
		for b := range gathered(t.Context(), tc.in, 10, true) {
			lines += len(b.lines)
			err = errors.Join(err, b.err)
		}
		if lines != 1 || err == nil || err.Error() != tc.want {
			t.Errorf("%s: %d lines, %v", name, lines, err)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken") }

// An end that is asked for while the input is silent comes at once.
func TestSendLinesStopsWhileItWaits(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	c := sendCommand{Topic: "messages", Batch: 10}
	err := c.sendLines(ctx, streams{out: &out, err: &errs}, &poster{}, r, "test")
	if !errors.Is(err, errStopped) || !strings.Contains(err.Error(), "nothing from line 1 on was sent") {
		t.Errorf("error %v", err)
	}
	if out.String() != "accepted 0 messages (0 B) for topic messages\n" {
		t.Errorf("printed %q", out.String())
	}
}

func TestSummaryNamesWhatIsNotInTheHub(t *testing.T) {
	var s sent
	s.requests, s.messages, s.bytes = 2, 3, 100
	s.note(accepted{Accepted: 2, Stamp: "onprem"}, true)
	s.note(accepted{Accepted: 1, Stamp: "cloud", Messages: []outcome{{State: "dead"}}}, true)
	s.note(accepted{Accepted: 0, Stamp: "onprem"}, false)
	got := s.summary("cars", 2*time.Second)
	want := "accepted 3 messages (100 B) for topic cars at onprem, cloud, 2 requests in 2.0 s, 1.5/s; 2 not in the hub yet"
	if got != want || s.dead != 1 {
		t.Errorf("got %q (%d dead), want %q", got, s.dead, want)
	}
}
