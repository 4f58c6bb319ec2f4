package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"postroad/internal/message"
	"postroad/internal/telemetry"
)

const defaultTopic = "messages"

type sendCommand struct {
	Value *string `arg:"" optional:"" help:"The message. Without it, and without --file, standard input is sent."`

	URL         string        `name:"url" help:"Gateway or front door (${default})." default:"http://127.0.0.1:8080" env:"${url_env}" placeholder:"URL"`
	Topic       string        `help:"Topic to send to (${default_topic})." short:"t" placeholder:"NAME"`
	Key         *string       `help:"Message key: messages of one key stay in order." short:"k"`
	Header      []string      `help:"Message header; may be repeated." short:"H" placeholder:"NAME:VALUE" sep:"none"`
	ContentType string        `help:"Content type (by default what the value looks like)." placeholder:"TYPE"`
	File        string        `help:"Send what this file holds; - is standard input." short:"f" placeholder:"FILE"`
	NDJSON      bool          `name:"ndjson" help:"Send many: each line is a JSON object with value and, where wanted, key, id and headers."`
	Batch       int           `help:"Most lines of --ndjson in one request." default:"1000"`
	Sender      *string       `help:"Make the classic call (/ServiceAPI/message) in this sender's name; the gateway chooses topic and key." placeholder:"ID"`
	TokenFile   string        `help:"File with the token of the sender, for gateways that ask for one." placeholder:"FILE" type:"path"`
	Wait        time.Duration `help:"Wait this long for the hub to have the messages, too." placeholder:"5s"`
	Idempotency string        `name:"idempotency-key" help:"Key under which sending again is safe (by default a new one)." placeholder:"KEY"`
	GiveUpAfter time.Duration `help:"How long one request is tried again while nobody can take it." default:"1m"`
	JSON        bool          `help:"Print the answers as they came."`
}

// Help says what is not in the list of flags.
func (c *sendCommand) Help() string {
	return `A message that is accepted is on stable storage of a stamp. While a stamp is out of reach or cannot accept, the same request is sent again under the same idempotency key, which stores it once.

Exit code 1 means that not everything was accepted; with --ndjson the first line that was not is named, and all lines before it were.`
}

// Run sends.
func (c *sendCommand) Run(ctx context.Context, std streams) error {
	base, err := c.check()
	if err != nil {
		return err
	}
	in, name, err := c.input(std)
	if err != nil {
		return err
	}
	if in != nil {
		defer in.Close()
	}
	client := newClient()
	defer client.CloseIdleConnections()
	p := &poster{client: client, base: base, giveUp: c.GiveUpAfter}
	if c.TokenFile != "" {
		if p.token, err = readToken(c.TokenFile, std.in); err != nil {
			return err
		}
	}
	if c.NDJSON {
		return c.sendLines(ctx, std, p, in, name)
	}
	value, err := c.value(in, name)
	if err != nil {
		return err
	}
	p.waiting = func(why error, pause time.Duration) {
		fmt.Fprintf(std.err, "postroad: %v; again in %s\n", why, age(pause))
	}
	return c.sendOne(ctx, std, p, value)
}

// check finds flags that contradict each other, and returns the base URL.
func (c *sendCommand) check() (string, error) {
	if c.Sender != nil {
		for flag, given := range map[string]bool{
			"--topic": c.Topic != "", "--key": c.Key != nil, "--header": len(c.Header) > 0,
			"--content-type": c.ContentType != "", "--ndjson": c.NDJSON, "--wait": c.Wait > 0,
		} {
			if given {
				return "", usagef("--sender makes the classic call, which has no %s", flag)
			}
		}
	}
	switch {
	case c.Value != nil && c.File != "":
		return "", usagef("give the value or --file, not both")
	case c.NDJSON && c.Value != nil:
		return "", usagef("--ndjson reads standard input or --file, not an argument")
	case c.NDJSON && (len(c.Header) > 0 || c.ContentType != "" || c.Idempotency != ""):
		return "", usagef("--ndjson takes headers and ids from the lines: leave --header, --content-type and --idempotency-key out")
	case c.Batch < 1:
		return "", usagef("--batch: %d: must be at least 1", c.Batch)
	case c.Wait < 0, c.GiveUpAfter <= 0:
		return "", usagef("--wait must not be negative, --give-up-after must be positive")
	}
	if c.Topic = cmp.Or(c.Topic, defaultTopic); !message.ValidTopic(c.Topic) {
		return "", usagef("--topic: %q: must be 1 to %d of A-Z, a-z, 0-9, '.', '_' and '-'", c.Topic, message.MaxTopicLen)
	}
	for _, ch := range c.Idempotency {
		if ch <= ' ' || ch > '~' || ch == '"' || ch == '\\' {
			return "", usagef("--idempotency-key: %q: must be printable ASCII without spaces, quotes and backslashes", c.Idempotency)
		}
	}
	return baseURL("--url", c.URL)
}

// input opens what is to be sent; nil where the value is an argument.
func (c *sendCommand) input(std streams) (io.ReadCloser, string, error) {
	switch {
	case c.Value != nil:
		return nil, "", nil
	case c.File != "" && c.File != "-":
		f, err := os.Open(c.File)
		if err != nil {
			return nil, "", fmt.Errorf("read what to send: %w", err)
		}
		return f, c.File, nil
	}
	if f, ok := std.in.(*os.File); ok {
		if telemetry.IsTerminal(f) && c.File == "" {
			return nil, "", usagef("nothing to send: give a value, --file or standard input")
		}
		return f, "standard input", nil
	}
	return io.NopCloser(std.in), "standard input", nil
}

