package carry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"postroad/internal/door/policy"
	"postroad/internal/message"
)

// maxLocated bounds the answer of a stamp that says where a message is.
const maxLocated = 64 << 10

// lastWord is how long the other stamps have once one has said that the message
// is forwarded, which no other state outranks.
const lastWord = 250 * time.Millisecond

// located is what one stamp knows of a message.
type located struct {
	origin *policy.Origin
	place  int // among the origins
	res    *http.Response
	body   []byte
	rank   int
	err    error
}

// Ranks of what a stamp may say. A message that two stamps took is forwarded as
// soon as one of them forwarded it, and dead only if none will.
const (
	rankMissing = iota // 404
	rankOther          // any other refusal
	rankFound          // found, in a state unknown here
	rankQueued
	rankDead
	rankForwarded
	rankPlaced // forwarded, with its offset
)

// lookup asks every stamp for a message, for any of them may be the one that
// holds it, or hold a copy that is further on its way, also one that is held or
// drained. The best answer wins: forwarded over dead over queued. Where a stamp was
// silent the answer says complete:false, and one that would be 404 is none: *Silent.
//
// One that is disabled gets nothing at all, and so is silent from the beginning: as
// long as it is in the configuration messages may be in it.
func (c *Carrier) lookup(req *http.Request) (*http.Response, error) {
	origins := c.group.Origins()
	if len(origins) == 0 {
		return nil, &NoOrigin{}
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(errOver)
	answers := make(chan located, len(origins))
	asked := 0
	for i, o := range origins {
		if o.Disabled() {
			continue
		}
		asked++
		c.flying.Add(1)
		go func() {
			defer c.flying.Done()
			l := c.ask(ctx, req, o)
			l.place = i
			answers <- l
		}()
	}
	var best *located
	silent := make([]bool, len(origins))
	for i := range silent {
		silent[i] = true
	}
	var last <-chan time.Time
	var failed error = &NoOrigin{}
	for range asked {
		select {
		case l := <-answers:
			if l.err != nil {
				failed = &Attempt{Origin: l.origin.Name(), Sent: true, Err: l.err}
				continue
			}
			silent[l.place] = false
			if best == nil || cmp.Or(cmp.Compare(best.rank, l.rank), cmp.Compare(l.place, best.place)) < 0 {
				best = &l
			}
			if l.rank >= rankForwarded && last == nil {
				timer := time.NewTimer(lastWord)
				defer timer.Stop()
				last = timer.C
			}
			continue
		case <-last:
		case <-req.Context().Done():
			return nil, &Attempt{Origin: origins[0].Name(), Sent: true, Err: context.Cause(req.Context())}
		}
		break
	}
	return c.located(req, origins, best, silent, failed)
}

// located makes the answer of a lookup.
func (c *Carrier) located(req *http.Request, origins []*policy.Origin, best *located, silent []bool, failed error) (*http.Response, error) {
	var names []string
	for i, o := range origins {
		if silent[i] {
			names = append(names, o.Name())
		}
	}
	switch {
	case best == nil:
		return nil, failed
	case best.rank == rankMissing && len(names) > 0:
		return nil, &Silent{Origins: names}
	case best.rank >= rankFound && len(names) > 0:
		best.body = incomplete(best.body)
	}
	res := best.res
	setBody(res, best.body)
	if req.Method == http.MethodHead {
		res.Body = http.NoBody
	}
	res.Header.Set(OriginHeader, best.origin.Name())
	res.Request = req
	return res, nil
}

// ask puts the question to one origin. It asks with GET, for only the body says
// which answer is the best.
func (c *Carrier) ask(ctx context.Context, req *http.Request, o *policy.Origin) located {
	l := located{origin: o}
	t := c.target(o.Name())
	if t == nil {
		l.err = errNoAddress
		return l
	}
	patience := c.opts.LookupTimeout
	if scan := strings.Contains(req.URL.RawQuery, "scan="); scan && o.Usable() {
		patience = c.opts.ResponseTimeout // it reads all lanes
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out := req.WithContext(ctx)
	out.Method, out.URL, out.Host = http.MethodGet, t.address(req), ""
	out.Header = maps.Clone(req.Header)
	for _, name := range []string{"Accept-Encoding", "Expect", "If-Modified-Since", "If-None-Match", "Range"} {
		delete(out.Header, name) // the whole answer is wanted, and readable
	}
	out.Body, out.ContentLength, out.TransferEncoding, out.Trailer = nil, 0, nil, nil
	begun := c.deps.Now()
	res, err := t.carries.RoundTrip(out)
	if err == nil {
		l.res = res
		l.body, err = io.ReadAll(io.LimitReader(res.Body, maxLocated+1))
		_ = res.Body.Close()
	}
	switch {
	case err != nil:
		l.err = err
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests || len(l.body) > maxLocated:
		l.err = errors.New("it could not say") // which is silence
	default:
		l.rank = rankOf(res.StatusCode, l.body)
	}
	done := Attempted{Origin: o.Name(), Number: 1, Sent: true, Took: c.deps.Now().Sub(begun), Err: l.err, Won: l.err == nil}
	if res != nil {
		done.Status = res.StatusCode
	}
	c.deps.Attempted(done)
	return l
}

func rankOf(status int, body []byte) int {
	switch {
	case status == http.StatusNotFound:
		return rankMissing
	case status >= 300:
		return rankOther
	}
	var said struct {
		State  message.State `json:"state"`
		Offset *int64        `json:"offset"`
	}
	if json.Unmarshal(body, &said) != nil {
		return rankFound
	}
	switch {
	case said.State == message.StateForwarded && said.Offset != nil:
		return rankPlaced
	case said.State == message.StateForwarded:
		return rankForwarded
	case said.State == message.StateDead:
		return rankDead
	case said.State == message.StateQueued:
		return rankQueued
	}
	return rankFound
}

// incomplete sets the member complete of a JSON object to false. A body that is
// none is left as it is.
func incomplete(body []byte) []byte {
	trimmed := bytes.TrimSpace(body)
	if rest, ok := bytes.CutSuffix(trimmed, []byte(`"complete":true}`)); ok { // as gateways write it
		return append(bytes.Clone(rest), `"complete":false}`...)
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(trimmed, &members) != nil || members == nil {
		return body
	}
	members["complete"] = json.RawMessage("false")
	out, err := json.Marshal(members)
	if err != nil {
		return body
	}
	return out
}
