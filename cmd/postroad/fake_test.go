package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"postroad/internal/httpserve"
	"postroad/internal/hub"
	"postroad/internal/kafka"
	"postroad/internal/message"
)

// fakeGateway accepts messages as a gateway does, with faults in between. Each
// line of its script is one answer; after the last it accepts everything:
//
//	accept                    store and answer
//	lose                      store, and cut the connection instead of answering
//	cut                       cut the connection without storing
//	refuse STATUS NAME [line=N] [after=SECONDS] DETAIL...
//	page STATUS TEXT...       answer what no gateway would; \x1b and the like are escapes
//
// What it stored is in the file "stored", one body after the other, and what
// it was asked in "requests".
type fakeGateway struct {
	mu      sync.Mutex
	script  []string          // guarded by mu; what is left of it
	answers map[string][]byte // guarded by mu; by idempotency key
	dir     string
	log     func(format string, args ...any)
}

// startGateway starts a fakeGateway and points POSTROAD_URL to it.
func startGateway(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: gateway [FILE]")
	}
	g := &fakeGateway{answers: map[string][]byte{}, dir: ts.MkAbs("."), log: ts.Logf}
	if len(args) == 1 {
		g.script = strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n")
	}
	server := httptest.NewServer(g)
	ts.Defer(server.Close)
	ts.Setenv("POSTROAD_URL", server.URL)
	ts.Setenv("GATEWAY", strings.TrimPrefix(server.URL, "http://"))
}

func (g *fakeGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.append("requests", fmt.Sprintf("%s %s\n", r.Method, r.URL))
	for _, name := range []string{"Content-Type", "Prefer", "Postroad-Attempt", "Authorization"} {
		if v := r.Header.Get(name); v != "" {
			g.append("requests", fmt.Sprintf("  %s: %s\n", name, v))
		}
	}
	step := "accept"
	if len(g.script) > 0 {
		step, g.script = g.script[0], g.script[1:]
	}
	verb, rest, _ := strings.Cut(step, " ")
	switch verb {
	case "accept":
		g.accept(w, r, body)
	case "lose":
		g.accept(httptest.NewRecorder(), r, body)
		panic(http.ErrAbortHandler)
	case "cut":
		panic(http.ErrAbortHandler)
	case "refuse":
		refuse(w, rest)
	case "page":
		status, quoted, _ := strings.Cut(rest, " ")
		text, err := strconv.Unquote(`"` + quoted + `"`)
		if err != nil {
			panic("bad script: " + step)
		}
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(number(status))
		fmt.Fprint(w, text)
	default:
		panic("bad script: " + step)
	}
}

// accept stores a body once under its key, and answers the same each time.
func (g *fakeGateway) accept(w http.ResponseWriter, r *http.Request, body []byte) {
	key := r.Header.Get("Idempotency-Key")
	if len(key) < 3 || key[0] != '"' {
		panic("a request without an idempotency key")
	}
	stored, again := g.answers[key]
	if again {
		w.Header().Set("Idempotent-Replayed", "true")
	} else {
		g.append("stored", string(body)+"\n")
		stored = g.answer(r, body)
		g.answers[key] = stored
	}
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/ServiceAPI/message" {
		w.Header().Set("Postroad-Receipt", receipt(len(g.answers)))
	} else if r.Header.Get("Prefer") == "" {
		w.WriteHeader(http.StatusAccepted)
	}
	w.Write(stored)
}

func receipt(n int) string {
	return fmt.Sprintf("00000000-0000-0000-0000-%012d.01ARZ3NDEKTSV4RRFFQ69G5FAV.%d", n, n)
}

func (g *fakeGateway) answer(r *http.Request, body []byte) []byte {
	if r.URL.Path == "/ServiceAPI/message" {
		return []byte(`{"senderId":"s","correlationId":"c","value":"v","success":true}`)
	}
	n := 1
	if r.Header.Get("Content-Type") == ndjsonType {
		n = bytes.Count(body, []byte("\n")) + 1 - strings.Count(string(body[max(0, len(body)-1):]), "\n")
	}
	type settled struct {
		ID        string `json:"id"`
		State     string `json:"state"`
		Partition int    `json:"partition"`
		Offset    int    `json:"offset"`
	}
	out := struct {
		Accepted int       `json:"accepted"`
		IDs      []string  `json:"ids"`
		Stamp    string    `json:"stamp"`
		Lane     string    `json:"lane"`
		Seq      int       `json:"seq"`
		Messages []settled `json:"messages,omitempty"`
	}{Accepted: n, Stamp: "onprem", Lane: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Seq: 1}
	for i := range n {
		out.IDs = append(out.IDs, receipt(len(g.answers)+1+i))
		if r.Header.Get("Prefer") != "" {
			out.Messages = append(out.Messages, settled{out.IDs[i], "forwarded", 3, 40 + i})
		}
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	return b
}

// refuse answers with a problem.
func refuse(w http.ResponseWriter, text string) {
	words := strings.Fields(text)
	p := httpserve.Problem{Status: number(words[0]), Name: words[1], Title: http.StatusText(number(words[0]))}
	words = words[2:]
	for len(words) > 0 {
		if value, ok := strings.CutPrefix(words[0], "line="); ok {
			p.Extra = map[string]any{"line": number(value)}
		} else if value, ok := strings.CutPrefix(words[0], "after="); ok {
			p.RetryAfter = time.Duration(number(value)) * time.Second
		} else {
			break
		}
		words = words[1:]
	}
	p.Detail = strings.Join(words, " ")
	p.Write(w)
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("bad script: " + err.Error())
	}
	return n
}

