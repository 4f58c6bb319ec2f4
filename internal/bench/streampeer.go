package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"time"
)

// streamPeer is what the program of bench/peers says of an engine.
type streamPeer struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Version string `json:"version"`
	Path    string `json:"path"`
	Bare    bool   `json:"bare"`
}

func (p streamPeer) title() string { return peerStore{About: p.About, Version: p.Version}.title() }

// engines lists the engines.
func (p peers) engines(ctx context.Context) ([]streamPeer, error) {
	var all []streamPeer
	return all, p.call(ctx, &all, "engines")
}

// engine is an engine of others, which is fed over a connection of its own and
// knows nothing of a hub.
type engine struct {
	peer     streamPeer
	cmd      *exec.Cmd
	stdin    io.Closer
	feed     net.Conn
	Listen   string `json:"listen"`
	Ingest   string `json:"ingest"`
	stderr   bytes.Buffer
	messages []byte // reused
}

// startEngine starts one. It ends when its standard input does.
func (p peers) startEngine(ctx context.Context, peer streamPeer, c cores) (_ *engine, err error) {
	e := &engine{peer: peer}
	e.cmd = exec.Command(p.path, "engine", "--name", peer.Name) //nolint:noctx // it outlives ctx, and ends with its input
	e.cmd.Stderr = &e.stderr
	in, err := e.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	e.stdin = in
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	if err := c.startOn(e.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", peer.Name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.stop())
		}
	}()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("%s says nothing: %w", peer.Name, err)
	}
	if err := json.Unmarshal(line, e); err != nil {
		return nil, fmt.Errorf("%s: %w: %.200q", peer.Name, err, line)
	}
	e.feed, err = new(net.Dialer).DialContext(ctx, "tcp", e.Ingest)
	return e, err
}

func (e *engine) where() (string, speech) {
	return e.Listen, speech{path: e.peer.Path, bare: e.peer.Bare}
}
func (e *engine) pid() int               { return e.cmd.Process.Pid }
func (e *engine) subject(key int) string { return keyName(key) }

// publish writes what the engine's ingest takes: the length of what follows it, of
// the subject, the subject, the message.
func (e *engine) publish(ctx context.Context, keys []int, size int) error {
	value := bytes.Repeat([]byte{'x'}, size)
	b := e.messages[:0]
	for _, key := range keys {
		name := keyName(key)
		b = binary.BigEndian.AppendUint32(b, uint32(2+len(name)+size))
		b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
		b = append(append(b, name...), value...)
	}
	e.messages = b
	if _, err := e.feed.Write(b); err != nil {
		return fmt.Errorf("feed %s: %w", e.peer.Name, err)
	}
	return ctx.Err()
}

func (e *engine) inUse(ctx context.Context) (int64, error) {
	var m struct {
		InUse int64 `json:"in_use"`
	}
	ok, body, err := get(ctx, "http://"+e.Listen+"/memory")
	if err != nil || !ok {
		return 0, errors.Join(fmt.Errorf("memory of %s: %.200s", e.peer.Name, body), err)
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return 0, fmt.Errorf("memory of %s: %w: %.200q", e.peer.Name, err, body)
	}
	return m.InUse, nil
}

func (e *engine) stop() error {
	var errs []error
	if e.feed != nil {
		errs = append(errs, e.feed.Close())
	}
	errs = append(errs, e.stdin.Close())
	kill := time.AfterFunc(patience, func() { _ = e.cmd.Process.Kill() })
	defer kill.Stop()
	if err := e.cmd.Wait(); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w: %.500s", e.peer.Name, err, e.stderr.Bytes()))
	}
	return errors.Join(errs...)
}
