package carry

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// patience bounds how long each part of an answer's body may take to come. Without
// it an origin that is stopped in the middle of an answer would hold the client,
// and all that serves it, for as long as the client waits: the kernel goes on
// acknowledging for a stopped process. nil has no end.
type patience struct {
	span  time.Duration
	cut   func(error) // has a read return
	timer *time.Timer // nil before the first read; owned by the reader
	over  atomic.Bool
}

// patienceWith an answer; nil with those that may pause.
func (a *attempt) patienceWith(res *http.Response) *patience {
	if Lasts(res, a.race.call.Kind) {
		return nil
	}
	return &patience{span: a.race.carrier.opts.ResponseTimeout, cut: a.cancel}
}

// read reads a part of the body.
func (p *patience) read(body io.Reader, b []byte) (int, error) {
	if p == nil {
		return body.Read(b)
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(p.span, p.end)
	} else {
		p.timer.Reset(p.span)
	}
	n, err := body.Read(b)
	p.timer.Stop()
	if err != nil && p.over.Load() {
		err = errSlow
	}
	return n, err
}

func (p *patience) end() {
	p.over.Store(true)
	p.cut(errSlow)
}

// Lasts reports whether an answer may rightly pause for as long as it likes: an
// upgraded connection, an event stream, or an answer of a stream node that has no
// length.
func Lasts(res *http.Response, kind Kind) bool {
	return res.StatusCode == http.StatusSwitchingProtocols ||
		strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") ||
		kind == Stream && res.ContentLength < 0
}
