package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"unicode/utf8"

	"postroad/internal/gateway"
	"postroad/internal/message"
)

// classicCall makes messages as a gateway makes them of classic calls: it is one,
// without a listener, whose store only keeps what it is given.
type classicCall struct {
	handler http.Handler
	got     *message.Message
}

func newClassicCall(opts gateway.Options) (*classicCall, error) {
	c := &classicCall{}
	g, err := gateway.New(opts, gateway.Deps{
		Store: c, Tracker: c, Identity: gateway.Identity{Stamp: "import"}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	c.handler = g.Handler()
	return c, nil
}

// message makes the message of a file. Its idempotency key is made of the file's
// name and content, in the form of a minted one: the same file gives the same
// dedupe id whenever it is imported, no gateway has to remember the key, and the
// message is marked as one of which another copy may exist.
func (c *classicCall) message(ctx context.Context, name string, content []byte) (message.Message, error) {
	body, err := classicBody(content)
	if err != nil {
		return message.Message{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "/ServiceAPI/message", bytes.NewReader(body))
	if err != nil {
		return message.Message{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", importKey(name, content))
	answer := &heldAnswer{header: http.Header{}}
	c.got = nil
	c.handler.ServeHTTP(answer, req)
	if answer.status != http.StatusOK || c.got == nil {
		return message.Message{}, errors.New(refusalText(answer.header, answer.body.Bytes()))
	}
	return *c.got, nil
}

// refusalText is the detail of a problem, which says what is wrong and where.
func refusalText(h http.Header, body []byte) string {
	if p := problemOf(h, body); p.Detail != "" {
		return p.Detail
	}
	return problemText(h, body)
}

// classicBody is a file's content as the body of a classic call.
func classicBody(content []byte) ([]byte, error) {
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")) // a byte order mark
	if trimmed := bytes.TrimLeft(content, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		return content, nil
	}
	if !utf8.Valid(content) {
		return nil, errors.New("not UTF-8")
	}
	sender, value, ok := bytes.Cut(content, []byte("\n"))
	if !ok {
		return nil, errors.New("one line; the sender is in the first and the value in the rest")
	}
	body, err := json.Marshal(struct {
		SenderID string `json:"senderId"`
		Value    string `json:"value"`
	}{string(bytes.TrimSuffix(sender, []byte("\r"))), string(value)})
	if err != nil {
		return nil, fmt.Errorf("make a call of it: %w", err)
	}
	return body, nil
}

func importKey(name string, content []byte) string {
	h := message.NewHasher("postroad import 1")
	h.String(name)
	h.Bytes(content)
	sum := h.Sum()
	minted := message.MintKey()
	return minted[:len(minted)-2*len(sum)] + hex.EncodeToString(sum[:])
}

// Append keeps the message of the call under way. The gateway uses its memory
// again.
func (c *classicCall) Append(_ context.Context, msgs []message.Message) (message.Place, error) {
	m := msgs[0]
	m.Key, m.Value = bytes.Clone(m.Key), bytes.Clone(m.Value)
	m.Headers = nil
	for _, h := range msgs[0].Headers {
		m.Headers = append(m.Headers, message.Header{Name: h.Name, Value: bytes.Clone(h.Value)})
	}
	c.got = &m
	return message.Place{Lane: "00000000000000000000000000", Seq: 1}, nil
}

// Await, Locate and Scan are never asked: no call waits or looks anything up.
func (c *classicCall) Await(context.Context, message.Place, int) []message.Outcome { return nil }

// Locate implements gateway.Tracker.
func (c *classicCall) Locate(context.Context, message.Receipt) (message.Outcome, error) {
	return message.Outcome{}, message.ErrNotFound
}

// Scan implements gateway.Tracker.
func (c *classicCall) Scan(context.Context, message.ID) (message.Receipt, message.Outcome, error) {
	return message.Receipt{}, message.Outcome{}, message.ErrNotFound
}

// heldAnswer is an answer that is not sent anywhere.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *heldAnswer) Header() http.Header { return a.header }

func (a *heldAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *heldAnswer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}
