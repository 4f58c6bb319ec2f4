package drill

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/loopback"
	"postroad/test/kafkatest"
)

// realKafka is the Kafka of the tests of this package, each of which has topics
// of its own. TestMain ends it.
var realKafka kafkatest.Shared

// realDrill is a drill on real Kafka under way: a stamp, or the halves of one,
// and a load.
type realDrill struct {
	*testing.T
	ctx     context.Context
	kafka   *kafkatest.Cluster
	brokers string
	topic   string
	binary  Binary
	ledger  *Ledger
	load    *Load
	// listen is where the gateway listens, in all its runs.
	listen string
	// stamp is the process that forwards.
	stamp *Process
	sets  []string
	// commits says that messages are sent in transactions: the hub answers that
	// one is committed before its markers stand in every partition, and until they
	// do readers of committed records are shown none of it.
	commits bool
}

var notOfTopics = regexp.MustCompile(`[^A-Za-z0-9]+`)

// onRealKafka makes a topic of four partitions with some settings, and a load for
// it.
func onRealKafka(t *testing.T, topicSettings map[string]string) *realDrill {
	t.Helper()
	d := &realDrill{T: t, ctx: t.Context(), kafka: realKafka.Use(t), binary: Binary{Path: postroad(t), Dir: keptDir(t)}, ledger: NewLedger()}
	s := seed(t)
	d.topic = fmt.Sprintf("%s-%x", notOfTopics.ReplaceAllString(t.Name(), "-"), s)
	d.brokers = strings.Join(d.kafka.Addrs("plain"), ",")
	d.kafka.CreateTopic(d.ctx, d.topic, 4, topicSettings)
	d.load = d.newLoad(d.ledger, d.topic, s)
	var err error
	if d.listen, err = loopback.Address(d.ctx); err != nil {
		t.Fatal(err)
	}
	return d
}

// realPace leaves the machine to Kafka: what is tried here is not how fast it is.
const realPace = 10 * time.Millisecond

func (d *realDrill) newLoad(l *Ledger, topic string, seed uint64) *Load {
	return NewLoad(l, LoadOptions{
		Topic: topic, Classic: topic == d.topic, Connections: 8, ValueBytes: 256, Patience: startTimeout, Pace: realPace, Seed: seed,
	})
}

// settings are those of a process of the drill's, besides its own.
func (d *realDrill) settings(own ...string) []string {
	var args []string
	for _, set := range append([]string{
		"stamp.name=drill", "admin.listen=127.0.0.1:0", "queue.dir=" + filepath.Join(d.binary.Dir, "queue"),
		"queue.unsafe_file_system=true", // a drill may run in memory
		"hub.brokers=" + d.brokers,
	}, own...) {
		args = append(args, "--set", set)
	}
	return args
}

// process starts a process that is killed with the test, if it still runs.
func (d *realDrill) process(command string, sets ...string) *Process {
	d.Helper()
	d.commits = d.commits || slices.Contains(sets, exactly)
	p, err := d.binary.Start(d.ctx, append([]string{command}, d.settings(sets...)...)...)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() {
		if d.Failed() {
			d.Logf("the log of %s ends:\n%s", command, p.LogTail())
		}
		select {
		case <-p.Ended():
		default:
			if err := p.Kill(); err != nil {
				d.Error(err)
			}
		}
	})
	return p
}

// start starts the stamp with settings, the same after each restart.
func (d *realDrill) start(sets ...string) {
	d.Helper()
	d.sets = append([]string{"http.listen=" + d.listen, "gateway.classic.topic=" + d.topic}, sets...)
	d.stamp = d.process("stamp", d.sets...)
}

// restart kills the stamp and starts it again.
func (d *realDrill) restart() {
	d.Helper()
	if err := d.stamp.Kill(); err != nil {
		d.Fatal(err)
	}
	d.stamp = d.process("stamp", d.sets...)
}

// under runs loads while something is done.
func (d *realDrill) under(do func(), loads ...*Load) {
	d.Helper()
	ctx, cancel := context.WithCancel(d.ctx)
	done := make(chan error, len(loads))
	for _, l := range loads {
		go func() { done <- l.Run(ctx, Target{URL: "http://" + d.listen, Ordered: true}) }()
	}
	defer func() {
		cancel()
		for range loads {
			if err := <-done; err != nil {
				d.Error(err)
			}
		}
	}()
	do()
}

// realLimit bounds each wait for something that real Kafka takes part in.
const realLimit = 2 * time.Minute

// until waits for something.
// draining is which of the forwarders has a chain.
func (d *realDrill) draining(forwards []*Process) (at int) {
	d.Helper()
	d.until("a forwarder drains", func() (bool, error) {
		for i, p := range forwards {
			stamps, err := p.Status(d.ctx)
			if err != nil {
				return false, err
			}
			if len(stamps[0].Forward.Chains) > 0 {
				at = i
				return true, nil
			}
		}
		return false, nil
	})
	return at
}

