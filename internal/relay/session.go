package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"postroad/internal/relay/wire"
)

// life is what a Reset ends: a client, and the requests under way.
type life struct {
	ctx    context.Context
	cancel context.CancelFunc
	client *http.Client
	files  [4]fileState
	made   time.Time
	runs   sync.WaitGroup // of streams
}

func (s *Sink) newLife() (*life, error) {
	files := s.deps.files()
	client, err := s.deps.newClient()
	if err != nil {
		return nil, err
	}
	l := &life{client: client, files: files, made: time.Now()}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l, nil
}

// sameClient is a new life with the client of the last one.
func (s *Sink) sameClient(last *life) *life {
	s.clientMu.Lock()
	defer s.clientMu.Unlock()
	l := &life{client: last.client, files: last.files, made: last.made}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// endLife ends what is under way. Connections close once nothing uses them.
func (s *Sink) endLife(l *life) {
	l.cancel()
	go func() {
		l.runs.Wait()
		s.clientMu.Lock()
		defer s.clientMu.Unlock()
		l.client.CloseIdleConnections()
	}()
}

// session is what is known of the process at the other end.
type session struct {
	wire.Hello
	at time.Time // when the answer came that told
	// id names what is sent to one process without another in between. By a new
	// one the other stamp sees that it must look whether what other processes have
	// stored has gone on to the hub, or it would be overtaken.
	id string
}

// filesEvery is how often it is looked whether certificates have changed.
const filesEvery = time.Second

// client returns the client to send with. Where certificates or credentials have
// changed it is another one; requests under way end with the one before.
func (s *Sink) httpClient(l *life) *http.Client {
	s.clientMu.Lock()
	defer s.clientMu.Unlock()
	if now := time.Now(); now.Sub(l.made) >= filesEvery {
		l.made = now
		if files := s.deps.files(); files != l.files {
			client, err := s.deps.newClient()
			if err != nil { // half replaced: the last one goes on
				s.deps.Log.Warn("changed certificates cannot be used", "err", err)
				return l.client
			}
			l.client.CloseIdleConnections()
			l.client, l.files = client, files
		}
	}
	return l.client
}

// exchange makes a request and returns the answer, whose body the caller closes.
// The error is a *statusError where the answer is no success, with how long to
// wait where it says. Every exchange is told to whoever watches.
func (s *Sink) exchange(l *life, r *http.Request) (*http.Response, time.Duration, error) {
	if s.deps.MayWrite != nil {
		if err := s.deps.MayWrite(); err != nil {
			return nil, 0, &Error{class: classRetry, own: true, err: fmt.Errorf("may not write to the other stamp: %w", err)}
		}
	}
	if err := authorize(r, s.token); err != nil {
		return nil, 0, err
	}
	resp, err := s.httpClient(l).Do(r)
	if err != nil {
		if l.ctx.Err() == nil {
			s.report(err)
		}
		return nil, 0, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, 0, nil
	}
	defer resp.Body.Close() // read as far as it is of use
	err = refusalOf(resp)
	if resp.StatusCode == http.StatusMisdirectedRequest {
		s.report(nil) // a sound answer, to be followed
	} else {
		s.report(err)
	}
	wait, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return nil, time.Duration(min(max(wait, 0), 60)) * time.Second, err
}

// maxProblem is how much of a refusal is read, in bytes.
const maxProblem = 16 << 10

// refusalOf reads an answer that is no success.
func refusalOf(resp *http.Response) *statusError {
	e := &statusError{status: resp.StatusCode}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err != nil {
		return e
	}
	var p struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	if json.Unmarshal(b, &p) != nil {
		return e
	}
	e.ours = strings.HasPrefix(p.Type, problemPrefix)
	if e.detail = p.Detail; e.detail == "" {
		e.detail = p.Title
	}
	return e
}

// hello asks who answers.
func (s *Sink) hello(ctx context.Context, l *life) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, s.deps.RequestTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.opts.URL+wire.PathHello, nil)
	if err != nil {
		return nil, err
	}
	resp, _, err := s.exchange(l, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() // read to its end, or of no use
	var h wire.Hello
	if err := readJSON(resp, &h); err != nil {
		s.report(err)
		return nil, err
	}
	s.report(nil)
	if h.Process == "" || h.Time <= 0 {
		return nil, errBadBody
	}
	if h.Stamp == s.deps.Stamp {
		return nil, &Error{class: classHold, wide: true, err: fmt.Errorf("hub.relay.url leads to stamp %s itself", h.Stamp)}
	}
	return s.learn(h), nil
}

