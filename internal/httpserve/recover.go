package httpserve

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
)

// answer wraps a ResponseWriter to know whether anything was sent, and keeps
// what handlers expect of it: flushing, hijacking, ReaderFrom and
// http.ResponseController.
type answer struct {
	http.ResponseWriter
	begun bool
}

func (a *answer) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		a.begun = true
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(b)
}

// ReadFrom lets io.Copy reach the ReaderFrom of the connection (sendfile).
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	a.begun = true
	return io.Copy(a.ResponseWriter, r)
}

// Flush sends what is buffered; http.Flusher has no place for an error.
func (a *answer) Flush() {
	a.begun = true
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
func recovering(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answer{ResponseWriter: w}
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
	})
}
