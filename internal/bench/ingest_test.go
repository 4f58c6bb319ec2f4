package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/internal/telemetry"
)

// The whole benchmark, as short as it gets: every figure is there, and the
// directory is left as it was.
func TestIngest(t *testing.T) {
	o := IngestOptions{
		Dir: t.TempDir(), Duration: 250 * time.Millisecond, Rounds: 2,
		Connections: []int{2, 64}, BatchConnections: 2, Samples: 5,
		Peers: thisBinary(t, "plain").path,
	}
	lines := 0
	r, err := Ingest(t.Context(), o, Deps{
		Version:  telemetry.CurrentVersion("test"),
		Progress: func(string, ...any) { lines++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Visible.Sync.Samples != 5 || r.Visible.Answer.P50 <= 0 || r.Visible.Visible.P50 <= 0 || r.Visible.Visible.Samples != 5 {
		t.Errorf("idle: %+v", r.Visible)
	}
	if len(r.Singles) != 2 || lines == 0 {
		t.Fatalf("%d comparisons, %d lines of progress", len(r.Singles), lines)
	}
	for _, c := range slices.Concat(r.Singles, r.Storage, []Comparison{r.Batches}) {
		for i, x := range c.Contenders {
			if x.Rate.Median <= 0 || x.Rate.Min > x.Rate.Max || len(x.Rounds) != 2 || i == 0 && x.Share != (Figure{1, 1, 1}) {
				t.Errorf("%d connections: %+v", c.Connections, x)
			}
		}
	}
	if goals := r.Goals(); len(goals) != 6 { // one of Q1, one of Q2: there is no target at 2 connections
		t.Errorf("goals: %+v", goals)
	}
	for i, n := range o.Connections { // the fake store is exact
		if x, ok := r.Storage[i].find("One store v1"); !ok || x.Rate.Median != float64(1000*n) || x.Syncs != nil {
			t.Errorf("%d writers: %+v", n, x)
		}
	}
	full, _ := r.Singles[1].find(nameFull)
	noop, _ := r.Singles[1].find(nameNoop)
	if got, want := full.Share, ratio(full.Rounds, noop.Rounds); got != want {
		t.Errorf("share %v, want %v", got, want)
	}
	var text bytes.Buffer
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{nameNoop, nameFull, nameAway, nameAlone, nameFiles, nameQueue, nameRaw, "Q1 at 64", "Q2 at 64", "Q3", "Q6", "postroad test", "One store v1"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in the report:\n%s", want, text.String())
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(o.Dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestIngestEndsEarly(t *testing.T) {
	o := DefaultIngestOptions()
	o.Dir = t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Ingest(ctx, o, Deps{}); err == nil {
		t.Error("no error")
	}
	if left, err := filepath.Glob(filepath.Join(o.Dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestIngestOptions(t *testing.T) {
	o := DefaultIngestOptions()
	o.Dir = "."
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	err := IngestOptions{BatchConnections: -1, Only: []string{"everything"}}.Validate()
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{"dir:", "duration:", "rounds:", "connections:", "samples:", "only:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	if _, err := Ingest(t.Context(), IngestOptions{}, Deps{}); err == nil {
		t.Error("Ingest took it")
	}
}

// What is answered with anything but a 2xx is no result.
func TestBlastFailsOnOtherAnswers(t *testing.T) {
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if n++; n > 10 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer s.Close()
	if rate, err := blast(t.Context(), s.URL, "/", "text/plain", []byte("x"), 1, time.Minute); err == nil || !strings.Contains(err.Error(), "answer 503") {
		t.Errorf("rate %v, %v", rate, err)
	}
}

// The raw log keeps what it was given, whole and in some order, and tells its
// callers when it is closed.
func TestRawLog(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l, err := openRawLog(ctx, filepath.Join(t.TempDir(), "raw"))
	if err != nil {
		t.Fatal(err)
	}
	rate, err := hammer(t.Context(), 4, 20*time.Millisecond, func() error { return l.append([]byte("0123456789")) })
	if err != nil || rate <= 0 {
		t.Errorf("rate %v, %v", rate, err)
	}
	cancel()
	<-l.ended
	if err := l.append([]byte("x")); err == nil {
		t.Error("appended to a closed log")
	}
	if l.size == 0 || l.size%10 != 0 {
		t.Errorf("%d bytes written", l.size)
	}
}

func TestRawLogGoesOnToNewFiles(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l, err := openRawLog(ctx, filepath.Join(t.TempDir(), "raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		<-l.ended
	}()
	half := make([]byte, rawFileBytes/2+1)
	for range 3 {
		if err := l.append(half); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(l.dir, "*"))
	if err != nil || len(files) != 1 || filepath.Base(files[0]) != "000003" {
		t.Errorf("files: %v, %v", files, err)
	}
}
