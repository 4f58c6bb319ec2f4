package vehicles

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Deps are the collaborators of a Simulator.
type Deps struct {
	// URL is where the front door, or a gateway, listens, as http://host:port.
	URL string
	// Client posts; nil means one of its own. It is not followed to other
	// addresses.
	Client *http.Client
	// Log takes changes of state; nil discards them.
	Log *slog.Logger
	// Registerer takes the metrics; nil keeps them unseen.
	Registerer prometheus.Registerer
}

// Simulator drives vehicles and posts where they are.
type Simulator struct {
	opts    Options
	poster  *poster
	log     *slog.Logger
	metrics *metrics
	run     string // makes the idempotency keys of this simulator its own
	// own is the transport of a client made here, closed by Run.
	own *http.Transport
}

// New makes a simulator; it connects to nothing yet.
func New(opts Options, deps Deps) (*Simulator, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	u, err := url.Parse(deps.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("vehicles: %q: must be the http://host:port of a front door", deps.URL)
	}
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register the metrics of the vehicles: %w", err)
	}
	s := &Simulator{opts: opts, log: deps.Log, metrics: m, run: rand.Text()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.poster = &poster{
		client: s.newClient(deps.Client), url: u.JoinPath("v1", "topics", opts.Topic, "messages").String(),
		timeout: opts.Timeout, backoff: opts.MaxBackoff, metrics: m,
	}
	return s, nil
}

// newClient never follows a redirect, which would turn a POST into a GET.
func (s *Simulator) newClient(given *http.Client) *http.Client {
	client := http.Client{}
	if given != nil {
		client = *given
	} else {
		s.own = &http.Transport{
			MaxIdleConnsPerHost: maxStreams,
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		}
		client.Transport = s.own
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// Run drives and posts until ctx ends, which cuts off what is under way: whether
// it was stored nobody asks any more. It returns nil.
func (s *Simulator) Run(ctx context.Context) error {
	crews := make([][]*vehicle, s.opts.Streams)
	for i, v := range newFleet(newTown(), s.opts.Count, s.opts.Seed) {
		crews[i%len(crews)] = append(crews[i%len(crews)], v)
	}
	var wg sync.WaitGroup
	for i, vehicles := range crews {
		if len(vehicles) > 0 {
			wg.Go(func() { s.stream(ctx, i, vehicles) })
		}
	}
	wg.Wait()
	if s.own != nil {
		s.own.CloseIdleConnections()
	}
	return nil
}

// gather is how long positions are gathered for one request, at most.
const gather = 500 * time.Millisecond

// stream posts for some of the vehicles, one request after the other: a position
// is never under way while an older one of the same vehicle may still arrive.
func (s *Simulator) stream(ctx context.Context, number int, vehicles []*vehicle) {
	every := min(gather, s.opts.Interval)
	shift := every * time.Duration(number) / time.Duration(s.opts.Streams) // so that they do not all post at once
	crew := newCrew(vehicles, s.opts, time.Now().Add(shift))
	if pause(ctx, shift) != nil {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 1; ; n++ {
		if due := crew.drive(time.Now()); len(due) > 0 {
			s.tell(ctx, fmt.Sprintf("vehicles-%s-%d-%d", s.run, number, n), due)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// tell posts positions and says how it went where it did not go well.
func (s *Simulator) tell(ctx context.Context, key string, due []Position) {
	start, troubled := time.Now(), false
	err := s.poster.post(ctx, key, due, func(err error) {
		troubled = true
		s.log.Info("positions of vehicles wait", "positions", len(due), "err", err)
	})
	var refused *refusedError
	switch {
	case errors.As(err, &refused):
		s.metrics.refused.Add(float64(len(due)))
		s.log.Warn("positions of vehicles refused", "positions", len(due), "err", err)
		_ = pause(ctx, s.opts.MaxBackoff) // nothing will be different at once
	case err != nil && ctx.Err() == nil:
		s.log.Error("positions of vehicles not sent", "err", err)
	case err == nil && troubled:
		s.log.Info("positions of vehicles accepted again", "after", time.Since(start))
	}
}
