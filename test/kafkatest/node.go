package kafkatest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// node is one broker and controller, through all its runs.
type node struct {
	index int
	dir   string
	host  string
	// ports are by listener.
	ports map[string]int
	// ask is a client that knows this node alone.
	ask *kgo.Client
	// p is the present run, or the last; nil before the first.
	p *process
	// paused says that it was stopped by Pause.
	paused bool
	// archives says that its run writes the archive of classes when it ends.
	archives bool
}

// id is the node's own name in the cluster.
func (n *node) id() int32 { return int32(n.index + 1) }

func (n *node) address(listener string) string {
	return net.JoinHostPort(n.host, strconv.Itoa(n.ports[listener]))
}

func (n *node) data() string { return filepath.Join(n.dir, "data") }
func (n *node) log() string  { return filepath.Join(n.dir, "log") }
func (n *node) file() string { return filepath.Join(n.dir, "node.properties") }

// up tells whether the node should answer.
func (n *node) up() bool { return n.p.alive() && !n.paused }

// start starts a run of the node.
func (n *node) start(t tools, flags []string) (err error) {
	line := append([]string{t.java}, flags...)
	line = append(line, "-cp", t.classPath, "kafka.Kafka", n.file())
	n.paused = false
	if n.p, err = start(n.log(), line...); err != nil {
		return fmt.Errorf("node %d: %w", n.index, err)
	}
	return nil
}

// couldNotBind tells whether the last run ended because another process has one
// of its ports.
func (n *node) couldNotBind() bool {
	return n.p != nil && !n.p.alive() && strings.Contains(tailOf(n.log(), 64<<10), "Address already in use")
}

// jvmFlags keep a node small, and make it start soon: what is gained by
// compiling for speed comes after most tests are over.
func jvmFlags(dir string, more []string) []string {
	return append([]string{
		"-Xms64m", "-Xmx320m", "-XX:MaxMetaspaceSize=128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError", "-XX:ErrorFile=" + filepath.Join(dir, "crash.log"),
		"-Djava.awt.headless=true", "-Djava.io.tmpdir=" + dir,
		"-Dlog4j2.configurationFile=" + filepath.Join(dir, "log4j2.properties"),
	}, more...)
}

// writeFiles makes the directory of a node with its settings and data as
// `format` leaves them: what it wrote for one node does for all but for the
// names of the node and of its directory.
func (c *cluster) writeFiles(n *node) error {
	if err := os.RemoveAll(n.dir); err != nil {
		return err
	}
	if err := os.CopyFS(n.data(), os.DirFS(c.formatted())); err != nil {
		return err
	}
	meta := fmt.Sprintf("version=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\n", c.id, n.id(), randomID())
	if err := os.WriteFile(filepath.Join(n.data(), "meta.properties"), []byte(meta), 0o644); err != nil {
		return err
	}
	return os.WriteFile(n.file(), properties(c.settings(n, n.data())), 0o600)
}
