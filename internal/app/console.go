package app

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"postroad/internal/console"
	"postroad/internal/httpserve"
	"postroad/internal/kafka"
)

// console starts the console over the stamps and further endpoints, which come
// first, and mounts it on the admin listener.
func (p process) console(st *stack, admin *httpserve.Admin, opts console.Options, stamps []*stamp, first ...console.Endpoint) (http.Handler, error) {
	lead := stamps[0].settings
	reader, err := kafka.NewReader(lead.Hub, kafka.Deps{Log: p.log})
	if err != nil {
		return nil, err
	}
	endpoints := first
	for _, s := range stamps {
		endpoints = append(endpoints, console.Endpoint{Name: s.settings.Stamp.Name, Kind: console.KindStamp, URL: s.server.URL()})
	}
	// With TLS there is one stamp and no door, see RunDev.
	var client *http.Client
	var leave func() error
	if t := stamps[0].server.Inside(); t != nil {
		client = &http.Client{Transport: t}
		leave = func() error { client.CloseIdleConnections(); return nil }
	}
	c, err := console.New(opts, console.Deps{
		Endpoints: endpoints, Client: client, Feed: feed{reader, lead.Gateway.Classic.Topic},
		Log: p.log, Registerer: p.registry, Ping: stamps[0].sink.Probe,
	})
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	st.push(layer{name: "console", run: c.Run, close: leave})
	admin.Handle("/console/", c.Handler())
	return c.Handler(), nil
}

// feed shows the console the messages of one topic as they arrive in the hub.
type feed struct {
	reader *kafka.Reader
	topic  string
}

// feedFrom is how far back the console begins, so that a page is not empty that
// is opened right after a message was sent.
const feedFrom = time.Minute

func (f feed) Follow(ctx context.Context, fn func(console.Message) error) error {
	from := kafka.FromTime(time.Now().Add(-feedFrom))
	return f.reader.Follow(ctx, kafka.FollowOptions{Topic: f.topic, From: from}, func(r kafka.Record) error {
		return fn(shown(r))
	})
}

// shown is a record as the page shows it: text where it is text, else base64.
func shown(r kafka.Record) console.Message {
	m := console.Message{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp, Stamp: r.Stamp,
		Value: string(r.Value),
	}
	if !utf8.Valid(r.Value) {
		m.Value, m.ValueBase64 = base64.StdEncoding.EncodeToString(r.Value), true
	}
	if !r.Accepted.IsZero() {
		m.Time = r.Accepted
	}
	if r.Key != nil {
		key := strings.ToValidUTF8(string(r.Key), "\uFFFD")
		m.Key = &key
	}
	if r.HasID {
		m.ID = r.ID.String()
	}
	return m
}
