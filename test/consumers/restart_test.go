package consumers

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"postroad/test/kafkatest"
)

const (
	window     = 200
	partitions = 2
)

// world is a topic of a real Kafka with duplicates, and what is to be shown of
// it.
type world struct {
	kafka *kafkatest.Cluster
	topic string
	seed  uint64
	want  [][]*record // by the window
	ever  [][]*record // each id once, however far apart
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c := kafka.Use(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &world{kafka: c, seed: seed, topic: strings.ReplaceAll(t.Name(), "/", "-")}
	c.CreateTopic(t.Context(), w.topic, partitions, nil)
	random := rand.New(rand.NewPCG(seed, 0))
	for p := range int32(partitions) {
		rs := duplicates(random, p, 2000, window)
		produce(t, c.Addrs("plain"), w.topic, rs)
		w.want = append(w.want, expected(rs, window, 0, 0, false))
		w.ever = append(w.ever, expected(rs, forever, 0, 0, false))
	}
	return w
}

// properties writes a client.properties for a group. The member has a name, so
// that one that starts again need not wait until the one before is given up.
func (w *world) properties(t *testing.T, group string) string {
	t.Helper()
	return writeProperties(t, w.kafka.Addrs("plain"), group, 1)
}

func writeProperties(t *testing.T, addrs []string, group string, member int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "client.properties")
	text := fmt.Sprintf("bootstrap.servers=%s\ngroup.id=%s\ngroup.instance.id=%s-%d\n", strings.Join(addrs, ","), group, group, member)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A consumer that is killed and started again, with duplicates on both sides of
// where it was, in each way of keeping where that is.
func TestRecipes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, l := range languages() {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			r := l.prepare(t)
			t.Run("print", func(t *testing.T) { w.restartPrinter(t, r, l.name) })
			t.Run("positions", func(t *testing.T) {
				for _, problem := range judge(w.restartDatabase(t, r, l.name, "positions", window), w.want...) {
					t.Error(problem)
				}
			})
			t.Run("ids", func(t *testing.T) {
				for _, problem := range judge(w.restartDatabase(t, r, l.name, "ids", 0), w.ever...) {
					t.Error(problem)
				}
			})
			t.Run("blind", func(t *testing.T) {
				twin := l.prepare(t, l.blind)
				problems := judge(w.restartDatabase(t, twin, l.name+"-blind", "positions", window), w.want...)
				if len(problems) == 0 {
					t.Error("nobody noticed that it did not look back")
				}
				t.Log(problems)
			})
			t.Run("paused", func(t *testing.T) { w.pausedWritesNothing(t, r, l.name) })
			t.Run("moves", func(t *testing.T) { w.partitionsMove(t, r, l.name) })
			t.Run("corners", func(t *testing.T) {
				for _, problem := range corners(t, r) {
					t.Error(problem)
				}
			})
		})
	}
}

// restartDatabase kills a recipe that writes to a database and lets the next
// run finish, and returns what the database has.
func (w *world) restartDatabase(t *testing.T, r recipe, name, sink string, lookBack int) []shown {
	t.Helper()
	db, properties := filepath.Join(t.TempDir(), "db"), w.properties(t, name+"-"+sink)
	args := []string{properties, w.topic, strconv.Itoa(lookBack), sink, db}
	p := r.start(t, args...)
	p.until(count(600))
	p.end(syscall.SIGKILL)
	p = r.start(t, args...)
	p.until(lastOf(partitions))
	p.end(syscall.SIGTERM)
	return parse(t, r.output(t.Context(), t, "dump", db))
}

