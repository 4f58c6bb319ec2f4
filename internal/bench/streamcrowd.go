package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/centrifugal/protocol"
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// speech is how a crowd speaks with a node.
type speech struct {
	// path is where the node takes WebSockets.
	path string
	// bare clients name their subject in a first message and are sent messages
	// that are a frame each, without a protocol. Others speak that of Centrifugo,
	// in Protobuf.
	bare bool
}

// crowd is many clients, driven by one goroutine over raw sockets and epoll: what
// net/http and a goroutine for each would take of the machine is the node's.
type crowd struct {
	speech  speech
	address netip.AddrPort
	ep      int
	members []*fan
	byFD    map[int32]*fan
	buf     []byte
	ready   int

	// messages counts those that came, reached the clients that any came to, lost
	// those that were cut off.
	messages, reached, lost atomic.Int64
	// arrived, where set, is called with each message.
	arrived func(message []byte)
}

// fan is one client.
type fan struct {
	fd      int
	subject string
	answer  []byte // to the upgrade, until it is complete
	open    bool   // the upgrade is answered
	ready   bool   // and the subscription
	reached bool   // a message came
	frames  frames
}

// sourcePort bounds the clients of one source address: there are about 28,000
// ports for each.
const perSource = 20_000

// newCrowd makes a crowd without members. The caller closes it.
func newCrowd(address string, s speech) (*crowd, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("address of the node: %w", err)
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &crowd{speech: s, address: at, ep: ep, byFD: make(map[int32]*fan), buf: make([]byte, 256<<10)}, nil
}

func (c *crowd) close() {
	for _, m := range c.members {
		c.drop(m)
	}
	_ = unix.Close(c.ep) // nothing hangs on it any more
}

func (c *crowd) drop(m *fan) {
	if m.fd >= 0 {
		delete(c.byFD, int32(m.fd))
		_ = unix.Close(m.fd) // its end is what is wanted
		m.fd = -1
	}
}

// maxJoining is how many clients shake hands at a time.
const maxJoining = 128

// join adds n clients, each subscribed to what subject says, and returns when all
// are.
func (c *crowd) join(ctx context.Context, n int, subject func(i int) string) error {
	want := c.ready + n
	end := time.Now().Add(joinLimit)
	for c.ready < want {
		if len(c.members) < want && len(c.members)-c.ready < maxJoining {
			if err := c.dial(subject(len(c.members) - want + n)); err != nil {
				return err
			}
			continue
		}
		if err := c.poll(10); err != nil {
			return err
		}
		switch {
		case c.lost.Load() > 0:
			return fmt.Errorf("%d clients were cut off while they joined", c.lost.Load())
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(end):
			return fmt.Errorf("only %d of %d clients joined within %v", c.ready, want, joinLimit)
		}
	}
	return nil
}

// joinLimit bounds the joining of a crowd.
const joinLimit = 2 * time.Minute

// dial connects one client and asks for the upgrade.
func (c *crowd) dial(subject string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	m := &fan{fd: fd, subject: subject, frames: frames{bare: c.speech.bare, keep: true}}
	if err := c.connect(m); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	c.members = append(c.members, m)
	c.byFD[int32(fd)] = m
	return nil
}

func (c *crowd) connect(m *fan) error {
	source := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + len(c.members)/perSource)}}
	peer := &unix.SockaddrInet4{Port: int(c.address.Port()), Addr: c.address.Addr().As4()}
	for _, err := range []error{
		unix.SetsockoptInt(m.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.Bind(m.fd, source),
		unix.SetsockoptInt(m.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.Connect(m.fd, peer),
		unix.SetNonblock(m.fd, true),
		unix.EpollCtl(c.ep, unix.EPOLL_CTL_ADD, m.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(m.fd)}),
	} {
		if err != nil {
			return fmt.Errorf("connect to %v: %w", c.address, err)
		}
	}
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // it never fails
	return c.send(m, fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %v\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: centrifuge-protobuf\r\n\r\n",
		c.speech.path, c.address, base64.StdEncoding.EncodeToString(nonce[:])))
}

