package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"sync"

	"postroad/internal/message"
	"postroad/internal/queue"
	"postroad/internal/telemetry"
)

// store appends to a lane of the command's own, which is opened when the first
// message comes: a command that finds nothing to do leaves no trace.
type store struct {
	dir    string
	unsafe bool
	std    streams
	q      *queue.Queue
	end    func() error
}

// writeFlags are those of the verbs that append.
type writeFlags struct {
	UnsafeFileSystem bool `help:"Also on a file system that loses what it said was kept, as queue.unsafe_file_system." env:"POSTROAD_QUEUE_UNSAFE_FILE_SYSTEM"`
}

// store prepares to append to a queue directory; close ends the lane.
func (f writeFlags) store(dir string, std streams) *store {
	return &store{dir: dir, unsafe: f.UnsafeFileSystem, std: std}
}

// Append implements queue.Appender and gateway.Store.
func (s *store) Append(ctx context.Context, msgs []message.Message) (message.Place, error) {
	if s.q == nil {
		if err := s.open(ctx); err != nil {
			return message.Place{}, err
		}
	}
	return s.q.Append(ctx, msgs)
}

func (s *store) open(ctx context.Context) error {
	log, err := telemetry.NewLogger(s.std.err, telemetry.LogOptions{Level: "warn", Format: "auto"})
	if err != nil {
		return err
	}
	stamp := ""
	if v, err := queue.Inspect(s.dir, nil); err == nil { // else Open makes the directory
		if stamp, err = v.Stamp(); err != nil {
			return err
		}
	}
	opts := queue.DefaultOptions()
	opts.Dir, opts.UnsafeFileSystem = s.dir, s.unsafe
	q, err := queue.Open(opts, queue.Deps{Part: queue.Writes, Log: log, Stamp: stamp})
	if err != nil {
		return err
	}
	// A signal ends the command between two appends, not the lane under one.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ran := make(chan error, 1)
	go func() { ran <- q.Run(running) }()
	s.q = q
	s.end = sync.OnceValue(func() error {
		stop()
		return errors.Join(<-ran, q.Close())
	})
	return nil
}

// close ends the lane; what was appended is durable before.
func (s *store) close() error {
	if s.end == nil {
		return nil
	}
	return s.end()
}

// whoAsks names the person at the command line, for those who read a mark.
func whoAsks() string {
	name := "somebody"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// confirm asks on the terminal; elsewhere only --yes will do.
func confirm(std streams, question string) error {
	in, ok := std.in.(*os.File)
	if !ok || !telemetry.IsTerminal(in) {
		return usagef("%s? Say --yes", question)
	}
	fmt.Fprintf(std.err, "%s? [y/N] ", question)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err == nil && strings.EqualFold(strings.TrimSpace(answer), "y") {
		return nil
	}
	return errors.New("nothing was changed")
}
