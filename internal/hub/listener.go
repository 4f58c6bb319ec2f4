package hub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// listener tells the broker the address to advertise, and guards each
// connection.
type listener struct {
	net.Listener
	addr advertised
}

// Addr implements net.Listener with the advertised address.
func (l *listener) Addr() net.Addr { return l.addr }

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &guarded{Conn: c}, nil
}

// advertised is a host:port as an address.
type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

// maxRequest is the largest request taken, Kafka's socket.request.max.bytes.
const maxRequest = 100 << 20

var errNotKafka = errors.New("not the Kafka protocol")

// guarded follows the framing of a connection (length, then the request, whose
// first two bytes are its key) and ends it where the broker would allocate
// what any stranger asks for, or fail on a key that does not exist. A browser
// pointed at the hub's port must not end the whole development process.
//
// It is used by one reader at a time.
type guarded struct {
	net.Conn
	frame [6]byte // length and key of the present request
	have  int     // how much of frame has been read
	rest  int64   // what is still to come of the request after frame
}

// Read implements net.Conn.
func (g *guarded) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if bad := g.follow(p[:n]); bad != nil {
		g.Conn.Close()
		return 0, bad
	}
	return n, err
}

func (g *guarded) follow(b []byte) error {
	for len(b) > 0 {
		if g.rest > 0 {
			skip := min(int64(len(b)), g.rest)
			g.rest -= skip
			b = b[skip:]
			continue
		}
		n := copy(g.frame[g.have:], b)
		g.have += n
		b = b[n:]
		if g.have >= 4 {
			if size := binary.BigEndian.Uint32(g.frame[:]); size < 8 || size > maxRequest {
				return fmt.Errorf("request of %d bytes: %w", size, errNotKafka)
			}
		}
		if g.have < len(g.frame) {
			continue
		}
		key := int16(binary.BigEndian.Uint16(g.frame[4:]))
		if key < 0 || kmsg.RequestForKey(key) == nil {
			return fmt.Errorf("request key %d: %w", key, errNotKafka)
		}
		g.rest = int64(binary.BigEndian.Uint32(g.frame[:])) - 2
		g.have = 0
	}
	return nil
}

// logger passes on what the broker warns of.
type logger struct{ log *slog.Logger }

// Logf implements kfake.Logger.
func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error("hub broker failed", "detail", fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		l.log.Warn("hub broker warned", "detail", fmt.Sprintf(format, args...))
	}
}
