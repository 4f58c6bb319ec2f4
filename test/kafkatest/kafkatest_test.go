package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// producer is a client of a listener that waits for all replicas in sync, and
// gives up after a while; sooner on a node that hangs.
func producer(t *testing.T, addrs []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addrs...), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordDeliveryTimeout(time.Minute), kgo.RetryTimeout(5 * time.Second),
		kgo.ProduceRequestTimeout(2 * time.Second), kgo.RequestTimeoutOverhead(3 * time.Second),
		kgo.DialTimeout(5 * time.Second), kgo.DisableClientMetrics(), kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func produce(ctx context.Context, client *kgo.Client, topic, value string) error {
	return client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr()
}

// A cluster outlives the loss of a node and of its controller with all that was
// acknowledged, and what was ended comes back.
func TestCluster(t *testing.T) {
	c, ctx := Start(t, Options{}), t.Context()
	const topic = "cluster"
	c.CreateTopic(ctx, topic, 1, nil)
	client := producer(t, c.Addrs("plain"))
	sent := 0
	send := func(when string) {
		t.Helper()
		if err := produce(ctx, client, topic, when); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		sent++
	}
	send("at first")

	leader := c.Leader(ctx, topic, 0)
	c.Kill(leader)
	send("leader killed")
	if now := c.Leader(ctx, topic, 0); now == leader {
		t.Errorf("node %d leads, and was killed", leader)
	}
	c.Restore()
	c.WaitInSync(ctx, topic)

	controller := c.Controller(ctx)
	c.Pause(controller)
	var other int
	if err := until(ctx, answerLimit, func(ctx context.Context) error {
		if other = c.Controller(ctx); other == controller {
			return errors.New("the controller hangs and still leads")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	send("controller hangs")
	c.Resume(controller)
	c.WaitInSync(ctx, topic)

	c.Stop(leader)
	c.StartNode(leader)
	send("in the end")
	ends, err := c.Admin().ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	if end, _ := ends.Lookup(topic, 0); end.Offset != int64(sent) {
		t.Errorf("the topic has %d records, not %d", end.Offset, sent)
	}
	if log := c.Log(leader); !strings.Contains(log, "Kafka Server started") {
		t.Errorf("no start in the log: %s", log)
	}
}

// What tests must not leave behind is gone even where they are killed.
func TestNodesEndWithTheTest(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), orphanEnv+"="+t.TempDir())
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("it was not killed: %v: %s", err, out)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	err = until(t.Context(), answerLimit, func(context.Context) error {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(text, []byte(") Z ")) {
			return nil // gone, or dead and not waited for
		}
		return fmt.Errorf("process %d lives", pid)
	})
	if err != nil {
		t.Error(errors.Join(err, syscall.Kill(pid, syscall.SIGKILL)))
	}
}

// fakeMaven writes a class path of one jar, makes the jar, and counts its runs.
func fakeMaven(t *testing.T) (mvn, cache, jar string, runs func() int) {
	t.Helper()
	dir := t.TempDir()
	cache = t.TempDir()
	mvn, jar = filepath.Join(dir, "mvn"), filepath.Join(dir, "kafka.jar")
	log := filepath.Join(dir, "runs")
	script := fmt.Sprintf("#!/bin/sh\nset -eu\necho run >>%s\necho jar >%s\nfor a; do case $a in -Dmdep.outputFile=*) echo %s >\"${a#*=}\";; esac; done\n", log, jar, jar)
	if err := os.WriteFile(mvn, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return mvn, cache, jar, func() int {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(text, []byte("run"))
	}
}

// Of many that want the jars at once one fetches them, and they are fetched
// again where they have gone.
func TestClassPathIsKeptAndNotReliedUpon(t *testing.T) {
	mvn, cache, jar, runs := fakeMaven(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if path, err := classPath(t.Context(), mvn, pom, cache); err != nil || path != jar {
				t.Errorf("class path %q, %v", path, err)
			}
		})
	}
	all.Wait()
	if n := runs(); n != 1 {
		t.Errorf("Maven ran %d times for eight at once", n)
	}
	if err := os.Remove(jar); err != nil {
		t.Fatal(err)
	}
	if path, err := classPath(t.Context(), mvn, pom, cache); err != nil || path != jar {
		t.Errorf("class path %q, %v", path, err)
	}
	if n := runs(); n != 2 {
		t.Errorf("Maven ran %d times, and the jar had gone", n)
	}
}

func TestMavenThatFails(t *testing.T) {
	cache := t.TempDir()
	for name, want := range map[string]string{"false": "mvn: exit status 1", "true": "mvn wrote none"} {
		mvn, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if path, err := classPath(t.Context(), mvn, pom, cache); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v", name, path, err)
		}
	}
}

// fakeCommand puts a script among the commands that are found.
func fakeCommand(t *testing.T, dir, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// A machine that cannot run Kafka is told from one on which it fails.
func TestMissingTools(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for _, tc := range []struct {
		command, script, want string
		missing               bool
	}{
		{"", "", "java is not installed", true},
		{"java", `echo 'openjdk version "11.0.2" 2019-01-15' >&2`, "mvn (Maven) is not installed", true},
		{"mvn", "exit 1", "java 11 is older than 17", true},
		{"java", "echo nonsense", "no version in", false},
	} {
		if tc.command != "" {
			fakeCommand(t, dir, tc.command, tc.script)
		}
		_, err := findTools(t.Context())
		if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, errMissing) != tc.missing {
			t.Errorf("%v, want %q (missing: %v)", err, tc.want, tc.missing)
		}
	}
}
