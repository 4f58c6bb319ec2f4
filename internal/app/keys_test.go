package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/gateway"
	"postroad/internal/message"
	"postroad/internal/queue"
	"postroad/internal/wal"
)

// keyedRequest is a POST under a key of the client's, with what was answered.
type keyedRequest struct {
	path, contentType, key, body string
	// answers are those of 2xx, in order; unknown says that one may be stored
	// beside them.
	answers []keyedAnswer
	unknown bool
}

type keyedAnswer struct {
	status        int
	body, receipt string
	replayed      bool
}

// keyedRequests are what one process is asked.
func keyedRequests(life string) (all []*keyedRequest) {
	for i := range 3 {
		key := fmt.Sprint(life, "-", i)
		all = append(all,
			&keyedRequest{path: "/ServiceAPI/message", contentType: "application/json", key: "classic-" + key, body: fmt.Sprintf(`{"senderId":"s","value":"%s"}`, key)},
			&keyedRequest{path: "/v1/topics/t/messages?key=k", contentType: "text/plain", key: "plain-" + key, body: key},
			&keyedRequest{path: "/v1/topics/t/messages", contentType: "application/x-ndjson", key: "lines-" + key, body: fmt.Sprintf("{\"value\":\"%s\"}\n{\"value\":2,\"id\":\"%s\"}\n", key, key)},
			&keyedRequest{path: "/v1/topics/t/messages", contentType: "application/x-ndjson", key: "ids-" + key, body: fmt.Sprintf("{\"value\":\"%s\",\"id\":\"a\"}\n{\"value\":2,\"id\":\"%s\"}\n", key, key)},
		)
	}
	return all
}

// noTracker knows nothing.
type noTracker struct{}

func (noTracker) Await(context.Context, message.Place, int) []message.Outcome { return nil }
func (noTracker) Locate(context.Context, message.Receipt) (message.Outcome, error) {
	return message.Outcome{}, message.ErrNotFound
}

func (noTracker) Scan(context.Context, message.ID) (message.Receipt, message.Outcome, error) {
	return message.Receipt{}, message.Outcome{}, message.ErrNotFound
}

// keyedLife is a process with a gateway on a queue.
type keyedLife struct {
	queue   *queue.Queue
	gateway *gateway.Gateway
	handler http.Handler
}

// lieAbout alters what the gateway is told of earlier keys; nil does not.
type lieAbout func(fsys durable.FS, honest gateway.KeySource) gateway.KeySource

// openLife opens a queue and a gateway, the queue again where that fails.
func openLife(fsys durable.FS, lie lieAbout) (l keyedLife, stop func(), err error) {
	o := queue.DefaultOptions()
	o.Dir, o.SegmentBytes, o.ReserveBytes = "queue", 64<<10, 0
	o.TakeoverMargin = time.Second
	began, log := time.Now(), slog.New(slog.DiscardHandler)
	for range 3 {
		l.queue, err = queue.Open(o, queue.Deps{
			FS: fsys, Log: log, Now: time.Now, Elapsed: func() time.Duration { return time.Since(began) },
		})
		if err == nil {
			break
		}
	}
	if err != nil {
		return l, nil, err
	}
	var source gateway.KeySource = keys{l.queue}
	if lie != nil {
		source = lie(fsys, source)
	}
	if l.gateway, err = gateway.New(gateway.DefaultOptions(), gateway.Deps{
		Store: l.queue, Tracker: noTracker{}, Keys: source, Log: log, Identity: gateway.Identity{Stamp: "s"},
	}); err != nil {
		return l, nil, err
	}
	l.handler = l.gateway.Handler()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = l.queue.Run(ctx) })
	return l, func() {
		cancel()
		running.Wait()
		_ = l.queue.Close()
	}, nil
}

// post sends a request, with another body where one is given.
func (l keyedLife) post(r *keyedRequest, other string) keyedAnswer {
	body := r.body
	if other != "" {
		body = other
	}
	req := httptest.NewRequest(http.MethodPost, r.path, strings.NewReader(body))
	req.Header.Set("Content-Type", r.contentType)
	req.Header.Set("Idempotency-Key", r.key)
	w := httptest.NewRecorder()
	l.handler.ServeHTTP(w, req)
	return keyedAnswer{
		status: w.Code, body: w.Body.String(), receipt: w.Header().Get("Postroad-Receipt"),
		replayed: w.Header().Get("Idempotent-Replayed") == "true",
	}
}

// run asks for all requests, waits now and then, repeats some, and stops.
func (l keyedLife) run(requests []*keyedRequest) {
	for i, r := range requests {
		a := l.post(r, "")
		switch {
		case a.status < 300:
			r.answers = append(r.answers, a)
		case a.status == http.StatusGatewayTimeout:
			r.unknown = true
		}
		if i%4 == 1 {
			<-time.After(1300 * time.Millisecond)
		}
		if i%5 == 2 {
			if a := l.post(r, ""); a.status < 300 {
				r.answers = append(r.answers, a)
			}
		}
	}
}

