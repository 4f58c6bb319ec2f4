package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/centrifugal/centrifuge-go"
)

func main() {
	if err := run(os.Args[1], os.Args[3], os.Args[2] == "protobuf", os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// command is a line of standard input.
type command struct {
	Do      string `json:"do"`
	ID      int    `json:"id"`
	Channel string `json:"channel"`
	Data    string `json:"data"`
	Limit   int32  `json:"limit"`
	Since   *struct {
		Offset uint64 `json:"offset"`
		Epoch  string `json:"epoch"`
	} `json:"since"`
	Reverse bool `json:"reverse"`
}

// object is a line of standard output.
type object map[string]any

// program is the client and where it writes to.
type program struct {
	client *centrifuge.Client

	mu  sync.Mutex
	out *json.Encoder // guarded by mu
	err error         // of the first line that could not be written; guarded by mu
}

func (p *program) say(o object) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = errors.Join(p.err, p.out.Encode(o))
}

func run(url, token string, binary bool, in io.Reader, out io.Writer) error {
	p := &program{out: json.NewEncoder(out)}
	p.out.SetEscapeHTML(false)
	p.connect(url, token, binary)
	defer p.client.Close()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return err
		}
		go p.do(c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.err, lines.Err())
}

func (p *program) connect(url, token string, binary bool) {
	// begin: connect
	config := centrifuge.Config{Token: token, MaxReconnectDelay: 2 * time.Second}
	client := centrifuge.NewJsonClient(url, config)
	if binary {
		client = centrifuge.NewProtobufClient(url, config)
	}
	client.OnConnected(func(e centrifuge.ConnectedEvent) { p.say(object{"event": "connected", "client": e.ClientID}) })
	client.OnConnecting(func(e centrifuge.ConnectingEvent) {
		p.say(object{"event": "connecting", "code": e.Code, "reason": e.Reason})
	})
	client.OnDisconnected(func(e centrifuge.DisconnectedEvent) {
		p.say(object{"event": "disconnected", "code": e.Code, "reason": e.Reason})
	})
	client.OnError(func(e centrifuge.ErrorEvent) { p.say(object{"event": "error", "message": e.Error.Error()}) })
	p.client = client
	p.server()
	err := client.Connect()
	// end
	if err != nil {
		p.say(object{"event": "error", "message": err.Error()})
	}
}

// server says what the token's channels bring.
func (p *program) server() {
	p.client.OnPublication(func(e centrifuge.ServerPublicationEvent) { p.say(publication(e.Channel, e.Publication)) })
	p.client.OnSubscribed(func(e centrifuge.ServerSubscribedEvent) {
		p.say(object{"event": "subscribed", "channel": e.Channel, "recoverable": e.Recoverable, "was_recovering": e.WasRecovering, "recovered": e.Recovered})
	})
}

func (p *program) do(c command) {
	var err error
	answer := object{"event": "done", "id": c.ID}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	switch c.Do {
	case "subscribe":
		err = p.subscribe(c.Channel)
	case "unsubscribe":
		if sub, ok := p.client.GetSubscription(c.Channel); ok {
			err = sub.Unsubscribe()
		}
	case "publish":
		err = p.publish(ctx, c.Channel, c.Data)
	case "history":
		err = p.history(ctx, c, answer)
	}
	var refused *centrifuge.Error
	switch {
	case errors.As(err, &refused):
		p.say(object{"event": "failed", "id": c.ID, "code": refused.Code, "message": refused.Message})
	case err != nil:
		p.say(object{"event": "failed", "id": c.ID, "message": err.Error()})
	case c.ID != 0:
		p.say(answer)
	}
}

func (p *program) subscribe(channel string) error {
	// begin: subscribe
	sub, err := p.client.NewSubscription(channel) // such as "vehicles/tram 7" or "vehicles/*@3"
	if err != nil {
		return err
	}
	sub.OnPublication(func(e centrifuge.PublicationEvent) { p.say(publication(channel, e.Publication)) })
	sub.OnSubscribed(func(e centrifuge.SubscribedEvent) {
		// e.WasRecovering && !e.Recovered: something is missing, and last values follow
		o := object{"event": "subscribed", "channel": channel, "recoverable": e.Recoverable, "was_recovering": e.WasRecovering, "recovered": e.Recovered}
		if e.StreamPosition != nil {
			o["offset"], o["epoch"] = e.StreamPosition.Offset, e.StreamPosition.Epoch
		}
		p.say(o)
	})
	sub.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) {
		p.say(object{"event": "unsubscribed", "channel": channel, "code": e.Code, "reason": e.Reason})
	})
	// end
	sub.OnError(func(e centrifuge.SubscriptionErrorEvent) {
		p.say(object{"event": "error", "message": channel + ": " + e.Error.Error()})
	})
	return sub.Subscribe()
}

// publication is what a program has of one.
func publication(channel string, p centrifuge.Publication) object {
	o := object{"event": "publication", "channel": channel, "offset": p.Offset, "tags": p.Tags}
	if utf8.Valid(p.Data) {
		o["data"] = string(p.Data)
	} else {
		o["base64"] = p.Data
	}
	return o
}

func (p *program) publish(ctx context.Context, channel, value string) error {
	// begin: publish
	_, err := p.client.Publish(ctx, channel, []byte(value)) // returns once the message is durable
	return err
	// end
}

func (p *program) history(ctx context.Context, c command, answer object) error {
	options := []centrifuge.HistoryOption{centrifuge.WithHistoryLimit(c.Limit), centrifuge.WithHistoryReverse(c.Reverse)}
	if c.Since != nil {
		options = append(options, centrifuge.WithHistorySince(&centrifuge.StreamPosition{Offset: c.Since.Offset, Epoch: c.Since.Epoch}))
	}
	// begin: history
	h, err := p.client.History(ctx, c.Channel, options...)
	if err != nil {
		return err
	}
	answer["offset"], answer["epoch"] = h.Offset, h.Epoch
	// end
	publications := []object{}
	for _, one := range h.Publications {
		publications = append(publications, publication(c.Channel, one))
	}
	answer["publications"] = publications
	return nil
}
