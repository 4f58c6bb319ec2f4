package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// epollEngine is the alternative to Postroad's engine that was not taken: raw
// sockets and epoll, neither a goroutine nor a net.Conn for a connection, and so
// no TLS. Messages of a subject that came together are joined into one block.
type epollEngine struct {
	ep    int
	mu    sync.Mutex
	conns map[int32]*epollConn    // by descriptor; guarded by mu
	of    map[string][]*epollConn // guarded by mu
}

// epollConn is guarded by the engine's mu.
type epollConn struct {
	fd      int
	waiting [][]byte
	sent    int // bytes of the first block
}

func newEpollEngine() engine {
	return &epollEngine{conns: make(map[int32]*epollConn), of: make(map[string][]*epollConn)}
}

func (e *epollEngine) register(mux *http.ServeMux) (err error) {
	if e.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		nc, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		go e.begin(nc)
	})
	go e.loop()
	return nil
}

// begin reads the subject and keeps nothing of the connection but a descriptor.
func (e *epollEngine) begin(nc net.Conn) {
	defer nc.Close()
	subject, err := readSubject(nc)
	if err != nil {
		return
	}
	fd, err := descriptor(nc)
	if err != nil {
		return
	}
	c := &epollConn{fd: fd}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conns[int32(fd)] = c
	e.of[subject] = append(e.of[subject], c)
	if err := unix.EpollCtl(e.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
		e.drop(c)
	}
}

// readSubject reads the first frame of a client.
func readSubject(r io.Reader) (string, error) {
	h, err := ws.ReadHeader(r)
	if err != nil {
		return "", err
	}
	if h.Length > maxMessage {
		return "", fmt.Errorf("a subject of %d bytes", h.Length)
	}
	b := make([]byte, h.Length)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", err
	}
	ws.Cipher(b, h.Mask, 0)
	return string(b), nil
}

func descriptor(nc net.Conn) (fd int, err error) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return 0, fmt.Errorf("%T is no TCP connection", nc)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(controlErr, err)
}

// drop is called with mu held.
func (e *epollEngine) drop(c *epollConn) {
	if c.fd >= 0 {
		delete(e.conns, int32(c.fd))
		_ = unix.Close(c.fd) // whatever it says, the descriptor is gone
		c.fd, c.waiting = -1, nil
	}
}

func (e *epollEngine) publish(batch []fed) error {
	blocks := make(map[string][]byte)
	var order []string
	for _, m := range batch {
		if blocks[m.subject] == nil {
			order = append(order, m.subject)
		}
		frame, err := ws.CompileFrame(ws.NewTextFrame(m.data))
		if err != nil {
			return err
		}
		blocks[m.subject] = append(blocks[m.subject], frame...)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, subject := range order {
		for _, c := range e.of[subject] {
			if c.fd < 0 {
				continue
			}
			c.waiting = append(c.waiting, blocks[subject])
			if len(c.waiting) == 1 {
				e.write(c)
			}
		}
	}
	return nil
}

// write writes until the socket takes no more, and then waits for it by epoll. It
// is called with mu held.
func (e *epollEngine) write(c *epollConn) {
	waited := c.sent > 0
	for len(c.waiting) > 0 {
		n, err := unix.Write(c.fd, c.waiting[0][c.sent:])
		if errors.Is(err, unix.EAGAIN) || err == nil && n < len(c.waiting[0])-c.sent {
			c.sent += max(n, 0)
			e.watch(c, unix.EPOLLIN|unix.EPOLLOUT)
			return
		}
		if err != nil {
			e.drop(c)
			return
		}
		c.waiting, c.sent = c.waiting[1:], 0
	}
	if c.waiting = nil; waited {
		e.watch(c, unix.EPOLLIN)
	}
}

func (e *epollEngine) watch(c *epollConn, events uint32) {
	if err := unix.EpollCtl(e.ep, unix.EPOLL_CTL_MOD, c.fd, &unix.EpollEvent{Events: events, Fd: int32(c.fd)}); err != nil {
		e.drop(c)
	}
}

// loop takes what clients send, which is nothing of meaning, and their ends.
func (e *epollEngine) loop() {
	events := make([]unix.EpollEvent, 256)
	buf := make([]byte, 1<<12)
	for {
		n, err := unix.EpollWait(e.ep, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		e.mu.Lock()
		for _, ev := range events[:max(n, 0)] {
			c := e.conns[ev.Fd]
			if c == nil {
				continue
			}
			if ev.Events&unix.EPOLLOUT != 0 {
				e.write(c)
			}
			if c.fd >= 0 && ev.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
				if n, err := unix.Read(c.fd, buf); n == 0 || err != nil && !errors.Is(err, unix.EAGAIN) {
					e.drop(c)
				}
			}
		}
		e.mu.Unlock()
	}
}
