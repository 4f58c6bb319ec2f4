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
	want  [][]*record // by the window
	ever  [][]*record // each id once, however far apart
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c := kafka.Use(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &world{kafka: c, topic: strings.ReplaceAll(t.Name(), "/", "-")}
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
	return writeProperties(t, w.kafka.Addrs("plain"), group)
}

func writeProperties(t *testing.T, addrs []string, group string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "client.properties")
	text := fmt.Sprintf("bootstrap.servers=%s\ngroup.id=%s\ngroup.instance.id=%s-1\n", strings.Join(addrs, ","), group, group)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A consumer that is killed and started again, with duplicates on both sides of
// where it was.
func TestRestarts(t *testing.T) {
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
func TestPausedProcessWritesNothing(t *testing.T) {
	w := newWorld(t)
	for _, l := range languages() {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			r, db := l.prepare(t), filepath.Join(t.TempDir(), "db")
			args := []string{w.topic, strconv.Itoa(window), "positions", db}
			paused := r.start(t, append([]string{w.properties(t, l.name + "-paused")}, args...)...)
			paused.until(count(300)) // it is a pipe ahead at most, then waits in its printing
			other := r.start(t, append([]string{w.properties(t, l.name + "-other")}, args...)...)
			other.until(lastOf(partitions))
			other.end(syscall.SIGTERM)
			paused.drain()
			if paused.cmd.ProcessState.Success() || !strings.Contains(paused.errs.String(), "another process has gone on") {
				t.Errorf("%v: %s", paused.cmd.ProcessState, paused.errs.String())
			}
			for _, problem := range judge(parse(t, r.output(t.Context(), t, "dump", db)), w.want...) {
				t.Error(problem)
			}
		})
	}
}
