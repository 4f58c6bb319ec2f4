package drill

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// nodes are the stream nodes of a drill and the balancer before them.
type nodes struct {
	binary   *Binary
	config   string
	balancer *Balancer
	logf     func(format string, args ...any)

	mu      sync.Mutex
	started int                 // guarded by mu
	running map[string]*Process // by address; guarded by mu
}

// StreamConfig writes the configuration file of stream nodes that read topics of
// a hub, publish at gateways and let anybody read and publish. settings are
// further ones of the nodes, a line each.
func StreamConfig(file, hub string, gateways, settings []string, topics ...string) error {
	list := func(of []string) string {
		quoted := make([]string, len(of))
		for i, s := range of {
			quoted[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	text := `hub: {brokers: ` + list([]string{hub}) + `}
http: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
auth: {anonymous: {enabled: true, read: ["*/*"], publish: ["*/*"]}}
stream:
  topics: ` + list(topics) + `
  publish: {gateways: ` + list(gateways) + `}
`
	for _, s := range settings {
		text += "  " + s + "\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("configuration of stream nodes: %w", err)
	}
	return nil
}

// StreamHost is host:port of the one stream node of a process.
func (a Addresses) StreamHost() (string, error) {
	for _, url := range a.Streams {
		return HostOf(url)
	}
	return "", errors.New("the process says of no stream node where it listens")
}

// start starts a node and gives its address to the balancer.
func (n *nodes) start(ctx context.Context) error {
	n.mu.Lock()
	b := *n.binary
	n.binary.started++
	n.mu.Unlock()
	p, err := b.Start(ctx, "stream", "--config", n.config)
	if err != nil {
		return err
	}
	address, err := p.Addresses.StreamHost()
	if err != nil {
		return errors.Join(err, p.Kill())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.started++
	n.running[address] = p
	n.balancer.Set(slices.Sorted(maps.Keys(n.running))...)
	return nil
}

// addresses are those of the nodes that run, in an order of their own.
func (n *nodes) addresses() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.running))
}

// take removes a node from those that run. keep leaves it with the balancer
// until it is gone, since a dumb one does not know better.
func (n *nodes) take(address string, keep bool) *Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.running[address]
	delete(n.running, address)
	if !keep {
		n.balancer.Set(slices.Sorted(maps.Keys(n.running))...)
	}
	return p
}

// kill kills a node. The balancer hears of it later than its clients.
func (n *nodes) kill(address string) error {
	p := n.take(address, true)
	if err := p.Kill(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(p.log), err)
	}
	n.logf("%s killed", filepath.Base(p.log))
	n.balancer.Set(n.addresses()...)
	return nil
}

// drain asks a node to end and waits for that, while the balancer goes on
// sending clients there.
func (n *nodes) drain(address string) error {
	p := n.take(address, true)
	n.logf("%s is asked to end", filepath.Base(p.log))
	if err := p.Stop(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(p.log), err)
	}
	n.logf("%s ended", filepath.Base(p.log))
	n.balancer.Set(n.addresses()...)
	return nil
}

// stop ends all nodes.
func (n *nodes) stop() error {
	var errs []error
	for _, a := range n.addresses() {
		errs = append(errs, n.take(a, false).Stop())
	}
	return errors.Join(errs...)
}

// logs are the ends of the logs of the nodes that run.
func (n *nodes) logs() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	text := ""
	for _, a := range slices.Sorted(maps.Keys(n.running)) {
		text += fmt.Sprintf("the log of %s ends:\n%s\n", filepath.Base(n.running[a].log), n.running[a].LogTail())
	}
	return text
}
