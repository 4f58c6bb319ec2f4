package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/forward"
	"postroad/internal/gateway"
	"postroad/internal/kafka"
	"postroad/internal/message"
	"postroad/internal/relay"
)

// dialectPostroad is the dialect of a stamp that sends to another one.
const dialectPostroad = "postroad"

// relays says whether the stamp's hub is another stamp.
func (s *stamp) relays() bool { return s.settings.Hub.Dialect == dialectPostroad }

// newSink connects with the hub, in its dialect. Another stamp has no
// transactions: that the transactor is nil says so.
func (s *stamp) newSink(reg prometheus.Registerer) (forward.Sink, forward.Transactor, error) {
	if !s.relays() {
		sink, err := kafka.NewSink(s.settings.Hub, kafka.Deps{
			Log: s.log, Registerer: reg, Stamp: s.settings.Stamp.Name, MayWrite: s.queue.Overdue,
		})
		if err != nil {
			return nil, nil, err // not sink: a nil *kafka.Sink is not a nil Sink
		}
		return sink, transactor{sink}, nil
	}
	o := s.settings.Hub
	sink, err := relay.NewSink(o.Relay, relay.Deps{
		Log: s.log, Stamp: s.settings.Stamp.Name, Name: o.Name, Generation: o.Generation,
		TLS:   relay.TLS{CAFile: o.TLS.CAFile, CertFile: o.TLS.CertFile, KeyFile: o.TLS.KeyFile, ServerName: o.TLS.ServerName},
		Proxy: o.Proxy, ProxyCredentialsFile: o.ProxyCredentialsFile,
		DialTimeout: o.DialTimeout, RequestTimeout: o.RequestTimeout, Allow: o.Topics.Allow, MayWrite: s.queue.Overdue,
	})
	if err != nil {
		return nil, nil, err
	}
	return sink, nil, nil
}

// nameRelay makes the other stamp the hub of the status.
func (s *stamp) nameRelay(st *hubStatus) {
	sink, ok := s.sink.(interface{ Other() (string, time.Time) })
	if !ok {
		return
	}
	st.Brokers = []string{s.settings.Hub.Relay.URL}
	other, last := sink.Other()
	if st.LastAnswer = last; other != "" {
		st.Name = other
	}
}

// unlocated is a tracker of a stamp that relays: of what is in the other stamp's
// queue neither partition nor offset is known, and the times that stand for
// offsets on the way there are nobody's business.
type unlocated struct{ tracker }

func (t unlocated) Await(ctx context.Context, first message.Place, n int) []message.Outcome {
	all := t.tracker.Await(ctx, first, n)
	for i := range all {
		all[i].Located = false
	}
	return all
}

func (t unlocated) Locate(ctx context.Context, r message.Receipt) (message.Outcome, error) {
	o, err := t.tracker.Locate(ctx, r)
	o.Located = false
	return o, err
}

func (t unlocated) Scan(ctx context.Context, id message.ID) (message.Receipt, message.Outcome, error) {
	r, o, err := t.tracker.Scan(ctx, id)
	o.Located = false
	return r, o, err
}

// newTracker answers the gateway's questions about stored messages.
func (s *stamp) newTracker() gateway.Tracker {
	t := tracker{s.queue, s.board.Load()}
	if s.relays() {
		return unlocated{t}
	}
	return t
}