func (d *realDrill) until(what string, done func() (bool, error)) {
	d.Helper()
	if err := Until(d.ctx, realLimit, what, done); err != nil {
		d.Fatal(err)
	}
}

// enough is how many messages show that they flow.
const enough = 200

// acknowledges waits until the gateway has taken some more.
func (d *realDrill) acknowledges(when string) {
	d.Helper()
	before := d.load.Acknowledged()
	d.until(when+": requests are acknowledged", func() (bool, error) { return d.load.Acknowledged()-before >= enough, nil })
}

// status is the state of the process that forwards.
func (d *realDrill) status() (StampStatus, error) {
	stamps, err := d.stamp.Status(d.ctx)
	if err != nil {
		return StampStatus{}, err
	}
	return stamps[0], nil
}

// forwards waits until the hub has taken some more, and returns how long that
// was.
func (d *realDrill) forwards(when string) time.Duration {
	d.Helper()
	began, before := time.Now(), int64(-1)
	d.until(when+": messages are forwarded", func() (bool, error) {
		s, err := d.status()
		if before < 0 {
			before = s.Forward.ForwardedTotal
		}
		return s.Forward.ForwardedTotal-before >= enough, err
	})
	return time.Since(began)
}

// backlog waits until so many messages wait for the hub.
func (d *realDrill) backlog(when string, want func(messages int64) bool) {
	d.Helper()
	n := int64(-1)
	err := Until(d.ctx, realLimit, when+": the backlog changes", func() (bool, error) {
		s, err := d.status()
		n = s.Queue.UnforwardedMessages
		return want(n), err
	})
	if err != nil {
		d.Fatalf("%v: %d messages wait", err, n)
	}
}

// end is the number of offsets in all partitions of a topic. It asks again where
// a leader is away.
func (d *realDrill) end(topic string) (offsets int64) {
	d.Helper()
	var trouble error
	err := Until(d.ctx, realLimit, "the topic has an end", func() (bool, error) {
		ends, err := d.kafka.Admin().ListEndOffsets(d.ctx, topic)
		if trouble = errors.Join(err, ends.Error()); trouble != nil {
			return false, nil
		}
		offsets = 0
		for _, p := range ends[topic] {
			offsets += p.Offset
		}
		return true, nil
	})
	if err != nil {
		d.Fatalf("%v: %v", err, trouble)
	}
	return offsets
}

// judge waits until all is forwarded, and judges what a reader sees.
func (d *realDrill) judge(l *Ledger, topic string) Verdict {
	d.Helper()
	result, err := d.binary.Judge(d.ctx, l, d.stamp, d.brokers, topic)
	d.Log(result)
	if err != nil {
		d.Fatal(err)
	}
	if result.Early > 0 && !d.commits {
		d.Error("the status said that all was in the hub when it was not")
	}
	return result.Verdict
}

// keeps is a verdict without any finding.
func (d *realDrill) keeps(v Verdict) {
	d.Helper()
	if !v.OK() {
		d.Error("the promise is broken")
	}
}

// raw reads a topic as it is, duplicates too, without what transactions have
// taken back, and judges that: what is seen twice stands there twice.
func (d *realDrill) raw(topic string) Verdict {
	d.Helper()
	return d.asItIs(topic, kgo.SeedBrokers(d.kafka.Addrs("plain")...), kgo.DisableClientMetrics())
}

// asItIs is raw for any hub that clients reach in some way.
func (d *realDrill) asItIs(topic string, way ...kgo.Opt) Verdict {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.ctx, realLimit)
	defer cancel()
	left := d.ends(ctx, topic, way)
	from := map[int32]kgo.Offset{}
	for p := range left {
		from[p] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(append(slices.Clip(way), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))...)
	if err != nil {
		d.Fatal(err)
	}
	defer client.Close()
	judge := d.ledger.Judge()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			d.Fatalf("read %s as it is: %v", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				judge.Saw(Record{Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value})
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return judge.Verdict()
}

// ends are those of a topic's partitions that hold anything. What stands last there
// is a record that counts, or the mark of a transaction's end.
func (d *realDrill) ends(ctx context.Context, topic string, way []kgo.Opt) map[int32]int64 {
	d.Helper()
	client, err := kgo.NewClient(way...)
	if err != nil {
		d.Fatal(err)
	}
	defer client.Close()
	listed, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		d.Fatal(err)
	}
	ends := map[int32]int64{}
	for _, p := range listed[topic] {
		if p.Offset > 0 {
			ends[p.Partition] = p.Offset
		}
	}
	return ends
}

// uncertain takes back that anything was acknowledged by a time: it may have been
// seen or not.
func (d *realDrill) uncertain(l *Ledger, by time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.sends {
		if s := &l.sends[i]; s.acknowledged && !s.answered.After(by) {
			s.acknowledged, s.open = false, max(s.open, 1)
		}
	}
}

// unordered takes the promise of order from all streams that there are.
func unordered(l *Ledger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.sends {
		l.sends[i].stream = NoStream
	}
}
