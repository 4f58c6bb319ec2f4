package wire

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/gobwas/ws"

	"postroad/internal/httpserve"
)

// Subprotocol is a WebSocket subprotocol that is spoken here.
type Subprotocol struct {
	Name string
	// Binary says that its messages go out in binary frames.
	Binary bool
}

// AcceptOptions say what is offered to one client.
type AcceptOptions struct {
	// Subprotocols are those spoken here; the first that the client names and is
	// listed here is agreed on.
	Subprotocols []Subprotocol
	// Binary says, where no subprotocol was agreed on, that messages go out in
	// binary frames.
	Binary bool
	// Ping returns the message that asks the client for a sign of life; where it
	// is nil a WebSocket ping frame is sent. Any frame of the client answers it.
	Ping func(c *Conn) []byte
}

// ErrStopping: no connection is accepted any more.
var ErrStopping = errors.New("the node is stopping")

// upgradeTimeout bounds the writing of the answer to an upgrade.
const upgradeTimeout = 5 * time.Second

// Accept makes a WebSocket connection of a request and returns; handle, called
// before, makes its handler, and must keep neither the request nor its header:
// they would stay in memory with the connection. Where Accept fails it has
// answered the request, and handle was not called. Whether the origin may
// connect, and how many may, is for the caller to check first.
func (w *Writers) Accept(rw http.ResponseWriter, r *http.Request, o AcceptOptions, handle func(*Conn) Handler) error {
	if err := refuse(rw, r); err != nil {
		return err
	}
	if !w.enter() {
		httpserve.Problem{
			Name: "unavailable", Status: http.StatusServiceUnavailable, Title: "unavailable",
			Detail: ErrStopping.Error(), RetryAfter: time.Second,
		}.Write(rw)
		return ErrStopping
	}
	c, buffered, err := w.upgrade(rw, r, o)
	if err != nil {
		w.readers.Done()
		return err
	}
	w.begin(c, o, handle, buffered)
	return nil
}

// begin starts a connection that was counted by enter.
func (w *Writers) begin(c *Conn, o AcceptOptions, handle func(*Conn) Handler, buffered []byte) {
	ping := ws.CompiledPing
	if o.Ping != nil {
		ping = AppendFrame(nil, c.binary, o.Ping(c))
	}
	c.ping = w.pings.of(ping)
	c.handler = handle(c)
	c.shard.add(c)
	if w.ending() {
		// Run may have passed it by when it told all others, and waits for its end.
		c.Disconnect(CodeShutdown, reasonShutdown)
	}
	go w.read(c, buffered)
}

// conn makes a connection of a socket, or of what stands for one.
func (w *Writers) conn(nc net.Conn) *Conn {
	return &Conn{
		shard: w.shards[w.next.Add(1)%uint32(len(w.shards))],
		nc:    nc, raw: rawOf(nc),
		mergeAt: w.opts.MaxQueuedBytes,
		decoder: decoder{limit: w.opts.MaxMessageBytes},
	}
}

// refuse answers what cannot become a WebSocket in words of its own; the rest of
// the handshake is checked by ws.HTTPUpgrader.
func refuse(rw http.ResponseWriter, r *http.Request) error {
	p := httpserve.Problem{Name: "upgrade-required", Status: http.StatusUpgradeRequired, Title: "upgrade required"}
	switch {
	case r.ProtoMajor > 1:
		p.Name, p.Status, p.Title = "http-version", http.StatusHTTPVersionNotSupported, "HTTP version not supported"
		p.Detail = "WebSocket is served over HTTP/1.1 only, not over " + r.Proto
	case r.Method == http.MethodGet && r.Header.Get("Upgrade") == "":
		p.Detail = "this address speaks WebSocket: ask with Upgrade: websocket over HTTP/1.1"
		rw.Header().Set("Upgrade", "websocket")
		rw.Header().Set("Connection", "Upgrade")
	default:
		return nil
	}
	p.Write(rw)
	return fmt.Errorf("upgrade: %s", p.Detail)
}

// upgrade shakes hands and takes the connection over. buffered is what the client
// sent behind its request.
func (w *Writers) upgrade(rw http.ResponseWriter, r *http.Request, o AcceptOptions) (c *Conn, buffered []byte, err error) {
	known := func(name string) func(Subprotocol) bool {
		return func(p Subprotocol) bool { return p.Name == name }
	}
	up := ws.HTTPUpgrader{
		Timeout:  upgradeTimeout,
		Protocol: func(name string) bool { return slices.ContainsFunc(o.Subprotocols, known(name)) },
	}
	nc, buf, hs, err := up.Upgrade(r, rw)
	if err != nil {
		if nc != nil {
			err = errors.Join(err, nc.Close())
		}
		return nil, nil, fmt.Errorf("upgrade: %w", err)
	}
	c = w.conn(nc)
	c.binary = o.Binary
	if i := slices.IndexFunc(o.Subprotocols, known(hs.Protocol)); i >= 0 {
		// The name of the option, not the one that is part of the request's bytes.
		c.subprotocol, c.binary = o.Subprotocols[i].Name, o.Subprotocols[i].Binary
	}
	return c, rest(buf.Reader), nil
}

// rest is what a reader holds already, copied, so that its buffer can go.
func rest(r *bufio.Reader) []byte {
	n := r.Buffered()
	if n == 0 {
		return nil
	}
	b, _ := r.Peek(n) // what is buffered can be peeked at
	return slices.Clone(b)
}

// rawOf returns the way to write to a socket without waiting; nil where the
// connection is none of TCP or Unix itself, such as one of TLS.
func rawOf(nc net.Conn) syscall.RawConn {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil
	}
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
