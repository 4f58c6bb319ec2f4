package publish

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"postroad/internal/auth"
	"postroad/internal/httpserve"
)

const (
	// maxAnswer is the largest answer that is read, in bytes.
	maxAnswer = 64 << 10
	// maxDetail is how much of a gateway's words is passed on, in bytes.
	maxDetail = 512
	// maxAfter bounds how long a gateway may ask to be left alone.
	maxAfter = 30 * time.Second
)

// newClient makes a client that follows no redirect, which would take the token
// to another address and turn the POST into a GET.
func newClient(caFile string) (*http.Client, error) {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 3 * time.Second,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     60 * time.Second,
		Proxy:               http.ProxyFromEnvironment,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if caFile != "" {
		b, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("certificates of gateways: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("certificates of gateways: %s holds none", caFile)
		}
	}
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// attempt sends the message to one gateway. The error is of the attempt: whether
// the message may be stored by it, and whether another gateway should be asked.
func (t *try) attempt(ctx context.Context, g *peer) (Accepted, *Error) {
	ctx, cancel := context.WithTimeout(ctx, t.p.opts.AttemptTimeout)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, e := t.request(ctx, g)
	if e != nil {
		return Accepted{}, e
	}
	resp, err := t.p.client.Do(req)
	if err != nil {
		t.p.metrics.attempted("failed")
		if !connected.Load() {
			return Accepted{}, &Error{Kind: ErrUnavailable, Detail: "no connection to a gateway: " + plain(err)}
		}
		return Accepted{}, &Error{Kind: ErrUnknown, Detail: "no answer of a gateway: " + plain(err)}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	t.p.metrics.attempted(strconv.Itoa(resp.StatusCode))
	if resp.StatusCode == http.StatusAccepted || resp.StatusCode == http.StatusOK {
		return t.accepted(body, err)
	}
	return Accepted{}, judge(resp, body)
}

// request makes the request of one attempt. All attempts are alike but for their
// number.
func (t *try) request(ctx context.Context, g *peer) (*http.Request, *Error) {
	to := g.url + "/v1/topics/" + url.PathEscape(t.m.Topic) + "/messages"
	if t.m.Key != "" {
		to += "?key=" + url.QueryEscape(t.m.Key)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(t.m.Value))
	if err != nil {
		return nil, &Error{Kind: ErrInvalid, Detail: err.Error(), final: true}
	}
	req.Header.Set("Content-Type", t.m.Type)
	req.Header.Set("Postroad-Attempt", t.number())
	// In lower case the transport does not know the field: with it, it would send
	// what may have arrived again by itself, and without saying so. A gateway does
	// know it.
	req.Header["idempotency-key"] = []string{`"` + t.key + `"`}
	if t.m.TraceParent != "" {
		req.Header.Set("Traceparent", t.m.TraceParent)
	}
	if t.p.token == nil {
		return req, nil
	}
	token, err := t.p.token.Value()
	if err != nil {
		t.p.log.Error("the token of this node cannot be read", "err", err)
		return nil, &Error{Kind: ErrUnavailable, Detail: "this node cannot show a gateway who it is"}
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set(auth.PrincipalField, auth.EncodeName(t.m.Principal))
	return req, nil
}

// accepted reads the answer of a gateway that stored the message. What does not
// read like one may come from anybody: a proxy's page is no promise.
func (t *try) accepted(body []byte, err error) (Accepted, *Error) {
	var answer struct {
		IDs   []string `json:"ids"`
		Stamp string   `json:"stamp"`
	}
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err == nil && (len(answer.IDs) != 1) {
		err = errors.New("it holds no receipt")
	}
	if err != nil {
		return Accepted{}, &Error{Kind: ErrUnknown, Detail: "the answer of a gateway cannot be read: " + err.Error()}
	}
	return Accepted{Receipt: answer.IDs[0], Stamp: answer.Stamp, Key: t.key, Attempts: t.attempts}, nil
}

// judge says what an answer other than 2xx means.
func judge(resp *http.Response, body []byte) *Error {
	e := &Error{Status: resp.StatusCode, Detail: fmt.Sprintf("a gateway answers %d", resp.StatusCode), after: retryAfter(resp.Header)}
	e.read(resp.Header, body)
	switch resp.StatusCode {
	case http.StatusForbidden:
		e.Kind, e.final = ErrDenied, true
	case http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge, http.StatusRequestURITooLong:
		e.Kind, e.final = ErrTooLarge, true
	case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusInsufficientStorage, http.StatusRequestTimeout:
		// Surely not stored, if the gateway says so. A mesh or a proxy in between
		// has the same statuses for a request that went through, and whose answer
		// it did not get.
		if e.Kind = ErrUnknown; strings.HasPrefix(e.Type, httpserve.ProblemPrefix) {
			e.Kind = ErrUnavailable
		}
	case http.StatusConflict:
		// Another attempt with this key is being stored: it is not this one's to
		// say whether it will be.
		e.Kind = ErrUnknown
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusMisdirectedRequest:
		// The gateway does not know this node, or is none: no fault of the client's.
		e.Kind = ErrUnavailable
	default:
		switch {
		case resp.StatusCode >= 400 && resp.StatusCode < 500:
			e.Kind, e.final = ErrInvalid, true
		case resp.StatusCode >= 500:
			e.Kind = ErrUnknown
		default:
			e.Kind = ErrUnavailable // a redirect: no gateway sends one
		}
	}
	return e
}

// read takes the words of a problem (RFC 9457) out of an answer.
func (e *Error) read(h http.Header, body []byte) {
	var p struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	if !strings.HasPrefix(h.Get("Content-Type"), "application/problem+json") || json.Unmarshal(body, &p) != nil {
		return
	}
	e.Type = p.Type
	if p.Detail == "" {
		p.Detail = p.Title
	}
	if p.Detail != "" {
		e.Detail = strings.ToValidUTF8(p.Detail[:min(len(p.Detail), maxDetail)], "")
	}
}

// retryAfter reads Retry-After, in seconds as gateways write it.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxAfter)
}

// plain is an error of the HTTP client without the address, which a client of
// this node need not know.
func plain(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "none in time"
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}
