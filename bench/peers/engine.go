package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// fed is a message that an engine is given.
type fed struct {
	subject string
	data    []byte
}

// engine brings messages to WebSocket clients.
type engine interface {
	// register puts the engine's WebSockets on mux.
	register(mux *http.ServeMux) error
	// publish is called with what has come since the last call, from one
	// goroutine. The messages are the engine's.
	publish([]fed) error
}

// engineKind is an engine with what it is called.
type engineKind struct {
	name, about, module, path string
	// bare engines take a subject as a client's first message and send frames of
	// one message, without a protocol.
	bare bool
	make func() engine
}

// engines are all that there are, each as its documentation advises for many
// connections that are mostly read from, with small buffers.
func engines() []engineKind {
	return []engineKind{
		{"epoll", "own epoll, no net.Conn, no protocol", "", "/ws", true, newEpollEngine},
		{"gws", "gws, Broadcaster, no protocol", "github.com/lxzan/gws", "/ws", true, newGwsEngine},
		{"gorilla", "gorilla, prepared messages, no protocol", "github.com/gorilla/websocket", "/ws", true, newGorillaEngine},
		{"centrifuge", "centrifuge library, Protobuf", "github.com/centrifugal/centrifuge", "/ws", false, newCentrifugeEngine},
	}
}

// EngineDescription is what engines prints of one.
type EngineDescription struct {
	Description
	Path string `json:"path"`
	Bare bool   `json:"bare"`
}

func describedEngines() ([]EngineDescription, error) {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, errors.New("the binary does not know what it was built from")
	}
	var all []EngineDescription
	for _, k := range engines() {
		d := EngineDescription{Description{Name: k.name, About: k.about}, k.path, k.bare}
		for _, m := range build.Deps {
			if m.Path == k.module {
				d.Version = m.Version
			}
		}
		all = append(all, d)
	}
	return all, nil
}

// Serving is what engine prints once it listens.
type Serving struct {
	Listen string `json:"listen"`
	Ingest string `json:"ingest"`
}

// serve runs an engine until its input or ctx ends.
func serve(ctx context.Context, name string, in io.Reader, out io.Writer) error {
	for _, k := range engines() {
		if k.name == name {
			return serveEngine(ctx, k.make(), in, out)
		}
	}
	return fmt.Errorf("no engine %q", name)
}

func serveEngine(ctx context.Context, e engine, in io.Reader, out io.Writer) (err error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /memory", memory)
	if err := e.register(mux); err != nil {
		return err
	}
	var lc net.ListenConfig
	clients, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer clients.Close()
	ingest, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ingest.Close()
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	defer srv.Close()
	failed := make(chan error, 2)
	go func() { failed <- srv.Serve(clients) }()
	go func() { failed <- takeAll(ingest, e) }()
	if err := json.NewEncoder(out).Encode(Serving{clients.Addr().String(), ingest.Addr().String()}); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in) // its end is what counts
	}()
	select {
	case err := <-failed:
		return err
	case <-ended:
	case <-ctx.Done():
	}
	return nil
}

// memory answers what heap and stacks take after a collection. A collection
// shrinks a stack by half at most.
func memory(w http.ResponseWriter, _ *http.Request) {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	_ = json.NewEncoder(w).Encode(map[string]uint64{"in_use": m.HeapInuse + m.StackInuse}) // the client is gone then
}

func takeAll(l net.Listener, e engine) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			_ = take(c, e) // whoever feeds sees that nothing goes on
		}()
	}
}

// maxBatch is how many messages are handed on together.
const maxBatch = 512

// take reads messages, each behind its length and that of its subject, and hands
// over together what has come together, as a fetch from a hub would.
func take(c io.Reader, e engine) error {
	r := bufio.NewReaderSize(c, 1<<17)
	for {
		var batch []fed
		for len(batch) == 0 || r.Buffered() > 6 && len(batch) < maxBatch {
			m, err := takeOne(r)
			if err != nil {
				return err
			}
			batch = append(batch, m)
		}
		if err := e.publish(batch); err != nil {
			return err
		}
	}
}

// maxMessage bounds a message with its subject, in bytes.
const maxMessage = 1 << 20

func takeOne(r io.Reader) (fed, error) {
	var head [6]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fed{}, err
	}
	n, k := int(binary.BigEndian.Uint32(head[:]))-2, int(binary.BigEndian.Uint16(head[4:]))
	if n < k || n > maxMessage {
		return fed{}, fmt.Errorf("a message of %d bytes with a subject of %d", n, k)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return fed{}, err
	}
	return fed{string(b[:k]), b[k:]}, nil
}

// audience are connections by subject.
type audience[C comparable] struct {
	mu sync.RWMutex
	of map[string][]C // guarded by mu
}

func (a *audience[C]) join(subject string, c C) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = make(map[string][]C)
	}
	a.of[subject] = append(a.of[subject], c)
}

// each calls fn for the connections of a subject; none may join meanwhile.
func (a *audience[C]) each(subject string, fn func(C)) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, c := range a.of[subject] {
		fn(c)
	}
}
