package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Cluster is a cluster as one test uses it: what goes wrong fails that test.
// Its methods are for the test's own goroutine. Nodes are counted from 0; Kafka
// calls them by the number after.
type Cluster struct {
	*cluster
	t testing.TB
}

// Start runs a cluster and ends it with the test. It returns once all nodes know
// each other. Without Java or Maven the test is skipped, and fails where CI=true.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c, err := open(t.Context(), o)
	giveUp(t, err)
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Errorf("end Kafka: %v", err)
		}
	})
	return c.of(t)
}

// giveUp ends a test that could not get a cluster.
func giveUp(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, errMissing) && os.Getenv("CI") != "true":
		t.Skip("NOT TESTED WITH REAL KAFKA:", err)
	default:
		t.Fatal(err)
	}
}

// of is the cluster for one test.
func (c *cluster) of(t testing.TB) *Cluster {
	t.Helper()
	t.Logf("Kafka: %d nodes, started in %.1f s, %d MiB resident together", len(c.nodes), c.took.Seconds(), c.resident()>>20)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.logs())
		}
	})
	return &Cluster{cluster: c, t: t}
}

// Shared is a cluster for the tests of a package that do not run at the same
// time, each of which makes topics of its own. The zero value is of use.
type Shared struct {
	Options Options

	mu  sync.Mutex
	c   *cluster // guarded by mu
	err error    // guarded by mu
}

// Use returns the cluster for a test, which is started by the first that wants
// it. All nodes run, also where the test before has left some dead or paused.
func (s *Shared) Use(t testing.TB) *Cluster {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == nil && s.err == nil {
		s.c, s.err = open(context.Background(), s.Options) // it outlives the test
	}
	giveUp(t, s.err)
	c := s.c.of(t)
	c.Restore()
	return c
}

// Close ends the cluster, if there is one; for TestMain.
func (s *Shared) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == nil {
		return nil
	}
	err := s.c.close()
	s.c = nil
	return err
}

// Addrs are the addresses of all nodes, host:port, by a listener: "plain", and
// of a secure cluster "sasl" and "mtls".
func (c *Cluster) Addrs(listener string) []string {
	c.t.Helper()
	name, ok := map[string]string{"plain": listenerPlain, "sasl": listenerSASL, "mtls": listenerMTLS}[listener]
	if !ok || name != listenerPlain && !c.opts.Secure {
		c.t.Fatalf("Kafka has no listener %q", listener)
	}
	return c.addrs(name)
}

// Nodes is how many nodes there are, running or not.
func (c *Cluster) Nodes() int { return len(c.nodes) }

// Admin is a client of the plain listener, where it may do everything.
func (c *Cluster) Admin() *kadm.Client { return c.admin }

// Kill kills nodes by SIGKILL, all at once, and returns when they are gone.
func (c *Cluster) Kill(nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		c.check(i, c.nodes[i].p.signal(syscall.SIGKILL))
	}
	for _, i := range nodes {
		<-c.nodes[i].p.ended
	}
}

// Stop ends nodes orderly, one after the other.
func (c *Cluster) Stop(nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		c.check(i, c.nodes[i].p.end(syscall.SIGTERM, endLimit))
	}
}

// StartNode starts nodes that were killed or stopped, with their data and their
// addresses. Where enough of the cluster runs it returns once all nodes that
// run know each other.
func (c *Cluster) StartNode(nodes ...int) {
	c.t.Helper()
	var dead []*node
	for _, i := range nodes {
		dead = append(dead, c.nodes[i])
	}
	err := c.run(c.t.Context(), dead...)
	for attempt := 1; errors.Is(err, errPorts) && attempt < startAttempts; attempt++ {
		var again []*node // somebody had a port for a moment
		for _, n := range dead {
			if !n.p.alive() {
				again = append(again, n)
			}
		}
		err = c.run(c.t.Context(), again...)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// Pause stops nodes where they are, as a machine does that hangs, until Resume.
func (c *Cluster) Pause(nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		c.check(i, c.nodes[i].p.signal(syscall.SIGSTOP))
		c.nodes[i].paused = true
	}
}

// Resume lets paused nodes go on.
func (c *Cluster) Resume(nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		c.check(i, c.nodes[i].p.signal(syscall.SIGCONT))
		c.nodes[i].paused = false
	}
}

// Restore lets all nodes run, and waits until they know each other.
func (c *Cluster) Restore() {
	c.t.Helper()
	var dead []int
	for _, n := range c.nodes {
		switch {
		case !n.p.alive():
			dead = append(dead, n.index)
		case n.paused:
			c.Resume(n.index)
		}
	}
	if len(dead) > 0 {
		c.StartNode(dead...)
	} else if err := c.waitReady(c.t.Context(), c.nodes); err != nil {
		c.t.Fatal(err)
	}
}

