package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// Each engine that speaks no protocol sends its subscribers what is fed for their
// subject, in order, and nothing else.
func TestBareEngines(t *testing.T) {
	for _, k := range engines() {
		if !k.bare {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			at := startEngine(t, k.name)
			conn, br, _, err := ws.Dial(t.Context(), "ws://"+at.Listen+k.path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if br != nil {
				t.Fatal("something came before anything was asked for")
			}
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte("mine")))); err != nil {
				t.Fatal(err)
			}
			feed(t, at.Ingest, conn)
		})
	}
}

// feed feeds messages of two subjects until the client has seen enough: what is
// fed before it is subscribed is not for it.
func feed(t *testing.T, ingest string, client net.Conn) {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", ingest)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	done := make(chan struct{})
	fed := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				fed <- nil
				return
			case <-time.After(time.Millisecond):
			}
			b := message("other", "never")
			if _, err := c.Write(append(b, message("mine", fmt.Sprint(i))...)); err != nil {
				fed <- err
				return
			}
		}
	}()
	last := -1
	for range 50 {
		h, err := ws.ReadHeader(client)
		if err != nil {
			t.Fatal(err)
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(client, payload); err != nil {
			t.Fatal(err)
		}
		var n int
		if _, err := fmt.Sscan(string(payload), &n); err != nil || last >= 0 && n != last+1 {
			t.Fatalf("%q after %d: %v", payload, last, err)
		}
		last = n
	}
	close(done)
	if err := <-fed; err != nil {
		t.Error(err)
	}
}

func message(subject, data string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(2+len(subject)+len(data)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(subject)))
	return append(append(b, subject...), data...)
}

// startEngine runs the program in this process until the test ends.
func startEngine(t *testing.T, name string) (at Serving) {
	t.Helper()
	in, stop := io.Pipe()
	out, print := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serve(context.WithoutCancel(t.Context()), name, in, print) }()
	t.Cleanup(func() {
		stop.Close()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	if err := json.NewDecoder(out).Decode(&at); err != nil {
		t.Fatal(err)
	}
	return at
}

func TestEnginesAreListed(t *testing.T) {
	var all []EngineDescription
	if err := call(t, &all, "engines"); err != nil || len(all) != 4 || all[3].Name != "centrifuge" || all[3].Bare {
		t.Errorf("%+v, %v", all, err)
	}
	if err := serve(t.Context(), "none", &bytes.Buffer{}, io.Discard); err == nil {
		t.Error("an engine that there is not was served")
	}
}

func TestTakeRefusesNonsense(t *testing.T) {
	for _, b := range [][]byte{{0, 0, 0, 1, 0, 9}, {0xff, 0, 0, 0, 0, 0}, {0, 0}} {
		if _, err := takeOne(bytes.NewReader(b)); err == nil {
			t.Errorf("%x is taken", b)
		}
	}
}
