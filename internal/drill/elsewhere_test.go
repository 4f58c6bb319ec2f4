package drill

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// What a gateway leaves unanswered is sent again, under the same key, at another
// gateway and not there.
func TestLoadRepeatsElsewhere(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[string]int) // by idempotency key, at the silent gateway
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if key := r.Header.Get("Idempotency-Key"); key != "" {
			seen[key]++
		}
		panic(http.ErrAbortHandler)
	}))
	defer silent.Close()
	well := &fakeStamp{keys: make(map[string]bool)}
	other := httptest.NewServer(well)
	defer other.Close()
	l := NewLedger()
	load := NewLoad(l, LoadOptions{
		Topic: topic, Connections: 8, ValueBytes: 64, Patience: testLimit, Pace: time.Millisecond, Elsewhere: true, Seed: seed(t),
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- load.Run(ctx, Target{URL: silent.URL, Ordered: true}, Target{URL: other.URL, Ordered: true})
	}()
	repeated := 0
	err := Until(ctx, testLimit, "enough was repeated", func() (bool, error) {
		well.mu.Lock()
		defer well.mu.Unlock()
		mu.Lock()
		defer mu.Unlock()
		repeated = 0
		for key := range seen {
			if well.keys[key] {
				repeated++
			}
		}
		return repeated >= 20, nil
	})
	cancel()
	if runErr := <-done; err != nil || runErr != nil {
		t.Fatal(err, runErr)
	}
	silent.Close() // they wait for requests whose sender has gone
	other.Close()
	for key, n := range seen {
		if n > 1 {
			t.Errorf("%s was sent %d times to the gateway that left it unanswered", key, n)
		}
	}
	if l.repeated() < repeated {
		t.Errorf("the ledger knows of %d repeats, there were %d", l.repeated(), repeated)
	}
	j := l.Judge()
	for _, r := range well.records {
		j.Saw(r)
	}
	if v := j.Verdict(); !v.OK() {
		t.Errorf("verdict: %s", v)
	}
}

// Who waits for what was acknowledged is not content with less.
func TestFollowerMissesWhatIsNotSeen(t *testing.T) {
	l := NewLedger()
	f := &follower{seen: make(map[Print]time.Time)}
	one, two, three := PrintOf(kindPlain, nil, []byte("1")), PrintOf(kindPlain, nil, []byte("2")), PrintOf(kindPlain, nil, []byte("3"))
	for _, p := range []Print{one, two} {
		l.Answered(l.Sending("x", NoStream, 0, p), Acknowledged)
	}
	l.Sending("never answered", NoStream, 0, three)
	by := time.Now()
	f.seen[one] = by
	_, err := f.caughtUp(t.Context(), l, by, 20*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "1 messages are missing") {
		t.Errorf("with one missing: %v", err)
	}
	f.seen[two] = by.Add(time.Second)
	if last, err := f.caughtUp(t.Context(), l, by, testLimit); err != nil || !last.Equal(by.Add(time.Second)) {
		t.Errorf("with both: %v, %v", last, err)
	}
	l.Answered(l.Sending("later", NoStream, 0, three), Acknowledged)
	if _, err := f.caughtUp(t.Context(), l, by, testLimit); err != nil {
		t.Errorf("what was acknowledged later is waited for: %v", err)
	}
}