func (c *Cluster) check(node int, err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("Kafka's node %d: %v", node, err)
	}
}

// answerLimit bounds how long the cluster may take to agree on something.
const answerLimit = time.Minute

// Controller is the node that leads the controllers. It waits for one.
func (c *Cluster) Controller(ctx context.Context) int {
	c.t.Helper()
	leader := int32(-1)
	c.wait(ctx, func(ctx context.Context) (err error) {
		leader, err = c.controller(ctx)
		return err
	})
	return int(leader) - 1
}

// Leader is the node that leads a partition. It waits for one.
func (c *Cluster) Leader(ctx context.Context, topic string, partition int32) int {
	c.t.Helper()
	leader := int32(-1)
	c.wait(ctx, func(ctx context.Context) (err error) {
		leader, err = c.leader(ctx, topic, partition)
		return err
	})
	return int(leader) - 1
}

// WaitInSync waits until all replicas of the topics are in sync, those of all
// topics where none is given.
func (c *Cluster) WaitInSync(ctx context.Context, topics ...string) {
	c.t.Helper()
	c.wait(ctx, func(ctx context.Context) error { return c.inSync(ctx, topics...) })
}

func (c *Cluster) wait(ctx context.Context, ask func(context.Context) error) {
	c.t.Helper()
	if err := until(ctx, answerLimit, ask); err != nil {
		c.t.Fatalf("Kafka: %v", err)
	}
}

// CreateTopic makes a topic with a replica on each node, and returns once it has
// leaders. Settings are such as "max.message.bytes".
func (c *Cluster) CreateTopic(ctx context.Context, topic string, partitions int32, settings map[string]string) {
	c.t.Helper()
	pointers := make(map[string]*string, len(settings))
	for k, v := range settings {
		pointers[k] = &v
	}
	if _, err := c.admin.CreateTopic(ctx, partitions, int16(len(c.nodes)), pointers, topic); err != nil {
		c.t.Fatalf("Kafka: create topic %s: %v", topic, err)
	}
	for p := range partitions {
		c.Leader(ctx, topic, p)
	}
}

// Took is how long the start took, Maven apart.
func (c *Cluster) Took() time.Duration { return c.took }

// Resident is the memory that the running nodes have in RAM together, in bytes;
// 0 where the system does not say.
func (c *Cluster) Resident() int64 { return c.resident() }

func (c *cluster) resident() int64 {
	var sum int64
	for _, n := range c.nodes {
		sum += n.p.resident()
	}
	return sum
}

// Log is the end of a node's log.
func (c *Cluster) Log(node int) string { return tailOf(c.nodes[node].log(), 32<<10) }

// CAFile is the file with the certificate of the authority that the nodes'
// certificates, and those of clients, are issued by; PEM.
func (c *Cluster) CAFile() string { return c.secured().ca }

// ClientCert are the files with a client's certificate and its key, PEM. Its
// subject is CN=User, and so is its name for Kafka.
func (c *Cluster) ClientCert() (certFile, keyFile string) {
	k := c.secured()
	return k.client.cert, k.client.key
}

// Issuer gives the tokens that the listener "sasl" takes.
func (c *Cluster) Issuer() *Issuer {
	c.secured()
	return c.issuer
}

func (c *Cluster) secured() *keys {
	c.t.Helper()
	if c.keys == nil {
		c.t.Fatal("Kafka was not started with Secure")
	}
	return c.keys
}

// Revoke takes the right to do anything with any topic from a user of a secure
// cluster, until Allow. The others keep it.
func (c *Cluster) Revoke(ctx context.Context, user string) {
	c.t.Helper()
	results, err := c.admin.CreateACLs(ctx, revocation(user))
	for _, r := range results {
		err = errors.Join(err, r.Err)
	}
	if err != nil {
		c.t.Fatalf("Kafka: revoke the rights of %s: %v", user, err)
	}
}

// Allow gives back what Revoke took.
func (c *Cluster) Allow(ctx context.Context, user string) {
	c.t.Helper()
	results, err := c.admin.DeleteACLs(ctx, revocation(user))
	for _, r := range results {
		err = errors.Join(err, r.Err)
	}
	if err != nil {
		c.t.Fatalf("Kafka: give %s its rights back: %v", user, err)
	}
}

// String names the cluster for a person.
func (c *Cluster) String() string { return fmt.Sprintf("Kafka at %v", c.addrs(listenerPlain)) }