// maxAnswer is the largest answer to a batch, in bytes.
const maxAnswer = 64 << 10

func readJSON(resp *http.Response, v any) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", errBadBody, err)
	}
	return nil
}

// learn takes in what an answer says of the process that gave it.
func (s *Sink) learn(h wire.Hello) *session {
	s.sessMu.Lock()
	defer s.sessMu.Unlock()
	now := &session{Hello: h, at: time.Now()}
	s.heard = now.at
	if before := s.sess; before != nil && before.Process == h.Process {
		if h.MaxBatchBytes == 0 { // told by a hello only
			now.MaxMessageBytes, now.MaxBatchBytes, now.MaxBatchMessages = before.MaxMessageBytes, before.MaxBatchBytes, before.MaxBatchMessages
			now.Lease = before.Lease
		}
		now.id = before.id
		if h.Tick < before.Tick { // an older answer that took longer
			now.Tick, now.Time, now.at = before.Tick, before.Time, before.at
		}
	} else if h.MaxBatchBytes == 0 {
		return before
	} else if before != nil {
		s.deps.Log.Info("another process of the other stamp answers", "stamp", h.Stamp, "process", h.Process, "before", before.Process)
	} else {
		s.deps.Log.Info("relaying to another stamp", "stamp", h.Stamp, "process", h.Process)
	}
	if now.id == "" {
		now.id = ulid.Make().String()
	}
	s.sess = now
	return now
}

// forget has the next request ask who answers; not where somebody else has
// learnt that meanwhile.
func (s *Sink) forget(old *session) {
	s.sessMu.Lock()
	defer s.sessMu.Unlock()
	if s.sess != nil && old != nil && s.sess.Process == old.Process {
		s.sess.at = time.Time{}
	}
}

// session returns a session whose tick is fresh enough to be sent with.
func (s *Sink) session(ctx context.Context, l *life) (*session, error) {
	fresh := func() *session {
		s.sessMu.Lock()
		defer s.sessMu.Unlock()
		if s.sess == nil || time.Since(s.sess.at) > time.Duration(s.sess.Lease)*time.Millisecond/3 {
			return nil
		}
		return s.sess
	}
	if now := fresh(); now != nil {
		return now, nil
	}
	select { // one asks for all
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if now := fresh(); now != nil {
		return now, nil
	}
	return s.hello(ctx, l)
}

// Probe asks the other stamp for a sign of life.
func (s *Sink) Probe(ctx context.Context) error {
	l, err := s.current()
	if err != nil {
		return err
	}
	ctx, stop := merged(ctx, l.ctx)
	defer stop()
	_, err = s.hello(ctx, l)
	return classified("probe the other stamp", err)
}

// merged returns a context that ends with either.
func merged(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(other, func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// post sends a batch once. wait is how long the other stamp asks to wait before
// the next try.
func (s *Sink) post(l *life, sess *session, body []byte, coding string) (a wire.Answer, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, max(s.deps.RequestTimeout, time.Duration(sess.Lease)*time.Millisecond))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.opts.URL+wire.PathMessages, bytes.NewReader(body))
	if err != nil {
		return a, 0, err
	}
	r.GetBody = nil // the transport must not send it again by itself: that is judged here
	r.Header.Set("Content-Type", wire.ContentType)
	if coding != "" {
		r.Header.Set("Content-Encoding", coding)
	}
	r.Header.Set(wire.FieldProcess, sess.Process)
	r.Header.Set(wire.FieldSession, sess.id)
	r.Header.Set(wire.FieldTick, strconv.FormatInt(sess.Tick, 10))
	resp, wait, err := s.exchange(l, r)
	if err != nil {
		return a, wait, err
	}
	defer resp.Body.Close() // read to its end, or of no use
	if err := readJSON(resp, &a); err != nil {
		s.report(err)
		return a, 0, err
	}
	s.report(nil)
	if a.Process != sess.Process {
		return a, 0, fmt.Errorf("%w: from process %s, asked was %s", errBadBody, a.Process, sess.Process)
	}
	s.learn(a.Hello)
	return a, 0, nil
}

// unsent reports whether an error of a request says for sure that nothing came of
// it. Of answers only a gateway's own are believed: a proxy says 503, too, where
// it had handed the request on and then lost the connection.
func unsent(err error) bool {
	var own *Error
	var op *net.OpError
	if errors.As(err, &own) || errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") {
		return true
	}
	var answer *statusError
	if !errors.As(err, &answer) || !answer.ours {
		return false
	}
	return answer.status != http.StatusGatewayTimeout && answer.status != http.StatusInternalServerError
}
