package sdk

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"postroad/internal/drill"
	"postroad/test/binary"
)

const topic = "sdk"

// world is a hub, two stamps that forward to it, stream nodes, and a balancer
// that is the nodes' one address.
type world struct {
	t        *testing.T
	binary   *drill.Binary
	brokers  string
	stamps   map[string]*drill.Process
	balancer *drill.Balancer
	config   string
	// secret is the file of the key that tokens are signed with.
	secret string
	// node is the one that runs; nil where none does.
	node *drill.Process
	http *http.Client
	sent int
}

// newWorld starts all but a stream node. brokers is a real Kafka; "" starts the
// embedded hub. node is the binary of stream nodes, "" the one that is tested.
func newWorld(t *testing.T, brokers string) *world {
	t.Helper()
	w := &world{
		t: t, binary: &drill.Binary{Path: built.Path(t), Dir: t.TempDir(), Plain: true}, brokers: brokers,
		stamps: make(map[string]*drill.Process), http: &http.Client{Transport: &http.Transport{}},
	}
	t.Cleanup(w.http.CloseIdleConnections)
	if brokers == "" {
		hub := w.start("hub", "--listen", "127.0.0.1:0", "--data", filepath.Join(w.binary.Dir, "hub"), "--partitions", "2")
		w.brokers = hub.Addresses.Hub
	}
	var gateways []string
	for _, name := range []string{"east", "west"} {
		w.stamps[name] = w.start("stamp", "--set", "stamp.name="+name, "--set", "admin.listen=127.0.0.1:0", "--set", "http.listen=127.0.0.1:0",
			"--set", "queue.dir="+filepath.Join(w.binary.Dir, name), "--set", "hub.brokers="+w.brokers)
		gateways = append(gateways, w.gateway(name))
	}
	w.config, w.secret = filepath.Join(w.binary.Dir, "stream.yaml"), filepath.Join(w.binary.Dir, "secret")
	write(t, w.secret, []byte(rand.Text()+rand.Text()))
	// The ring holds next to nothing of what clients will have missed.
	err := drill.StreamConfig(w.config, w.brokers, gateways, []string{"ring: {max_records: 500}"}, topic)
	if err != nil {
		t.Fatal(err)
	}
	if w.balancer, err = drill.NewBalancer(t.Context(), binary.Seed(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.balancer.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// start starts a process that is stopped at the end.
func (w *world) start(args ...string) *drill.Process {
	w.t.Helper()
	p, err := w.binary.Start(w.t.Context(), args...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		select {
		case <-p.Ended():
			return
		default:
		}
		if err := p.Stop(); err != nil {
			w.t.Error(err)
		}
		if w.t.Failed() {
			w.t.Logf("the log of %s ends:\n%s", args[0], p.LogTail())
		}
	})
	return p
}

func (w *world) gateway(stamp string) string { return w.stamps[stamp].Addresses.Gateways[stamp] }

// startNode starts a stream node and sends clients there.
func (w *world) startNode() {
	w.t.Helper()
	w.node = w.start("stream", "--config", w.config, "--set", "auth.keys=hmac="+w.secret, "--set", "auth.policies=* read */*")
	host, err := w.node.Addresses.StreamHost()
	if err != nil {
		w.t.Fatal(err)
	}
	w.balancer.Set(host)
}

// killNode kills the node. No other runs.
func (w *world) killNode() {
	w.t.Helper()
	if err := w.node.Kill(); err != nil {
		w.t.Fatal(err)
	}
	w.balancer.Set()
}

// message is what a test sends.
type message struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// batch is a request: its messages, and the key that it is known by wherever it
// is sent.
type batch struct {
	key  string
	body []byte
	n    int
}

func (w *world) batch(messages ...message) batch {
	w.t.Helper()
	var body bytes.Buffer
	lines := json.NewEncoder(&body)
	for _, m := range messages {
		if err := lines.Encode(m); err != nil {
			w.t.Fatal(err)
		}
	}
	w.sent++
	return batch{fmt.Sprintf("%x %d", sha256.Sum256([]byte(w.t.Name())), w.sent), body.Bytes(), len(messages)}
}

// post sends a batch to a stamp, which must acknowledge it.
func (w *world) post(stamp string, b batch) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.gateway(stamp)+"/v1/topics/"+topic+"/messages", bytes.NewReader(b.body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Idempotency-Key", `"`+b.key+`"`)
	w.do(req, http.StatusAccepted)
}

// put sends one message of any bytes.
func (w *world) put(stamp, key string, value []byte) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost,
		w.gateway(stamp)+"/v1/topics/"+topic+"/messages?key="+url.QueryEscape(key), bytes.NewReader(value))
	if err != nil {
		w.t.Fatal(err)
	}
	w.do(req, http.StatusAccepted)
}

func (w *world) do(req *http.Request, want int) []byte {
	w.t.Helper()
	resp, err := w.http.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		w.t.Fatalf("%s: %s %v: %s", req.URL, resp.Status, err, text)
	}
	return text
}

// drain waits until all that a stamp has is in the hub.
func (w *world) drain(stamp string) {
	w.t.Helper()
	if err := w.stamps[stamp].WaitDrained(w.t.Context(), patience); err != nil {
		w.t.Fatal(err)
	}
}

// hub are the messages that a reader of the hub sees, by partition and in
// order, and how many records it does not see because they are duplicates.
func (w *world) hub(ctx context.Context) (shown map[int32][]drill.Record, duplicates int) {
	w.t.Helper()
	shown = make(map[int32][]drill.Record)
	ends := make(map[int32]int64)
	n := 0
	err := w.binary.Tail(ctx, w.brokers, topic, func(r drill.Record) error {
		shown[r.Partition] = append(shown[r.Partition], r)
		ends[r.Partition] = max(ends[r.Partition], r.Offset+1)
		n++
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		w.t.Fatal(err)
	}
	for _, end := range ends {
		duplicates += int(end)
	}
	return shown, duplicates - n
}

// partitionOf is where the messages of a key stand.
func (w *world) partitionOf(shown map[int32][]drill.Record, key string) int32 {
	w.t.Helper()
	for p, records := range shown {
		for _, r := range records {
			if string(r.Key) == key {
				return p
			}
		}
	}
	w.t.Fatalf("no message of key %q in the hub", key)
	return -1
}

// numbered is a value that no other message has, in JSON as every SDK prints it
// again.
func numbered(key string, n, size int) message {
	id := fmt.Sprintf("%s %d", key, n)
	return message{key, fmt.Sprintf(`{"id":%q,"pad":%q}`, id, strings.Repeat("x", size))}
}
