package door

import (
	"context"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/prometheus"
)

// accessEntry is one line of the access log.
type accessEntry struct {
	at       time.Time
	took     time.Duration
	client   string
	method   string
	proto    string
	host     string
	path     string // without the query, in which tokens may stand
	agent    string
	trace    string // of a traceparent
	group    string
	origin   string
	status   int
	in, out  int64 // bytes of bodies; in is -1 where it is not known
	attempts int
	stream   bool
	share    float64 // of such lines that are written
}

// longest is what is written of texts that a client chose, in bytes.
const longest = 512

// accessLog writes lines apart from the requests they are about. Where the writer
// does not keep up lines are dropped and counted: no request waits for its log.
type accessLog struct {
	to      io.Writer
	dropped prometheus.Counter
	lines   chan []byte
	spare   sync.Pool
	rule    atomic.Pointer[AccessLog]
	random  func() float64
}

// pendingLines is how many lines wait for the writer at most.
const pendingLines = 8192

func newAccessLog(to io.Writer, dropped prometheus.Counter) *accessLog {
	a := &accessLog{to: to, dropped: dropped, lines: make(chan []byte, pendingLines), random: rand.Float64}
	a.rule.Store(&AccessLog{})
	return a
}

// wants says whether a request is logged, and as one of what share of its like.
func (a *accessLog) wants(status int, own bool, attempts int, took time.Duration) (share float64, ok bool) {
	rule := a.rule.Load()
	switch {
	case !rule.Enabled || a.to == nil:
		return 0, false
	case status >= 500, own && status >= 400, attempts > 1, took > rule.Slow:
		return 1, true
	case rule.Sample >= 1:
		return 1, true
	}
	return rule.Sample, a.random() < rule.Sample
}

// write hands a line over.
func (a *accessLog) write(e *accessEntry) {
	b, _ := a.spare.Get().(*[]byte)
	if b == nil {
		b = new([]byte)
	}
	line := e.append((*b)[:0])
	select {
	case a.lines <- line:
	default:
		a.dropped.Inc()
		a.recycle(line)
	}
}

func (a *accessLog) recycle(line []byte) { a.spare.Put(&line) }

// run writes lines until ctx ends, and then those that still wait. Lines that come
// together are written together.
func (a *accessLog) run(ctx context.Context) {
	if a.to == nil {
		return
	}
	var batch []byte
	for {
		select {
		case line := <-a.lines:
			batch = a.gather(append(batch[:0], line...))
			a.recycle(line)
		case <-ctx.Done():
			batch = a.gather(batch[:0])
			a.put(batch)
			return
		}
		a.put(batch)
	}
}

// mostAtOnce bounds one write, in bytes.
const mostAtOnce = 64 << 10

func (a *accessLog) gather(batch []byte) []byte {
	for len(batch) < mostAtOnce {
		select {
		case line := <-a.lines:
			batch = append(batch, line...)
			a.recycle(line)
		default:
			return batch
		}
	}
	return batch
}

func (a *accessLog) put(batch []byte) {
	if len(batch) == 0 {
		return
	}
	if _, err := a.to.Write(batch); err != nil {
		a.dropped.Inc()
	}
}

// append writes the entry as a line of JSON.
func (e *accessEntry) append(b []byte) []byte {
	b = append(b, `{"time":"`...)
	b = e.at.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, '"')
	for _, f := range [...]struct{ name, text string }{
		{"client", e.client},
		{"method", e.method},
		{"host", e.host},
		{"path", e.path},
		{"proto", e.proto},
		{"group", e.group},
		{"origin", e.origin},
		{"trace_id", e.trace},
		{"user_agent", e.agent},
	} {
		if f.text != "" {
			b = append(append(append(b, `,"`...), f.name...), `":`...)
			b = appendText(b, f.text)
		}
	}
	b = strconv.AppendInt(append(b, `,"status":`...), int64(e.status), 10)
	b = strconv.AppendFloat(append(b, `,"took_ms":`...), float64(e.took.Microseconds())/1000, 'f', 3, 64)
	if e.in >= 0 {
		b = strconv.AppendInt(append(b, `,"bytes_in":`...), e.in, 10)
	}
	b = strconv.AppendInt(append(b, `,"bytes_out":`...), e.out, 10)
	if e.attempts > 0 {
		b = strconv.AppendInt(append(b, `,"attempts":`...), int64(e.attempts), 10)
	}
	if e.stream {
		b = append(b, `,"stream":true`...)
	}
	if e.share < 1 {
		b = strconv.AppendFloat(append(b, `,"sample":`...), e.share, 'g', -1, 64)
	}
	return append(b, "}\n"...)
}

// appendText writes a text, cut where it is long; what is not UTF-8 becomes U+FFFD.
func appendText(b []byte, s string) []byte {
	if len(s) > longest {
		s = s[:longest]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
	}
	quoted, err := jsontext.AppendQuote(b, s)
	if err != nil { // it holds bytes that are not UTF-8
		quoted, _ = jsontext.AppendQuote(b, strings.ToValidUTF8(s, "\uFFFD"))
	}
	return quoted
}
