package httpserve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// checkTimeout bounds one round of checks, below the usual probe timeout of a
// cluster times two; a check that takes longer counts as failing.
const checkTimeout = 2 * time.Second

// check is one named condition of readiness.
type check struct {
	name string
	run  func(context.Context) error
}

// failure is a failing check as the probes show it.
type failure struct {
	Check string `json:"check"`
	Error string `json:"error"`
}

// probeAnswer is the body of a probe.
type probeAnswer struct {
	Status  string    `json:"status"`
	Failing []failure `json:"failing,omitempty"`
	Passing []string  `json:"passing,omitempty"`
}

var (
	errNotStarted = errors.New("still starting")
	errStopping   = errors.New("draining, about to stop")
)

// AddCheck makes run a condition of /readyz. Checks of one probe run at once
// and together have 2 s; run must be cheap, safe for concurrent use, and
// return when its context ends.
func (a *Admin) AddCheck(name string, run func(context.Context) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checks = append(a.checks, check{name, run})
}

// Started says that start-up is over: /startupz passes from now on, and
// /readyz as soon as its checks do.
func (a *Admin) Started() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.started = true
}

// Stopping says that the process takes no more work: /readyz fails from now on. It is
// for processes without a listener of their own; of others a check says it, once they
// have ceased to accept.
func (a *Admin) Stopping() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopping = true
}

// livez passes as long as the process can answer at all.
func (a *Admin) livez(w http.ResponseWriter, _ *http.Request) {
	writeProbe(w, probeAnswer{Status: "ok"})
}

func (a *Admin) startupz(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	started := a.started
	a.mu.Unlock()
	if !started {
		writeProbe(w, probeAnswer{Status: "starting", Failing: []failure{{"startup", errNotStarted.Error()}}})
		return
	}
	writeProbe(w, probeAnswer{Status: "ok"})
}

func (a *Admin) readyz(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	checks := slices.Clone(a.checks)
	started, stopping := a.started, a.stopping
	a.mu.Unlock()
	if !started {
		checks = append(checks, check{"startup", func(context.Context) error { return errNotStarted }})
	}
	if stopping {
		checks = append(checks, check{"drain", func(context.Context) error { return errStopping }})
	}
	body := probeAnswer{Status: "ok"}
	for i, err := range runChecks(r.Context(), checks) {
		if err == nil {
			body.Passing = append(body.Passing, checks[i].name)
			continue
		}
		body.Status = "unavailable"
		body.Failing = append(body.Failing, failure{checks[i].name, err.Error()})
	}
	writeProbe(w, body)
}

// runChecks runs all checks at once and returns their errors in order. A
// check that outlives its context is not waited for, so that one that hangs
// cannot hang the probe.
func runChecks(ctx context.Context, checks []check) []error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	errs := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		done := make(chan error, 1)
		go func() { done <- runCheck(ctx, c) }()
		wg.Go(func() {
			select {
			case errs[i] = <-done:
			case <-ctx.Done():
				errs[i] = fmt.Errorf("no answer within %s", checkTimeout)
			}
		})
	}
	wg.Wait()
	return errs
}

// runCheck turns a panic into a failing check: it would end the process, for
// it happens outside the goroutine of the request.
func runCheck(ctx context.Context, c check) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("check panicked: %v", v)
		}
	}()
	return c.run(ctx)
}

func writeProbe(w http.ResponseWriter, body probeAnswer) {
	status := http.StatusOK
	if len(body.Failing) > 0 {
		status = http.StatusServiceUnavailable
	}
	b, err := json.Marshal(body)
	if err != nil { // strings and lists of them: cannot fail
		status, b = http.StatusInternalServerError, []byte(`{"status":"broken"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}