// restartPrinter kills a recipe that prints, then stops it, then lets it finish.
// Only what was printed and not committed when it was killed may be there twice.
func (w *world) restartPrinter(t *testing.T, r recipe, name string) {
	group := name + "-print"
	args := []string{w.properties(t, group), w.topic, strconv.Itoa(window), "print"}
	p := r.start(t, args...)
	p.until(count(600))
	killed := p.end(syscall.SIGKILL)
	committed, err := w.kafka.Admin().FetchOffsets(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	var got []shown
	again := 0
	for _, s := range killed {
		if at, ok := committed.Lookup(w.topic, s.Partition); ok && s.Offset < at.At {
			got = append(got, s)
		} else {
			again++
		}
	}
	p = r.start(t, args...)
	p.until(count(500))
	got = append(got, p.end(syscall.SIGTERM)...)
	p = r.start(t, args...)
	p.until(lastOf(partitions))
	got = append(got, p.end(syscall.SIGTERM)...)
	for _, problem := range judge(got, w.want...) {
		t.Error(problem)
	}
	for _, s := range killed { // what is there twice is what the topic has there
		if !slices.ContainsFunc(w.want[s.Partition], func(r *record) bool { return same(s, r) }) {
			t.Errorf("partition %d: offset %d was shown before the kill", s.Partition, s.Offset)
		}
	}
	t.Logf("%d messages were printed before the kill, %d of them not committed", len(killed), again)
}

// A process that was paused while another one took its partitions over writes
// nothing any more.
func (w *world) pausedWritesNothing(t *testing.T, r recipe, name string) {
	db := filepath.Join(t.TempDir(), "db")
	args := []string{w.topic, strconv.Itoa(window), "positions", db}
	paused := r.start(t, append([]string{w.properties(t, name+"-paused")}, args...)...)
	paused.until(count(300)) // it is a pipe ahead at most, then waits in its printing
	other := r.start(t, append([]string{w.properties(t, name+"-other")}, args...)...)
	other.until(lastOf(partitions))
	other.end(syscall.SIGTERM)
	paused.drain()
	if paused.cmd.ProcessState.Success() || !strings.Contains(paused.errs.String(), "another process has gone on") {
		t.Errorf("%v: %s", paused.cmd.ProcessState, paused.errs.String())
	}
	for _, problem := range judge(parse(t, r.output(t.Context(), t, "dump", db)), w.want...) {
		t.Error(problem)
	}
}

// A partition goes from one member of a group to another, and duplicates of
// what the one showed come to the other.
func (w *world) partitionsMove(t *testing.T, r recipe, name string) {
	const half = 400
	topic, group, addrs := "moves-"+name, name+"-moves", w.kafka.Addrs("plain")
	w.kafka.CreateTopic(t.Context(), topic, partitions, nil)
	random := rand.New(rand.NewPCG(w.seed, 1))
	var all [partitions][]*record
	shownFirst := 0
	for p := range int32(partitions) {
		all[p] = duplicates(random, p, 2*half, window)
		produce(t, addrs, topic, all[p][:half])
		shownFirst += len(expected(all[p][:half], window, 0, 0, false))
	}
	args := []string{topic, strconv.Itoa(window), "print"}
	one := r.start(t, append([]string{writeProperties(t, addrs, group, 1)}, args...)...)
	one.until(count(shownFirst))
	two := r.start(t, append([]string{writeProperties(t, addrs, group, 2)}, args...)...)
	w.waitShared(t, group)
	var want [][]*record
	for p := range int32(partitions) {
		produce(t, addrs, topic, all[p][half:])
		want = append(want, expected(all[p], window, 0, 0, false))
	}
	two.until(lastOf(1))
	one.until(lastOf(1))
	for _, problem := range judge(append(one.end(syscall.SIGTERM), two.end(syscall.SIGTERM)...), want...) {
		t.Error(problem)
	}
}

// waitShared waits until each of two members of a group has a partition.
func (w *world) waitShared(t *testing.T, group string) {
	t.Helper()
	for deadline := time.Now().Add(runLimit); ; {
		groups, err := w.kafka.Admin().DescribeGroups(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		members := 0
		for _, m := range groups[group].Members {
			if a, ok := m.Assigned.AsConsumer(); ok && len(a.Topics) > 0 {
				members++
			}
		}
		if members == 2 && groups[group].State == "Stable" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the group is %+v", groups[group])
		}
		<-time.After(50 * time.Millisecond)
	}
}

// What the page says of a topic that is made anew: Kafka forgets the positions
// of groups in it.
func TestKafkaForgetsPositionsOfADeletedTopic(t *testing.T) {
	c := kafka.Use(t)
	const topic, group = "made-anew", "made-anew"
	position := func() (kadm.OffsetResponse, bool) {
		t.Helper()
		all, err := c.Admin().FetchOffsets(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		return all.Lookup(topic, 0)
	}
	c.CreateTopic(t.Context(), topic, 1, nil)
	produce(t, c.Addrs("plain"), topic, sequence(0, 1, 2, 3))
	var at kadm.Offsets
	at.Add(kadm.Offset{Topic: topic, At: 3, LeaderEpoch: -1})
	if err := c.Admin().CommitAllOffsets(t.Context(), group, at); err != nil {
		t.Fatal(err)
	}
	if o, ok := position(); !ok || o.At != 3 {
		t.Fatalf("the position is %+v", o)
	}
	if _, err := c.Admin().DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(runLimit); ; {
		o, ok := position()
		if !ok || o.At < 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the position is still %+v", o)
		}
		<-time.After(50 * time.Millisecond)
	}
}
