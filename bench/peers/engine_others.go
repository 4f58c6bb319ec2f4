package main

import (
	"context"
	"net/http"
	"sync"

	"github.com/centrifugal/centrifuge"
	"github.com/gorilla/websocket"
	"github.com/lxzan/gws"
)

// smallBuffer is the size of read and write buffers of a connection that mostly
// waits.
const smallBuffer = 512

// gorillaEngine has a reader and a writer goroutine for each connection.
type gorillaEngine struct {
	conns audience[chan *websocket.PreparedMessage]
	up    websocket.Upgrader
}

func newGorillaEngine() engine {
	return &gorillaEngine{up: websocket.Upgrader{
		ReadBufferSize: smallBuffer, WriteBufferSize: smallBuffer, WriteBufferPool: &sync.Pool{},
	}}
}

func (e *gorillaEngine) register(mux *http.ServeMux) error {
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := e.up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }() // the client is gone then
		_, subject, err := c.ReadMessage()
		if err != nil {
			return
		}
		queue := make(chan *websocket.PreparedMessage, 256)
		e.conns.join(string(subject), queue)
		go func() {
			for m := range queue {
				if c.WritePreparedMessage(m) != nil {
					return
				}
			}
		}()
		for {
			if _, _, err := c.ReadMessage(); err != nil {
				return
			}
		}
	})
	return nil
}

func (e *gorillaEngine) publish(batch []fed) error {
	for _, m := range batch {
		prepared, err := websocket.NewPreparedMessage(websocket.TextMessage, m.data)
		if err != nil {
			return err
		}
		e.conns.each(m.subject, func(q chan *websocket.PreparedMessage) { q <- prepared })
	}
	return nil
}

// gwsEngine has a reader goroutine for each connection and the library's queue for
// writing.
type gwsEngine struct {
	gws.BuiltinEventHandler
	conns audience[*gws.Conn]
}

func newGwsEngine() engine { return &gwsEngine{} }

// OnMessage implements gws.Event.
func (e *gwsEngine) OnMessage(c *gws.Conn, m *gws.Message) {
	e.conns.join(m.Data.String(), c)
	_ = m.Close() // gives its buffer back
}

func (e *gwsEngine) register(mux *http.ServeMux) error {
	up := gws.NewUpgrader(e, &gws.ServerOption{ReadBufferSize: smallBuffer, WriteBufferSize: smallBuffer})
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		if c, err := up.Upgrade(w, r); err == nil {
			go c.ReadLoop()
		}
	})
	return nil
}

func (e *gwsEngine) publish(batch []fed) error {
	var failed error
	for _, m := range batch {
		b := gws.NewBroadcaster(gws.OpcodeText, m.data)
		e.conns.each(m.subject, func(c *gws.Conn) {
			if err := b.Broadcast(c); err != nil {
				failed = err
			}
		})
		if err := b.Close(); err != nil {
			return err
		}
	}
	return failed
}

// centrifugeEngine is the library that Centrifugo is made of, in memory.
type centrifugeEngine struct{ node *centrifuge.Node }

func newCentrifugeEngine() engine { return &centrifugeEngine{} }

func (e *centrifugeEngine) register(mux *http.ServeMux) (err error) {
	if e.node, err = centrifuge.New(centrifuge.Config{LogLevel: centrifuge.LogLevelNone}); err != nil {
		return err
	}
	e.node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: "reader"}}, nil
	})
	e.node.OnConnect(func(c *centrifuge.Client) {
		c.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{}, nil)
		})
	})
	if err := e.node.Run(); err != nil {
		return err
	}
	mux.Handle("/ws", centrifuge.NewWebsocketHandler(e.node, centrifuge.WebsocketConfig{
		ReadBufferSize: smallBuffer, UseWriteBufferPool: true,
		CheckOrigin: func(*http.Request) bool { return true },
	}))
	return nil
}

func (e *centrifugeEngine) publish(batch []fed) error {
	for _, m := range batch {
		if _, err := e.node.Publish(m.subject, m.data); err != nil {
			return err
		}
	}
	return nil
}
