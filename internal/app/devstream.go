package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/auth"
	"postroad/internal/config"
	"postroad/internal/httpserve"
	"postroad/internal/stream/live"
)

// devTopics are those that the embedded hub has from the beginning and that the
// stream nodes serve. Of vehicles a slow screen wants the newest positions, not all.
func devTopics() []live.TopicOptions {
	return []live.TopicOptions{{Name: "messages"}, {Name: "vehicles", Conflate: true}}
}

// devStreams makes a stream node beside each stamp, or none. Everybody may read
// and publish everything.
func (p process) devStreams(o DevOptions, hubAddr string, stamps []*stamp) (nodes []*streamNode, err error) {
	any, err := auth.ParsePattern("*/*")
	if err != nil {
		return nil, err
	}
	for i, listen := range []string{o.StreamOnprem, o.StreamCloud} {
		s := config.DefaultStream()
		s.Node.Name = stamps[i].settings.Stamp.Name
		s.HTTP.Listen = listen
		s.Hub.Brokers = []string{hubAddr}
		s.Stream.Live.Topics = devTopics()
		s.Stream.Drain.Timeout = time.Second
		// Its own stamp's gateway first, then the other's.
		s.Stream.Publish.Gateways = []string{stamps[i].server.URL(), stamps[1-i].server.URL()}
		s.Auth.Anonymous = auth.AnonymousOptions{Enabled: true, Read: []auth.Pattern{any}, Publish: []auth.Pattern{any}}
		n, err := newStreamNode(s, p, prometheus.WrapRegistererWith(prometheus.Labels{"node": s.Node.Name}, p.registry))
		if err != nil {
			for _, made := range nodes {
				err = errors.Join(err, made.abandon())
			}
			return nil, fmt.Errorf("stream node %s: %w", s.Node.Name, err)
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// pushStreams starts the nodes; their readiness is the process's.
func pushStreams(st *stack, admin *httpserve.Admin, nodes []*streamNode) {
	for _, n := range nodes {
		n.push(st)
		admin.AddCheck("stream node "+n.name, func(context.Context) error { return n.node.Serving() })
	}
}

// startOfStreams is how long the door's probes wait for the stream nodes, which
// need a moment to read the hub: until then it trusts them, instead of logging that
// they are unhealthy and looking again a second later.
const startOfStreams = 3 * time.Second

func awaitStreams(ctx context.Context, nodes []*streamNode) {
	ctx, cancel := context.WithTimeout(ctx, startOfStreams)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for _, n := range nodes {
		for n.node.Ready() != nil && ctx.Err() == nil {
			select {
			case <-look.C:
			case <-ctx.Done():
			}
		}
	}
}
