package sdk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/drill"
)

// event is a line that a client prints: what came of its connection
// (connected, connecting, disconnected), of a subscription (subscribed,
// unsubscribed, publication), of a command with an id (done, failed), or an
// error that its SDK reports.
type event struct {
	Event   string `json:"event"`
	ID      int    `json:"id"`
	Channel string `json:"channel"`

	Offset uint64            `json:"offset"`
	Epoch  string            `json:"epoch"`
	Data   string            `json:"data"`
	Base64 []byte            `json:"base64"`
	Tags   map[string]string `json:"tags"`

	Recoverable   bool    `json:"recoverable"`
	WasRecovering bool    `json:"was_recovering"`
	Recovered     bool    `json:"recovered"`
	Publications  []event `json:"publications"`

	Code    int    `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// last says whether a publication is a last value, which is what is true and not
// what just happens.
func (e event) last() bool { return e.Tags["postroad-last"] != "" }

// ask is a line that a client is sent.
type ask struct {
	Do      string `json:"do"`
	ID      int    `json:"id,omitempty"`
	Channel string `json:"channel"`
	Data    string `json:"data,omitempty"`
	Limit   int    `json:"limit,omitempty"`
	Since   *since `json:"since,omitempty"`
	Reverse bool   `json:"reverse,omitempty"`
}

type since struct {
	Offset uint64 `json:"offset"`
	Epoch  string `json:"epoch"`
}

// client is a client process that runs.
type client struct {
	t        *testing.T
	name     string
	protobuf bool
	cmd      *exec.Cmd
	in       io.WriteCloser
	errs     bytes.Buffer
	ended    chan struct{}
	asked    int

	mu     sync.Mutex
	events []event // guarded by mu
}

// patience bounds what a test waits for, on a machine that is busy with other
// things.
const patience = 2 * time.Minute

// start runs a client that connects to a node or a balancer at host:port, with a
// token where that is not empty.
func (c command) start(t *testing.T, name, protocol, host, token string) *client {
	t.Helper()
	args := append(slices.Clone(c[1:]), "ws://"+host+"/connection/websocket", protocol, token)
	p := &client{t: t, name: name, protobuf: protocol == "protobuf", cmd: exec.CommandContext(context.WithoutCancel(t.Context()), c[0], args...), ended: make(chan struct{})}
	p.cmd.Stderr = &p.errs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.read(out)
	}()
	t.Cleanup(p.end)
	return p
}

func (p *client) read(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return // a line that was not ended was not said
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			e = event{Event: "error", Message: fmt.Sprintf("no line of JSON: %.200q", line)}
		}
		p.mu.Lock()
		p.events = append(p.events, e)
		p.mu.Unlock()
	}
}

// end closes the client's input, which it ends at, and waits for that.
func (p *client) end() {
	_ = p.in.Close() // it may be gone already
	timer := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	<-p.ended
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%s: %v\n%s", p.name, err, p.errs.Bytes())
	}
	if p.t.Failed() {
		p.t.Logf("%s said on standard error: %.4000s", p.name, p.errs.Bytes())
	}
}

func (p *client) ask(a ask) int {
	p.t.Helper()
	p.asked++
	if a.Do == "publish" || a.Do == "history" {
		a.ID = p.asked
	}
	line, err := json.Marshal(a)
	if err == nil {
		_, err = p.in.Write(append(line, '\n'))
	}
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", p.name, err, p.errs.Bytes())
	}
	return a.ID
}

// all are the events so far that are wanted.
func (p *client) all(wanted func(event) bool) []event {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []event
	for _, e := range p.events {
		if wanted(e) {
			found = append(found, e)
		}
	}
	return found
}

// wait waits for the first event that is wanted.
func (p *client) wait(what string, wanted func(event) bool) event {
	p.t.Helper()
	var found event
	p.until(what, func(events []event) bool {
		i := slices.IndexFunc(events, wanted)
		if i >= 0 {
			found = events[i]
		}
		return i >= 0
	})
	return found
}

// until waits until the events so far are enough.
func (p *client) until(what string, enough func([]event) bool) {
	p.t.Helper()
	err := drill.Until(p.t.Context(), patience, what, func() (bool, error) {
		select {
		case <-p.ended:
			return false, fmt.Errorf("the client ended: %s", p.errs.Bytes())
		default:
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return enough(p.events), nil
	})
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", p.name, err, p.said())
	}
}

// said is what the client said last, and what went wrong before, for a person.
func (p *client) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for i, e := range p.events {
		if e.Event != "publication" || i >= len(p.events)-3 {
			fmt.Fprintf(&b, "%.300s\n", fmt.Sprintf("%+v", e))
		}
	}
	text := b.String()
	return text[max(0, len(text)-6000):]
}

func of(kind, channel string) func(event) bool {
	return func(e event) bool { return e.Event == kind && e.Channel == channel }
}

// subscribe subscribes and waits until that is done.
func (p *client) subscribe(channel string) event {
	p.t.Helper()
	p.ask(ask{Do: "subscribe", Channel: channel})
	return p.wait("it is subscribed to "+channel, of("subscribed", channel))
}

// answer waits for what came of a command.
func (p *client) answer(id int) event {
	p.t.Helper()
	return p.wait(fmt.Sprintf("command %d is answered", id), func(e event) bool { return e.ID == id && (e.Event == "done" || e.Event == "failed") })
}

// value is what was sent, by what a program has of a publication: in JSON data
// that was no JSON is a string, of the text or of its base64, as the tag says.
func (p *client) value(e event) (string, error) {
	coding := e.Tags["postroad-data"]
	switch {
	case p.protobuf && coding != "":
		return "", fmt.Errorf("protobuf with the tag %q", coding)
	case e.Base64 != nil:
		return string(e.Base64), nil
	case coding == "":
		return e.Data, nil
	}
	var text string
	var bytes []byte
	if coding == "base64" {
		err := json.Unmarshal([]byte(e.Data), &bytes)
		return string(bytes), err
	}
	err := json.Unmarshal([]byte(e.Data), &text)
	return text, err
}
