package httpserve

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
)

// answer wraps a ResponseWriter to know whether anything was sent and to end the
// connection behind it once the server leaves, and keeps what handlers expect of it:
// flushing, hijacking, ReaderFrom and http.ResponseController.
type answer struct {
	http.ResponseWriter
	leaving *atomic.Bool
	begun   bool
}

// begin is right before the header goes out. Connection: close makes net/http close
// an HTTP/1.1 connection, and send GOAWAY over HTTP/2.
func (a *answer) begin() {
	if a.begun {
		return
	}
	a.begun = true
	if a.leaving.Load() {
		a.Header().Set("Connection", "close")
	}
}

func (a *answer) WriteHeader(status int) {
	switch {
	case status >= 200:
		a.begin()
	case status == http.StatusSwitchingProtocols: // the header says Connection: Upgrade
		a.begun = true
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	a.begin()
	return a.ResponseWriter.Write(b)
}

// ReadFrom lets io.Copy reach the ReaderFrom of the connection (sendfile).
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	a.begin()
	return io.Copy(a.ResponseWriter, r)
}

// Flush sends what is buffered; http.Flusher has no place for an error.
func (a *answer) Flush() {
	a.begin()
	_ = http.NewResponseController(a.ResponseWriter).Flush()
}

// Hijack takes the connection over, where the protocol allows it.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err == nil {
		a.begun = true
	}
	return c, rw, err
}

// Unwrap is for http.ResponseController (deadlines, full duplex).
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// recovering answers a request whose handler panicked with a 500 problem, or
// cuts the connection where an answer had begun, so that the client does not
// take half of one for the whole. The panic is logged with its stack; the
// value of the panic is, the request's body and headers are not.
func recovering(next http.Handler, log *slog.Logger, leaving *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answer{ResponseWriter: w, leaving: leaving}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares by identity as well
				panic(v)
			}
			log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelError, "handler panicked",
				slog.String("method", r.Method), slog.String("path", r.URL.Path),
				slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
			if a.begun {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Connection", "close")
			Problem{
				Name:   "internal",
				Status: http.StatusInternalServerError,
				Title:  "internal error",
				Detail: "the server made a mistake; its log says more",
			}.Write(w)
		}()
		next.ServeHTTP(a, r)
		a.begin() // of a handler that answered nothing, for which net/http does
	})
}
