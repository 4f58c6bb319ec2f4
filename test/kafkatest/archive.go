package kafkatest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Two thirds of the CPU time of a start is Java loading and checking the same
// classes each time. Java can write them down when a node ends orderly, in a form
// that the next node maps into memory. That file is kept in the user's cache, by
// Java's version and the jars; one that does not fit is ignored by Java, and
// without one nodes start slower, nothing else.

// archiveOf is where the classes are kept for a version of Java and jars.
func archiveOf(dir string, version []byte, classPath string) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s", version, classPath)
	return filepath.Join(dir, fmt.Sprintf("classes-%x.jsa", sum.Sum(nil)[:8]))
}

// archiveFlags have Java use the archive; where there is none, one node, at its
// orderly end, makes one.
func (c *cluster) archiveFlags(n *node) []string {
	if c.tools.archive == "" {
		return nil
	}
	if info, err := os.Stat(c.tools.archive); err == nil && info.Size() > 0 {
		return []string{"-XX:SharedArchiveFile=" + c.tools.archive}
	}
	if n == nil || n.index != 0 {
		return nil
	}
	n.archives = true
	return []string{"-XX:ArchiveClassesAtExit=" + c.newArchive()}
}

// newArchive is where the archive is made, below the cluster's own directory.
func (c *cluster) newArchive() string { return filepath.Join(c.dir, "classes.jsa") }

// archive ends the node that is to write its classes, and keeps what it wrote.
// It needs the others, or it would not end soon.
func (c *cluster) archive() error {
	if len(c.nodes) == 0 || !c.nodes[0].archives || len(c.up()) < len(c.nodes) {
		return nil
	}
	if _, err := os.Stat(c.tools.archive); err == nil {
		return nil // another was faster
	}
	if err := c.nodes[0].p.end(syscall.SIGTERM, endLimit); err != nil {
		return err
	}
	text, err := os.ReadFile(c.newArchive())
	if err != nil || len(text) == 0 {
		return nil //nolint:nilerr // this Java makes none
	}
	// The cache may be on another file system, and others may be at it, too.
	part, err := os.CreateTemp(filepath.Dir(c.tools.archive), "classes-*.part")
	if err != nil {
		return fmt.Errorf("keep the classes of Kafka: %w", err)
	}
	_, err = part.Write(text)
	if err = errors.Join(err, part.Close()); err == nil {
		err = os.Rename(part.Name(), c.tools.archive)
	}
	if err != nil {
		return fmt.Errorf("keep the classes of Kafka: %w", errors.Join(err, os.Remove(part.Name())))
	}
	return nil
}
