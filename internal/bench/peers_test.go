package bench

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/internal/kafka"
	"postroad/internal/message"
)

// fakePeers acts as bench/peers: a store that reaches 1000 records a second for
// each writer, and a producer whose records have 100 bytes and that takes two
// seconds by its clock. In mode "other" it measures something else than asked.
func fakePeers(mode string, args []string, out io.Writer) error {
	f := flag.NewFlagSet("fake", flag.ContinueOnError)
	name, dir := f.String("name", "", ""), f.String("dir", "", "")
	writers, size, seconds := f.Int("writers", 0, ""), f.Int("bytes", 0, ""), f.Float64("seconds", 0, "")
	brokers, from, to, records := f.String("brokers", "", ""), f.String("from", "", ""), f.String("to", "", ""), f.Int("records", 0, "")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	var answer any
	switch args[0] {
	case "list":
		answer = []peerStore{{Name: "one", About: "One store", Version: "v1"}}
	case "store":
		if *name != "one" {
			return fmt.Errorf("no store %q", *name)
		}
		if err := os.Mkdir(*dir, 0o755); err != nil {
			return err
		}
		if mode == "other" {
			*writers++
		}
		answer = map[string]any{"writers": *writers, "bytes": *size, "records": 1000 * float64(*writers) * *seconds, "seconds": *seconds}
	case "produce":
		if mode == "other" {
			*records--
		}
		if *from != topic {
			return fmt.Errorf("produce from %q", *from)
		}
		if err := fakeProduce(*brokers, *to, *records); err != nil {
			return err
		}
		answer = produced{Records: int64(*records), Bytes: int64(100 * *records), Seconds: 2}
	}
	return json.NewEncoder(out).Encode(answer)
}

// fakeProduce gives the hub n records.
func fakeProduce(hub, to string, n int) error {
	opts := kafka.DefaultOptions()
	opts.Brokers = []string{hub}
	s, err := kafka.NewSink(opts, kafka.Deps{})
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Partitions(context.Background(), to); err != nil {
		return err
	}
	done := make(chan error, n)
	for i := range n {
		m := message.StoredAt(message.Place{Lane: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Seq: uint64(i + 1)},
			message.Message{ID: message.ID{1, byte(i)}, Topic: to, Value: []byte("x"), Time: time.Now()})
		if err := s.Produce(&m, int32(i%2), s.Turn(), func(_ int64, err error) { done <- err }); err != nil {
			return err
		}
	}
	var errs []error
	for range n {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

// thisBinary is the test binary, which acts as the peers in the mode.
func thisBinary(t *testing.T, mode string) peers {
	t.Helper()
	t.Setenv(fakePeersEnv, mode)
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return peers{path}
}

func TestPeers(t *testing.T) {
	p, dir := thisBinary(t, "plain"), t.TempDir()
	stores, err := p.stores(t.Context())
	if err != nil || len(stores) != 1 || stores[0].title() != "One store v1" {
		t.Fatalf("%+v, %v", stores, err)
	}
	rate, err := p.store(t.Context(), "one", dir, 3, 250*time.Millisecond)
	if err != nil || rate != 3000 {
		t.Errorf("%v/s, %v", rate, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := p.store(t.Context(), "two", dir, 3, time.Second); err == nil || !strings.Contains(err.Error(), `no store "two"`) {
		t.Errorf("a store that there is not: %v", err)
	}
	if _, err := (peers{filepath.Join(dir, "none")}).stores(t.Context()); err == nil {
		t.Error("a program that is not there has stores")
	}
}

// What was not asked for does not count.
func TestPeersThatMeasureSomethingElse(t *testing.T) {
	if _, err := thisBinary(t, "other").store(t.Context(), "one", t.TempDir(), 3, time.Second); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("%v", err)
	}
}