// valueLimit is the largest single message that is read, in bytes. What a
// gateway takes is less; it says so itself.
const valueLimit = 64 << 20

func (c *sendCommand) value(in io.Reader, name string) ([]byte, error) {
	if c.Value != nil {
		return []byte(*c.Value), nil
	}
	b, err := io.ReadAll(io.LimitReader(in, valueLimit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > valueLimit {
		return nil, fmt.Errorf("read %s: more than %s in one message", name, size(valueLimit))
	}
	return b, nil
}

func (c *sendCommand) sendOne(ctx context.Context, std streams, p *poster, value []byte) error {
	r, err := c.request(value)
	if err != nil {
		return err
	}
	a, err := p.post(ctx, r)
	if err != nil {
		var gone *gaveUpError
		if errors.As(err, &gone) && gone.unknown {
			return fmt.Errorf("not known to be accepted: %w (sending again with --idempotency-key %s is safe)", err, r.key)
		}
		return fmt.Errorf("not accepted: %w", err)
	}
	if c.JSON {
		return printJSON(std.out, a.body)
	}
	return c.report(std, a)
}

// request makes the POST of a single message.
func (c *sendCommand) request(value []byte) (request, error) {
	r := request{path: c.topicPath(), key: cmp.Or(c.Idempotency, newKey()), wait: c.Wait, body: value}
	if c.Sender != nil {
		if !utf8.Valid(value) {
			return request{}, usagef("the classic call takes UTF-8 text only")
		}
		r.path, r.contentType = "/ServiceAPI/message", "application/json"
		var err error
		r.body, err = json.Marshal(struct {
			SenderID string `json:"senderId"`
			Value    string `json:"value"`
		}{*c.Sender, string(value)})
		return r, err
	}
	r.contentType = cmp.Or(c.ContentType, contentTypeOf(value))
	if len(c.Header) == 0 {
		return r, nil
	}
	return c.withHeaders(r, value)
}

func (c *sendCommand) topicPath() string {
	path := "/v1/topics/" + c.Topic + "/messages"
	if c.Key != nil {
		path += "?key=" + url.QueryEscape(*c.Key)
	}
	return path
}

// withHeaders turns the request into a batch of one line, the form in which a
// message brings headers of its own.
func (c *sendCommand) withHeaders(r request, value []byte) (request, error) {
	if !utf8.Valid(value) {
		return request{}, usagef("--header goes with UTF-8 text only")
	}
	headers := map[string]string{"content-type": r.contentType}
	for _, h := range c.Header {
		name, text, ok := strings.Cut(h, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return request{}, usagef("--header: %q: must be NAME:VALUE", h)
		}
		if strings.EqualFold(name, "content-type") {
			name = "content-type"
		}
		headers[name] = strings.TrimSpace(text)
	}
	body, err := json.Marshal(map[string]any{"value": string(value), "headers": headers})
	r.body, r.contentType = body, ndjsonType
	return r, err
}

// contentTypeOf tells JSON objects and arrays, text and bytes apart.
func contentTypeOf(value []byte) string {
	trimmed := bytes.TrimSpace(value)
	switch {
	case len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') && json.Valid(trimmed):
		return "application/json"
	case utf8.Valid(value):
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// accepted is what a gateway answers to a POST on a topic.
type accepted struct {
	Accepted int       `json:"accepted"`
	IDs      []string  `json:"ids"`
	Stamp    string    `json:"stamp"`
	Messages []outcome `json:"messages"`
}

// outcome is what became of one message, where it was waited for.
type outcome struct {
	ID        string `json:"id"`
	State     string `json:"state"`
	Partition *int32 `json:"partition"`
	Offset    *int64 `json:"offset"`
	Reason    string `json:"reason"`
}

// report prints what became of a single message.
func (c *sendCommand) report(std streams, a answer) error {
	again := ""
	if a.header.Get("Idempotent-Replayed") == "true" {
		again = ", as already before"
	}
	if c.Sender != nil {
		fmt.Fprintf(std.out, "accepted %s%s\n", printable([]byte(a.header.Get("Postroad-Receipt"))), again)
		return nil
	}
	var done accepted
	if err := json.Unmarshal(a.body, &done); err != nil || len(done.IDs) == 0 {
		return fmt.Errorf("accepted, but the answer cannot be read: %s", shorten(printable(a.body), 200))
	}
	stamp, receipt := printable([]byte(done.Stamp)), printable([]byte(done.IDs[0]))
	switch {
	case len(done.Messages) == 0 && c.Wait > 0:
		fmt.Fprintf(std.out, "accepted %s at %s%s; not in the hub yet after %s\n", receipt, stamp, again, c.Wait)
	case len(done.Messages) == 0:
		fmt.Fprintf(std.out, "accepted %s at %s%s\n", receipt, stamp, again)
	case done.Messages[0].State == "dead":
		return fmt.Errorf("accepted %s at %s, but the hub refused it for good: %s", receipt, stamp, printable([]byte(done.Messages[0].Reason)))
	default:
		fmt.Fprintf(std.out, "forwarded %s by %s%s%s\n", receipt, stamp, again, done.Messages[0].place())
	}
	return nil
}

func (o outcome) place() string {
	if o.Partition == nil || o.Offset == nil {
		return ""
	}
	return fmt.Sprintf(": partition %d, offset %d", *o.Partition, *o.Offset)
}

// printJSON prints an answer in one line.
func printJSON(w io.Writer, body []byte) error {
	var line bytes.Buffer
	if err := json.Compact(&line, body); err != nil {
		return fmt.Errorf("accepted, but the answer is not JSON: %s", shorten(printable(body), 200))
	}
	line.WriteByte('\n')
	_, err := w.Write(line.Bytes())
	return err
}
