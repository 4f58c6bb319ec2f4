package drill

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// MoveOptions say how WebSockets are moved from one origin to another.
type MoveOptions struct {
	// Binary is the binary under test, Backend a command that runs a Backend, both
	// with the same empty directory.
	Binary, Backend Binary
	// Clients is how many WebSockets there are.
	Clients int
	// Settings are further lines of the section "door".
	Settings []string
	// Limit bounds how long a move may take.
	Limit time.Duration
	// Logf takes lines on what happens.
	Logf func(format string, args ...any)
}

// MoveReport is what came of it.
type MoveReport struct {
	Clients int
	// Away is the move off an origin that was drained, Back the one back after it
	// was released.
	Away, Back Moved
	// Unasked is how many connections ended though nobody was to move, LeftOut how
	// often an origin was left out meanwhile: then its clients are to move.
	Unasked, LeftOut int
	// Failed is how many connections were not made at once.
	Failed int
}

// Moved is one move.
type Moved struct {
	// Ended is how many connections ended, Busiest how many of them within one
	// second, and Took how long from the first to the last.
	Ended, Busiest int
	Took           time.Duration
	// Most is how many connections of one client ended, and Strayed how many clients
	// are elsewhere after it: who could not get where all went.
	Most, Strayed int
	// LeftOut is how often an origin was left out meanwhile. Each time is one more
	// change, by which clients are moved.
	LeftOut int
}

// Wrong says what is wrong with the move of so many clients: each is moved once
// for each change, and while nothing else changes nobody is moved but those who are
// to.
func (m Moved) Wrong(clients int) string {
	switch {
	case m.Most > 1+2*m.LeftOut: // off the origin that is left out, and back
		return fmt.Sprintf("a client was moved %d times, an origin was left out %d times", m.Most, m.LeftOut)
	case m.LeftOut == 0 && m.Ended != clients:
		return fmt.Sprintf("%d connections of %d clients ended", m.Ended, clients)
	}
	return ""
}

// String is the report for a person.
func (r MoveReport) String() string {
	return fmt.Sprintf("%d WebSockets: drained, %s; released, %s; %d ended unasked, %d connections were not made at once",
		r.Clients, r.Away, r.Back, r.Unasked, r.Failed)
}

// String is the move for a person.
func (m Moved) String() string {
	text := fmt.Sprintf("%d moved within %.1f s, %d of them in the busiest second", m.Ended, m.Took.Seconds(), m.Busiest)
	if m.Most > 1 || m.Strayed > 0 || m.LeftOut > 0 {
		text += fmt.Sprintf(" (one client %d times, %d strayed, an origin was left out %d times)", m.Most, m.Strayed, m.LeftOut)
	}
	return text
}

// mover is a door with two origins and clients at them.
type mover struct {
	MoveOptions
	origins []*Process
	front   *Front
	sockets *Sockets
	report  MoveReport
}

// Move opens WebSockets through Postroad's door to an origin of the first
// priority, has it drained, so that all go to the other, and released, so that all
// come back.
func Move(ctx context.Context, o MoveOptions) (report MoveReport, err error) {
	m := &mover{MoveOptions: o, report: MoveReport{Clients: o.Clients}}
	defer func() { err = errors.Join(err, m.stop()) }()
	if err := m.start(ctx); err != nil {
		return m.report, err
	}
	clientCtx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.sockets.Run(clientCtx)
	}()
	err = m.moves(ctx)
	m.report.Failed, _ = m.sockets.Failed()
	cancel()
	<-done
	if err != nil {
		err = fmt.Errorf("%w; the door's log ends:\n%s", err, m.front.p.LogTail())
	}
	return m.report, err
}

func (m *mover) start(ctx context.Context) error {
	var origins []FrontOrigin
	for i, name := range originNames {
		p, err := m.Backend.Start(ctx, "backend", "--record", filepath.Join(m.Binary.Dir, name+".record"))
		if err != nil {
			return err
		}
		m.origins = append(m.origins, p)
		host, err := HostOf(p.Addresses.Gateways["backend"])
		if err != nil {
			return err
		}
		origins = append(origins, FrontOrigin{Name: name, Address: host, Stream: host, Priority: i + 1})
	}
	var err error
	if m.front, err = NewFront(ctx, &m.Binary, doorFront, origins, m.Settings...); err != nil {
		return err
	}
	if err := m.front.Start(ctx); err != nil {
		return err
	}
	m.sockets, err = NewSockets(SocketsOptions{URL: m.front.URL(), Clients: m.Clients})
	return err
}

// moves lets all connect, go, and come back.
func (m *mover) moves(ctx context.Context) error {
	if err := m.sockets.WaitAll(ctx, m.Limit, at(originNames[0])); err != nil {
		return err
	}
	m.report.Unasked = len(m.sockets.Ended(time.Time{}))
	var err error
	if m.report.LeftOut, err = m.leftOut(ctx, time.Time{}); err != nil {
		return err
	}
	if err := m.move(ctx, "drain", originNames[1], &m.report.Away); err != nil {
		return err
	}
	return m.move(ctx, "release", originNames[0], &m.report.Back)
}

// at accepts an origin by its name, which Postroad's door may set a group before.
func at(name string) func(string) bool {
	return func(origin string) bool {
		return origin == name || filepath.Dir(origin) == name || filepath.Base(origin) == name
	}
}

// move gives an order for the first origin and waits until all have been moved, or
// are where they should be then.
func (m *mover) move(ctx context.Context, order, to string, moved *Moved) error {
	began := time.Now()
	if _, err := m.front.Order(ctx, order, originNames[0]); err != nil {
		return err
	}
	if err := m.sockets.WaitMoved(ctx, m.Limit, began, at(to)); err != nil {
		return fmt.Errorf("%s: %w", order, err)
	}
	ended := m.sockets.Ended(began)
	moved.Ended, moved.Most = len(ended), m.sockets.Most(began)
	moved.Busiest, moved.Took = busiest(ended, time.Second)
	moved.Strayed = m.Clients
	for origin, n := range m.sockets.At() {
		if at(to)(origin) {
			moved.Strayed -= n
		}
	}
	var err error
	moved.LeftOut, err = m.leftOut(ctx, began)
	if m.Logf != nil {
		m.Logf("%s: %s", order, moved)
	}
	return err
}

// leftOut is how often an origin was left out since a time.
func (m *mover) leftOut(ctx context.Context, since time.Time) (times int, err error) {
	for _, name := range originNames {
		changes, err := m.front.changesOf(ctx, name)
		if err != nil {
			return 0, err
		}
		for _, c := range changes {
			if c.To == "suspect" && c.At.After(since) {
				times++
			}
		}
	}
	return times, nil
}

func (m *mover) stop() error {
	var errs []error
	if m.front != nil {
		errs = append(errs, m.front.Stop())
	}
	for _, p := range m.origins {
		errs = append(errs, p.Stop())
	}
	return errors.Join(errs...)
}