// append adds to a file of the script's directory.
func (g *fakeGateway) append(file, text string) {
	f, err := os.OpenFile(g.dir+"/"+file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		g.log("write %s: %v", file, err)
	}
}

// startAdmin serves a file as the status of an admin listener and sets ADMIN.
// In the file {{AGO n}} and {{IN n}} stand for the time n seconds ago and from
// now.
func startAdmin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: admin FILE")
	}
	text := ts.ReadFile(args[0])
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/admin/v1/status" {
			httpserve.Problem{Name: "not-found", Status: 404, Title: "not found", Detail: r.URL.Path}.Write(w)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, withTimes(text, time.Now()))
	}))
	ts.Defer(server.Close)
	ts.Setenv("ADMIN", server.URL)
}

func withTimes(text string, now time.Time) string {
	for unit, mark := range map[time.Duration]string{-time.Second: "{{AGO ", time.Second: "{{IN "} {
		for {
			before, rest, found := strings.Cut(text, mark)
			if !found {
				break
			}
			seconds, after, _ := strings.Cut(rest, "}}")
			at := now.Add(time.Duration(number(seconds)) * unit).UTC()
			text = before + at.Format(time.RFC3339Nano) + after
		}
	}
	return text
}

// scripted is a message of a hub file: one JSON object a line.
type scripted struct {
	ID     int     `json:"id"` // equal numbers are copies of one message
	Key    *string `json:"key"`
	Value  string  `json:"value"`
	Hex    []byte  `json:"base64"`
	Header string  `json:"header"`
}

// startHub starts an embedded hub with one partition, sends it the messages of
// a file, and sets HUB.
func startHub(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hub FILE")
	}
	addr, stop, err := runHub()
	ts.Check(err)
	ts.Defer(func() { ts.Check(stop()) })
	ts.Setenv("HUB", addr)
	ts.Check(produce(addr, ts.ReadFile(args[0])))
}

// runHub runs an embedded hub with one partition until stop is called.
func runHub() (addr string, stop func() error, err error) {
	opts := hub.DefaultOptions()
	opts.Listen, opts.Partitions = "127.0.0.1:0", 1
	h, err := hub.New(opts, hub.Deps{})
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	return h.Addr(), func() error {
		cancel()
		return errors.Join(<-done, h.Close())
	}, nil
}

// produce sends messages as a forwarder does, and waits for the hub to have
// them.
func produce(addr, text string) error {
	opts := kafka.DefaultOptions()
	opts.Brokers = []string{addr}
	sink, err := kafka.NewSink(opts, kafka.Deps{Stamp: "onprem"})
	if err != nil {
		return err
	}
	defer sink.Close()
	lines := bufio.NewScanner(strings.NewReader(text))
	for seq := uint64(1); lines.Scan(); seq++ {
		var s scripted
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return err
		}
		m := &message.Stored{
			Place: message.Place{Lane: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Seq: seq},
			Message: message.Message{
				ID: message.DeriveID("p", "messages", strconv.Itoa(s.ID), message.Hash{}, 0), Topic: "messages",
				Value: []byte(s.Value), Time: time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC),
			},
		}
		if s.Hex != nil {
			m.Value = s.Hex
		}
		if s.Key != nil {
			m.Key = []byte(*s.Key)
		}
		if s.Header != "" {
			m.Headers = []message.Header{{Name: "colour", Value: []byte(s.Header)}}
		}
		acked := make(chan error, 1)
		if err := sink.Produce(m, 0, sink.Turn(), func(_ int64, err error) { acked <- err }); err != nil {
			return err
		}
		if err := <-acked; err != nil {
			return err
		}
	}
	return lines.Err()
}