// receipts lists the receipts of an answer.
func (a keyedAnswer) receipts() (all []message.Receipt, err error) {
	texts := []string{a.receipt}
	if a.receipt == "" {
		var answer struct {
			IDs []string `json:"ids"`
		}
		if err := json.Unmarshal([]byte(a.body), &answer); err != nil {
			return nil, err
		}
		texts = answer.IDs
	}
	for _, text := range texts {
		r, err := message.ParseReceipt(text)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// groups reads every valid group there is, acknowledged or not.
func groups(fsys durable.FS, each func(lane string, first uint64, msgs []message.Message)) error {
	lanes, err := fsys.ReadDir("queue/lanes")
	if err != nil {
		return err
	}
	for _, lane := range lanes {
		for n := uint64(1); ; n++ {
			seg, err := wal.OpenReader(fsys, path.Join("queue/lanes", lane.Name(), wal.Name(n)))
			if err != nil {
				break
			}
			for g, err := seg.Next(); err == nil; g, err = seg.Next() {
				msgs, err := g.Messages()
				if err != nil {
					return err
				}
				each(lane.Name(), g.First, msgs)
			}
			seg.Close()
		}
	}
	return nil
}

// check asks a new process for the same requests again, and then cuts the power:
// what was answered has to be there.
func checkKeys(disk *faultfs.FS, requests []*keyedRequest, lie lieAbout) error {
	l, stop, err := openLife(disk, lie)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer stop()
	l.gateway.LoadKeys(context.Background())
	var promised []message.Receipt
	for _, r := range requests {
		a := l.post(r, "")
		receipts, err := r.judge(a)
		if err != nil {
			return fmt.Errorf("key %s: %w", r.key, err)
		}
		promised = append(promised, receipts...)
		if b := l.post(r, strings.Replace(r.body, r.key[len(r.key)-3:], "other", 1)); b.status != http.StatusUnprocessableEntity {
			return fmt.Errorf("key %s with another body: %d %s", r.key, b.status, b.body)
		}
		if b := l.post(r, ""); b.body != a.body || b.receipt != a.receipt || !b.replayed {
			return fmt.Errorf("key %s: %s, and then %s", r.key, a.body, b.body)
		}
	}
	there := map[message.Receipt]bool{}
	if err := groups(disk.RebootBare(), func(lane string, first uint64, msgs []message.Message) {
		for i, m := range msgs {
			there[message.Receipt{ID: m.ID, Place: message.Place{Lane: lane, Seq: first + uint64(i)}}] = true
		}
	}); err != nil {
		return err
	}
	for _, r := range promised {
		if !there[r] {
			return fmt.Errorf("answered with %s, which is not there after a power cut", r)
		}
	}
	return nil
}

// judge holds the answer to a repeat against those before.
func (r *keyedRequest) judge(a keyedAnswer) ([]message.Receipt, error) {
	if a.status >= 300 {
		return nil, fmt.Errorf("a repeat is answered with %d %s", a.status, a.body)
	}
	receipts, err := a.receipts()
	if err != nil || len(r.answers) == 0 {
		return receipts, err
	}
	first := r.answers[0]
	if a.replayed && !r.unknown && (a.body != first.body || a.receipt != first.receipt || a.status != first.status) {
		return nil, fmt.Errorf("replayed as %d %s, the first answer was %d %s", a.status, a.body, first.status, first.body)
	}
	before, err := first.receipts()
	if err != nil {
		return nil, err
	}
	for i := range receipts {
		if receipts[i].ID != before[i].ID {
			return nil, fmt.Errorf("message %d has dedupe id %s, had %s", i, receipts[i].ID, before[i].ID)
		}
	}
	return receipts, nil
}

// tryKeys runs the script with a fault and checks what may be left of it. It
// returns the number of operations.
func tryKeys(t *testing.T, seed uint64, k int, fault *faultfs.Fault, lie lieAbout) (ops int, failures []string) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(seed)
		if fault != nil {
			disk.At(k, *fault)
		}
		requests := keyedRequests("first")
		if l, stop, err := openLife(disk, nil); err == nil {
			l.run(requests)
			stop()
		}
		ops = disk.Ops()
		for name, left := range map[string]*faultfs.FS{"process killed": disk.Restart(), "power cut": disk.Reboot(), "power cut that loses all it may": disk.RebootBare()} {
			var again []*keyedRequest
			for _, r := range requests {
				c := *r
				again = append(again, &c)
			}
			if err := checkKeys(left, again, lie); err != nil {
				what := "no fault"
				if trace := disk.Trace(); fault != nil && k < len(trace) {
					what = trace[k].String()
				}
				failures = append(failures, fmt.Sprintf("seed %d, operation %d: %s, then %s: %v", seed, k, what, name, err))
			}
		}
	})
	return ops, failures
}

