package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"postroad/internal/drill"
	"postroad/internal/kafka"
	"postroad/internal/message"
)

// fanout is something that brings messages to many clients, in a process of its
// own on a core of its own.
type fanout interface {
	// where its WebSockets are, and how it speaks.
	where() (address string, s speech)
	pid() int
	// subject names a key to clients.
	subject(key int) string
	// publish gives it a message of so many bytes for each of keys, and returns
	// once they are on their way.
	publish(ctx context.Context, keys []int, bytes int) error
	// inUse is what its heap and its stacks take after a collection, in bytes.
	inUse(ctx context.Context) (int64, error)
	stop() error
}

// node is a stream node with a hub, each a process of the shipped binary, and a
// producer in this process.
type node struct {
	running
	site       *site
	process    *drill.Process
	address    string
	sink       *kafka.Sink
	partitions int32
	sent       uint64
}

// startNode starts a hub and a stream node that reads it, with production settings
// but for addresses, who may read, and profiles, which can ask for a collection.
func startNode(ctx context.Context, binary, dir string, c cores, settings ...string) (_ *node, err error) {
	n := &node{}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.stop())
		}
	}()
	if n.site, err = newSite(ctx, binary, dir); err != nil {
		return nil, err
	}
	hub, err := n.site.startHub(ctx)
	if err != nil {
		return nil, err
	}
	n.onStop("hub", hub.Stop)
	opts := kafka.DefaultOptions()
	opts.Brokers = []string{n.site.hub}
	if n.sink, err = kafka.NewSink(opts, kafka.Deps{}); err != nil {
		return nil, err
	}
	n.onStop("producer", func() error { n.sink.Close(); return nil })
	if n.partitions, err = n.sink.Partitions(ctx, topic); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "stream.yaml")
	if err := drill.StreamConfig(config, n.site.hub, nil, settings, topic); err != nil {
		return nil, err
	}
	if err := c.startOn(func() (err error) {
		n.process, err = n.site.binary.Start(ctx, "stream", "--config", config,
			"--set", "admin.pprof=true", "--set", "log.level=warn", "--set", "http.drain_delay=0s", "--set", "stream.drain.timeout=1s")
		return err
	}); err != nil {
		return nil, err
	}
	n.onStop("stream node", n.process.Stop)
	if n.address, err = n.process.Addresses.StreamHost(); err != nil {
		return nil, err
	}
	return n, n.ready(ctx)
}

// ready waits until the node has caught up with the hub.
func (n *node) ready(ctx context.Context) error {
	var last []byte
	err := drill.Until(ctx, patience, "the node is ready", func() (ok bool, err error) {
		ok, last, err = get(ctx, n.process.Addresses.Admin+"/readyz")
		return ok, err
	})
	if err != nil {
		return fmt.Errorf("%w; it says %.300s", err, last)
	}
	return nil
}

// get asks for a page; ok says that it was answered 200.
func get(ctx context.Context, url string) (ok bool, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, nil, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode == http.StatusOK, body, err
}

func (n *node) where() (string, speech) { return n.address, speech{path: "/connection/websocket"} }
func (n *node) pid() int                { return n.process.PID() }
func (n *node) subject(key int) string  { return topic + "/" + keyName(key) }

func keyName(key int) string { return "key-" + strconv.Itoa(key) }

// benchLane is the lane that the benchmark's messages say they are from.
const benchLane = "01ARZ3NDEKTSV4RRFFQ69G5FAV"

func (n *node) publish(_ context.Context, keys []int, size int) error {
	value := bytes.Repeat([]byte{'x'}, size)
	var pending sync.WaitGroup
	var mu sync.Mutex
	var failed error // guarded by mu
	turn := n.sink.Turn()
	for _, key := range keys {
		n.sent++
		var id message.ID
		binary.BigEndian.PutUint64(id[8:], n.sent)
		m := message.StoredAt(message.Place{Lane: benchLane, Seq: n.sent},
			message.Message{ID: id, Topic: topic, Key: []byte(keyName(key)), Value: value, Time: time.Now()})
		pending.Add(1)
		err := n.sink.Produce(&m, n.sink.Partition(&m.Message, n.partitions), turn, func(_ int64, err error) {
			defer pending.Done()
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, err)
			}
		})
		if err != nil {
			return fmt.Errorf("produce: %w", err)
		}
	}
	pending.Wait()
	mu.Lock()
	defer mu.Unlock()
	return failed
}

func (n *node) inUse(ctx context.Context) (int64, error) {
	// A collection shrinks a stack by half at most.
	for range 3 {
		if ok, body, err := get(ctx, n.process.Addresses.Admin+"/debug/pprof/heap?gc=1"); err != nil || !ok {
			return 0, errors.Join(fmt.Errorf("collection: %.200s", body), err)
		}
	}
	ok, body, err := get(ctx, n.process.Addresses.Admin+"/metrics")
	if err != nil || !ok {
		return 0, errors.Join(fmt.Errorf("metrics: %.200s", body), err)
	}
	heap, err := metric(body, "go_memstats_heap_inuse_bytes")
	if err != nil {
		return 0, err
	}
	stacks, err := metric(body, "go_memstats_stack_inuse_bytes")
	return int64(heap + stacks), err
}

// metric finds a metric without labels on a page of them.
func metric(page []byte, name string) (float64, error) {
	lines := bufio.NewScanner(bytes.NewReader(page))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.Join(fmt.Errorf("no metric %s", name), lines.Err())
}
