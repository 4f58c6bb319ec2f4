package kafkatest

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/loopback"
)

// Options say what cluster a test needs.
type Options struct {
	// Nodes is how many there are, each broker and controller; 0 means 3.
	Nodes int
	// Host is the address of this machine that they listen at; 127.0.0.1 where it
	// is empty. A secure cluster's certificates are good for that one alone.
	Host string
	// Secure adds the listeners "sasl" and "mtls".
	Secure bool
	// Properties are added to those of each node, in place of what it has.
	Properties map[string]string
	// PlainUsers are users of PLAIN alone, by name, with their passwords, beside
	// User: such as $ConnectionString.
	PlainUsers map[string]string
}

//go:embed log4j2.properties
var logging []byte

// cluster is a cluster, whoever uses it.
type cluster struct {
	opts  Options
	dir   string
	id    string
	tools tools
	nodes []*node
	// client knows all nodes by their plain listeners.
	client *kgo.Client
	admin  *kadm.Client

	// Of a secure cluster.
	keys   *keys
	issuer *Issuer

	// took is how long it was until all nodes knew each other.
	took time.Duration
}

const (
	// startLimit bounds how long nodes may take to be part of a cluster, on a
	// machine that is busy with other things.
	startLimit = 2 * time.Minute
	// endLimit bounds how long a node may take to end, orderly or not.
	endLimit = time.Minute
	// startAttempts is how often a start is tried where ports are taken.
	startAttempts = 5
)

// errPorts is a start that failed because ports were taken meanwhile.
var errPorts = errors.New("a port was taken by another process")

// open starts a cluster and waits until all of it is there.
func open(ctx context.Context, o Options) (_ *cluster, err error) {
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	c := &cluster{opts: o, id: randomID()}
	if c.tools, err = findTools(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	if c.dir, err = os.MkdirTemp("", "postroad-kafka-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if o.Secure {
		if err := c.secure(); err != nil {
			return nil, err
		}
	}
	for attempt := 1; ; attempt++ {
		err := c.start(ctx)
		if err == nil {
			c.took = time.Since(began)
			return c, nil
		}
		if !errors.Is(err, errPorts) || attempt == startAttempts {
			return nil, err
		}
		if err := c.stop(); err != nil {
			return nil, err
		}
	}
}

// start gives the nodes ports and starts them with empty logs.
func (c *cluster) start(ctx context.Context) error {
	listeners := c.opts.listeners()
	// A node that is away for a while finds its own ports again. Two clusters may
	// still want the same: the start is tried again then.
	ports, err := loopback.Ports(ctx, c.opts.Nodes*len(listeners))
	if err != nil {
		return err
	}
	c.nodes = nil
	for i := range c.opts.Nodes {
		n := &node{index: i, host: cmp.Or(c.opts.Host, "127.0.0.1"), dir: filepath.Join(c.dir, fmt.Sprintf("node%d", i)), ports: map[string]int{}}
		for j, l := range listeners {
			n.ports[l] = ports[i*len(listeners)+j]
		}
		c.nodes = append(c.nodes, n)
	}
	if err := c.connect(); err != nil {
		return err
	}
	if err := c.format(ctx); err != nil {
		return err
	}
	for _, n := range c.nodes {
		if err := c.writeFiles(n); err != nil {
			return fmt.Errorf("node %d: %w", n.index, err)
		}
	}
	return c.run(ctx, c.nodes...)
}

// formatted is where `format` writes.
func (c *cluster) formatted() string { return filepath.Join(c.dir, "formatted") }

// format has Kafka's own tool write what an empty node begins with.
func (c *cluster) format(ctx context.Context) error {
	if _, err := os.Stat(c.formatted()); err == nil {
		return nil // by an attempt before
	}
	if err := os.WriteFile(filepath.Join(c.dir, "log4j2.properties"), logging, 0o644); err != nil {
		return err
	}
	file := filepath.Join(c.dir, "format.properties")
	if err := os.WriteFile(file, properties(c.settings(c.nodes[0], c.formatted())), 0o600); err != nil {
		return err
	}
	args := append(jvmFlags(c.dir, c.archiveFlags(nil)), "-cp", c.tools.classPath, "kafka.tools.StorageTool", "format", "-t", c.id, "-c", file)
	if c.opts.Secure {
		for _, mechanism := range scramMechanisms() {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, User, Password))
		}
	}
	cmd := exec.CommandContext(ctx, c.tools.java, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("format: %w\n%s", err, out), os.RemoveAll(c.formatted()))
	}
	return nil
}