// TestRepeatsAfterACrash ends or fails a process at operations of the disk, and
// asks its successor for the same again. Some operations are tried in each run,
// by the seed; by TestProofRepeats each.
func TestRepeatsAfterACrash(t *testing.T) { repeatAfterCrashes(t, 12) }

func repeatAfterCrashes(t *testing.T, step uint64) {
	seed := uint64(time.Now().UnixNano() % 1e6)
	ops, failures := tryKeys(t, seed, 0, nil, nil)
	tried := 0
	for k := range ops {
		for i, fault := range faultfs.Faults() {
			if (uint64(k*len(faultfs.Faults())+i)+seed)%step != 0 || len(failures) > 3 {
				continue
			}
			tried++
			_, failed := tryKeys(t, seed, k, &fault, nil)
			failures = append(failures, failed...)
		}
	}
	t.Logf("%d operations, %d faults tried, seed %d", ops, tried, seed)
	for _, f := range failures {
		t.Error(f)
	}
}

// altered is a key source of which each key is altered.
type altered struct {
	gateway.KeySource
	by func(*gateway.StoredKey)
}

func (a altered) Keys(ctx context.Context, since time.Time, yield func(gateway.StoredKey) error) error {
	return a.KeySource.Keys(ctx, since, func(k gateway.StoredKey) error {
		a.by(&k)
		return yield(k)
	})
}

// wholeGroups takes every group that is whole for acknowledged.
type wholeGroups struct{ fsys durable.FS }

func (w wholeGroups) Keys(_ context.Context, _ time.Time, yield func(gateway.StoredKey) error) (err error) {
	return errors.Join(groups(w.fsys, func(lane string, first uint64, msgs []message.Message) {
		err = errors.Join(err, yield(gateway.StoredKey{
			Hash: msgs[0].KeyHash, Digest: message.GroupDigest(msgs), ID: msgs[0].ID, Time: msgs[0].Time,
			First: message.Place{Lane: lane, Seq: first},
		}))
	}), err)
}

// TestWrongKeysAreCaught: the check above finds each kind of wrong answer.
func TestWrongKeysAreCaught(t *testing.T) {
	alter := func(by func(*gateway.StoredKey)) lieAbout {
		return func(_ durable.FS, honest gateway.KeySource) gateway.KeySource { return altered{honest, by} }
	}
	for name, lie := range map[string]lieAbout{
		"another digest": alter(func(k *gateway.StoredKey) { k.Digest[0]++ }),
		"another seq":    alter(func(k *gateway.StoredKey) { k.First.Seq++ }),
		"another time":   alter(func(k *gateway.StoredKey) { k.Time = k.Time.Add(time.Second) }),
	} {
		if _, failures := tryKeys(t, 1, 0, nil, lie); len(failures) == 0 {
			t.Errorf("%s: not caught", name)
		}
	}
	found := 0
	whole := func(fsys durable.FS, _ gateway.KeySource) gateway.KeySource { return wholeGroups{fsys} }
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		requests := keyedRequests("first")
		l, stop, err := openLife(disk, nil)
		if err != nil {
			t.Fatal(err)
		}
		disk.When(faultfs.Match{Kind: faultfs.OpSync, Name: "*.seg", Nth: 5}, faultfs.CrashBefore())
		l.run(requests)
		stop()
		for _, lie := range []lieAbout{whole, nil} {
			if err := checkKeys(disk.Restart(), requests, lie); err != nil {
				t.Log(err)
				found++
			} else if lie != nil {
				t.Error("keys of groups that nobody acknowledged: not caught")
			}
		}
	})
	if found != 1 {
		t.Errorf("%d of the two, the sabotaged and the honest one, were found wrong", found)
	}
}

// TestRepeatsAfterACleanRestart are replayed, each and every one.
func TestRepeatsAfterACleanRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		requests := keyedRequests("first")
		for life := range 3 {
			l, stop, err := openLife(disk, nil)
			if err != nil {
				t.Fatal(err)
			}
			l.gateway.LoadKeys(t.Context())
			for _, r := range requests {
				a := l.post(r, "")
				if r.answers = append(r.answers, a); a.replayed != (life > 0) || a.body != r.answers[0].body {
					t.Fatalf("life %d, key %s: replayed %v, %s, at first %s", life, r.key, a.replayed, a.body, r.answers[0].body)
				}
			}
			stop()
			disk = disk.RebootBare()
		}
	})
}