// send writes a little, which a socket always takes whole here.
func (c *crowd) send(m *fan, b []byte) error {
	n, err := unix.Write(m.fd, b)
	if err == nil && n < len(b) {
		err = errors.New("cut")
	}
	if err != nil {
		return fmt.Errorf("write to %v: %w", c.address, err)
	}
	return nil
}

// poll takes what has come, after waiting for some milliseconds at most.
func (c *crowd) poll(milliseconds int) error {
	var events [256]unix.EpollEvent
	n, err := unix.EpollWait(c.ep, events[:], milliseconds)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("epoll: %w", err)
	}
	for _, e := range events[:max(n, 0)] {
		m := c.byFD[e.Fd]
		if m == nil {
			continue
		}
		if err := c.read(m); err != nil {
			c.drop(m)
			c.lost.Add(1)
		}
	}
	return nil
}

// read reads once; what is left shows up in the next poll.
func (c *crowd) read(m *fan) error {
	n, err := unix.Read(m.fd, c.buf)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return err
	case n == 0:
		return errClosed
	}
	p := c.buf[:n]
	if !m.open {
		if p, err = c.upgraded(m, p); err != nil || !m.open {
			return err
		}
	}
	count := int64(0)
	feedErr := m.frames.feed(p, func(message []byte) {
		if m.ready {
			count++
		}
		err = errors.Join(err, c.message(m, message, &count))
	})
	if count > 0 && !m.reached {
		m.reached = true
		c.reached.Add(1)
	}
	c.messages.Add(count)
	return errors.Join(feedErr, err)
}

// upgraded takes the answer to the upgrade, subscribes, and returns what came
// behind it.
func (c *crowd) upgraded(m *fan, p []byte) (rest []byte, err error) {
	m.answer = append(m.answer, p...)
	head, rest, found := bytes.Cut(m.answer, []byte("\r\n\r\n"))
	if !found {
		return nil, nil
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
		return nil, fmt.Errorf("the upgrade was answered: %.200q", head)
	}
	m.open, m.answer = true, nil
	if c.speech.bare {
		c.begin(m)
		return rest, c.sendFrame(m, ws.OpText, []byte(m.subject))
	}
	hello, err := commands(m.subject)
	if err != nil {
		return nil, err
	}
	return rest, c.sendFrame(m, ws.OpBinary, hello)
}

// begin counts a client that is subscribed.
func (c *crowd) begin(m *fan) {
	m.ready = true
	m.frames.keep = c.arrived != nil
	c.ready++
}

func (c *crowd) sendFrame(m *fan, op ws.OpCode, payload []byte) error {
	b, err := ws.CompileFrame(ws.MaskFrame(ws.NewFrame(op, true, payload)))
	if err != nil {
		return err
	}
	return c.send(m, b)
}

// commands are connect and subscribe, each behind its length.
func commands(subject string) ([]byte, error) {
	var all []byte
	for _, cmd := range []*protocol.Command{
		{Id: 1, Connect: &protocol.ConnectRequest{}},
		{Id: subscribeID, Subscribe: &protocol.SubscribeRequest{Channel: subject}},
	} {
		b, err := cmd.MarshalVT()
		if err != nil {
			return nil, fmt.Errorf("command: %w", err)
		}
		all = append(binary.AppendUvarint(all, uint64(len(b))), b...)
	}
	return all, nil
}

// subscribeID is the id of the command that subscribes.
const subscribeID = 2

// message takes one message of the node.
func (c *crowd) message(m *fan, b []byte, count *int64) error {
	switch {
	case c.speech.bare:
	case b != nil && len(b) == 0: // a ping, and its answer alike
		if m.ready {
			*count--
		}
		return c.sendFrame(m, ws.OpBinary, []byte{0})
	case !m.ready:
		var r protocol.Reply
		if err := r.UnmarshalVT(b); err != nil {
			return fmt.Errorf("reply: %w", err)
		}
		if r.Error != nil {
			return fmt.Errorf("the node answers %d %s", r.Error.Code, r.Error.Message)
		}
		if r.Id == subscribeID {
			c.begin(m)
		}
		return nil
	}
	if c.arrived != nil {
		c.arrived(b)
	}
	return nil
}

// listen takes what comes until stop is closed.
func (c *crowd) listen(stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if err := c.poll(20); err != nil {
			return err
		}
	}
}