// connect makes the clients by which the cluster is asked.
func (c *cluster) connect() (err error) {
	c.disconnect()
	for _, n := range c.nodes {
		if n.ask, err = newClient(n.address(listenerPlain)); err != nil {
			return err
		}
	}
	if c.client, err = newClient(c.addrs(listenerPlain)...); err != nil {
		return err
	}
	c.admin = kadm.NewClient(c.client)
	return nil
}

func newClient(addrs ...string) (*kgo.Client, error) {
	return kgo.NewClient(
		kgo.SeedBrokers(addrs...), kgo.ClientID("kafkatest"), kgo.DisableClientMetrics(),
		kgo.MetadataMinAge(50*time.Millisecond), kgo.DialTimeout(time.Second), kgo.RequestTimeoutOverhead(10*time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }), kgo.RetryTimeout(20*time.Second),
	)
}

func (c *cluster) disconnect() {
	for _, n := range c.nodes {
		if n.ask != nil {
			n.ask.Close()
			n.ask = nil
		}
	}
	if c.client != nil {
		c.client.Close()
		c.client = nil
	}
}

func (c *cluster) addrs(listener string) []string {
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.address(listener))
	}
	return addrs
}

// run starts nodes and waits until all that run know each other, where they are
// enough for a cluster. errPorts where a node found its port taken.
func (c *cluster) run(ctx context.Context, nodes ...*node) error {
	var flags []string
	if c.issuer != nil {
		flags = append(flags, "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls="+c.issuer.JWKSURL())
	}
	for _, n := range nodes {
		if n.p.alive() {
			return fmt.Errorf("node %d is running", n.index)
		}
		n.archives = false
		if err := n.start(c.tools, jvmFlags(c.dir, slices.Concat(flags, c.archiveFlags(n)))); err != nil {
			return err
		}
	}
	up := c.up()
	if len(up) < majority(len(c.nodes)) {
		return nil
	}
	err := c.waitReady(ctx, up)
	for _, n := range nodes {
		if err != nil && n.couldNotBind() {
			err = errors.Join(errPorts, err)
		}
	}
	return err
}

// up are the nodes that should answer.
func (c *cluster) up() []*node {
	var up []*node
	for _, n := range c.nodes {
		if n.up() {
			up = append(up, n)
		}
	}
	return up
}

// stop kills all nodes and waits until they are gone.
func (c *cluster) stop() error {
	var errs []error
	for _, n := range c.nodes {
		if n.p.alive() {
			errs = append(errs, n.p.signal(syscall.SIGKILL))
		}
	}
	for _, n := range c.nodes {
		if n.p != nil {
			<-n.p.ended
		}
	}
	return errors.Join(errs...)
}

// close ends everything and removes the files.
func (c *cluster) close() error {
	err := c.archive()
	c.disconnect()
	err = errors.Join(err, c.stop())
	if c.issuer != nil {
		err = errors.Join(err, c.issuer.close())
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// randomID is a name as Kafka gives them: 128 bits in base64. Java takes one
// that begins with a dash for a flag.
func randomID() string {
	for {
		b := make([]byte, 16)
		_, _ = rand.Read(b) // never fails
		if id := base64.RawURLEncoding.EncodeToString(b); !strings.HasPrefix(id, "-") {
			return id
		}
	}
}
