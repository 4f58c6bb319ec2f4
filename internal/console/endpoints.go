package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// boardFresh is how long the state of the endpoints is good for, however many
// pages ask.
const boardFresh = time.Second

// endpointState is one endpoint as the page shows it.
type endpointState struct {
	Name    string `json:"name"`
	Kind    Kind   `json:"kind"`
	URL     string `json:"url"`
	Healthy bool   `json:"healthy"`
	// LatencyMs is how long /healthz took, in milliseconds.
	LatencyMs float64 `json:"latencyMs"`
	// Error says why it is not healthy.
	Error string `json:"error,omitempty"`
	// Identity is what GET /default says; through a door, of the stamp that
	// answered.
	Identity *identity `json:"identity,omitempty"`
}

type identity struct {
	Hostname string `json:"hostname"`
	IP       string `json:"ip"`
	Stamp    string `json:"stamp"`
	Region   string `json:"region"`
	Zone     string `json:"zone"`
	Version  string `json:"version"`
}

// board knows the endpoints and asks them how they are.
type board struct {
	endpoints []Endpoint
	client    *http.Client
	timeout   time.Duration
	asking    singleflight.Group

	mu    sync.Mutex
	last  []endpointState // guarded by mu
	asked time.Time       // guarded by mu
}

func newBoard(endpoints []Endpoint, client *http.Client, timeout time.Duration) (*board, error) {
	if len(endpoints) == 0 {
		return nil, errors.New("console: no endpoints")
	}
	b := &board{client: client, timeout: timeout}
	for _, e := range endpoints {
		if err := e.validate(); err != nil {
			return nil, fmt.Errorf("console: %w", err)
		}
		if _, twice := b.find(e.Name); twice {
			return nil, fmt.Errorf("console: endpoint %s is there twice", e.Name)
		}
		e.URL = strings.TrimRight(e.URL, "/")
		b.endpoints = append(b.endpoints, e)
	}
	return b, nil
}

func (b *board) find(name string) (Endpoint, bool) {
	for _, e := range b.endpoints {
		if e.Name == name {
			return e, true
		}
	}
	return Endpoint{}, false
}

// states returns the endpoints in order, asked within the last second.
func (b *board) states() []endpointState {
	if list, ok := b.fresh(); ok {
		return list
	}
	// Not in the context of one request: others wait for the same answer.
	_, _, _ = b.asking.Do("", func() (any, error) {
		if _, ok := b.fresh(); !ok {
			b.ask()
		}
		return struct{}{}, nil
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

func (b *board) fresh() ([]endpointState, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last, b.last != nil && time.Since(b.asked) < boardFresh
}

// ask asks all endpoints at once.
func (b *board) ask() {
	ctx, cancel := context.WithTimeout(context.Background(), b.timeout)
	defer cancel()
	list := make([]endpointState, len(b.endpoints))
	var wg sync.WaitGroup
	for i, e := range b.endpoints {
		wg.Go(func() { list[i] = b.askOne(ctx, e) })
	}
	wg.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last, b.asked = list, time.Now()
}

func (b *board) askOne(ctx context.Context, e Endpoint) endpointState {
	s := endpointState{Name: e.Name, Kind: e.Kind, URL: e.URL}
	begin := time.Now()
	_, err := b.get(ctx, e.URL+"/healthz")
	s.LatencyMs = milliseconds(time.Since(begin))
	if err != nil {
		s.Error = err.Error()
		return s
	}
	s.Healthy = true
	body, err := b.get(ctx, e.URL+"/default")
	if err != nil {
		// A door whose stamps are all down is healthy itself, but no message
		// gets through.
		s.Healthy, s.Error = false, err.Error()
		return s
	}
	var id identity
	if err := json.Unmarshal(body, &id); err != nil {
		s.Healthy, s.Error = false, "/default is not what a stamp answers"
		return s
	}
	s.Identity = &id
	return s
}

// get returns the body of an answer 200.
func (b *board) get(ctx context.Context, target string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := b.client.Do(req)
	if err != nil {
		return nil, plain(err, b.timeout)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 16<<10))
	if err != nil {
		return nil, plain(err, b.timeout)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %d", req.URL.Path, res.StatusCode)
	}
	return body, nil
}

// plain takes the request out of an error of a client: the page shows it
// anyway.
func plain(err error, timeout time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", timeout)
	}
	if u := new(url.Error); errors.As(err, &u) {
		return u.Err
	}
	return err
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

func (c *Console) endpoints(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, map[string]any{"endpoints": c.board.states()})
}
