package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"postroad/internal/relay/wire"
)

var errCut = errors.New("network: the connection was cut")

// network is the way from the site to the centre's gateways, with a balancer. It
// cuts connections before a request gets there, in the middle of it, before the
// answer and in the middle of that; and it holds requests back that come out
// later, when their sender has long given them up.
type network struct {
	w     *world
	late  sync.WaitGroup
	mu    sync.Mutex
	all   []*process // guarded by mu: the centre's gateways
	at    *process   // guarded by mu: to which the balancer sends
	quiet bool       // guarded by mu: nothing is disturbed any more
}

func (n *network) set(all ...*process) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = all
}

func (n *network) calm() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.quiet = true
}

// pick is the balancer.
func (n *network) pick() (p *process, quiet bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at == nil || n.at.isDead() || n.w.plan.switching > 0 && !n.quiet && n.w.roll(n.w.plan.switching) == 0 {
		n.at = nil
		for _, i := range []int{n.w.roll(max(len(n.all), 1)), 0, 1} {
			if n.at == nil && i < len(n.all) && !n.all[i].isDead() {
				n.at = n.all[i]
			}
		}
	}
	return n.at, n.quiet || !n.w.plan.noise
}

// carrier is the network as one process of the site sees it.
type carrier struct {
	net  *network
	from *process
}

// RoundTrip implements http.RoundTripper.
func (c *carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	n, w := c.net, c.net.w
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		if change := w.plan.sabotage.body; change != nil && r.URL.Path == wire.PathMessages {
			body = change(body)
		}
	}
	to, quiet := n.pick()
	if to == nil || c.from.isDead() {
		return nil, errCut
	}
	fate := w.roll(100)
	if quiet {
		fate = 100
	}
	if fate < 3 || sleep(r.Context(), time.Duration(1+w.roll(60))*time.Millisecond) != nil {
		return nil, errCut
	}
	switch {
	case fate < 6: // in the middle of the request
		n.serve(r, body[:w.roll(len(body)+1)], true, to)
		return nil, errCut
	case fate < 9: // it comes out later, perhaps after its sender has died
		n.late.Go(func() {
			<-time.After(time.Duration(w.roll(60000)) * time.Millisecond)
			n.serve(r, body, false, to)
		})
		return nil, errCut
	}
	served := make(chan *http.Response, 1)
	n.late.Go(func() { served <- n.serve(r, body, false, to) })
	select {
	case <-r.Context().Done(): // it goes on without its sender
		return nil, r.Context().Err()
	case resp := <-served:
		if resp == nil || fate < 13 || to.isDead() || c.from.isDead() {
			return nil, errCut
		}
		if fate < 15 {
			whole, _ := io.ReadAll(resp.Body)
			resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(whole[:w.roll(len(whole)+1)]), broken{}))
		}
		return resp, nil
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errCut }

// serve has a gateway answer; nil where it is dead.
func (n *network) serve(r *http.Request, body []byte, cut bool, to *process) *http.Response {
	if to.isDead() {
		return nil
	}
	var in io.Reader = bytes.NewReader(body)
	if cut {
		in = io.MultiReader(in, broken{})
	}
	// The request of a sender that is gone goes on.
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	req := r.Clone(ctx)
	req.Body, req.RequestURI, req.ContentLength = io.NopCloser(in), r.URL.Path, int64(len(body))
	if cut {
		req.ContentLength = -1
	}
	rec := httptest.NewRecorder()
	to.handler.ServeHTTP(rec, req)
	if to.isDead() {
		return nil
	}
	return rec.Result()
}
