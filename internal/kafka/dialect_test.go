package kafka

import (
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"postroad/internal/message"
)

// witness notes what a cluster is asked.
type witness struct {
	mu      sync.Mutex
	highest map[int16]int16 // guarded by mu: versions by key
	epochs  int             // guarded by mu: requests that told a leader epoch
	ids     int             // guarded by mu: requests by topic id
	largest int             // guarded by mu: of produce requests, in bytes
	packed  int             // guarded by mu: compressed batches
}

func (w *witness) stand(c *kfake.Cluster) {
	c.Control(func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.note(r)
		return nil, nil, false
	})
}

func (w *witness) note(r kmsg.Request) {
	if v, seen := w.highest[r.Key()]; !seen || v < r.GetVersion() {
		w.highest[r.Key()] = r.GetVersion()
	}
	switch r := r.(type) {
	case *kmsg.FetchRequest:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if p.CurrentLeaderEpoch >= 0 || p.LastFetchedEpoch >= 0 {
					w.epochs++
				}
			}
			if t.TopicID != [16]byte{} {
				w.ids++
			}
		}
	case *kmsg.ListOffsetsRequest:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if p.CurrentLeaderEpoch >= 0 {
					w.epochs++
				}
			}
		}
	case *kmsg.ProduceRequest:
		w.largest = max(w.largest, len(r.AppendTo(nil)))
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				var b kmsg.RecordBatch
				if b.ReadFrom(p.Records) == nil && b.Attributes&7 != 0 {
					w.packed++
				}
			}
		}
	}
}

// What Event Hubs does not know, or takes amiss, is never sent to it, although
// the cluster here offers everything; the dialect of Kafka does send it, or the
// witness would prove nothing.
func TestEventHubsDialect(t *testing.T) {
	for _, dialect := range []string{dialectEventHubs, dialectKafka} {
		t.Run(dialect, func(t *testing.T) {
			a := newAuthority(t)
			c, addr := startCluster(t, a.tls(t, "hub.example"), kfake.EnableSASL(), kfake.Superuser("PLAIN", connectionUser, connText))
			w := &witness{highest: map[int16]int16{}}
			w.stand(c)
			o := options(addr)
			o.Dialect, o.TLS.CAFile = dialect, a.file
			if conn := writeFile(t, "conn", connText+"\n"); dialect == dialectEventHubs {
				o.ConnectionStringFile = conn
			} else {
				o.SASL = SASLOptions{Mechanism: mechanismPlain, Username: connectionUser, PasswordFile: conn}
			}
			o.RequestTimeout = 10 * time.Second
			s := startSink(t, o)
			if _, err := s.Partitions(t.Context(), "absent"); dialect == dialectEventHubs && Classify(err) != ClassHold {
				t.Errorf("a missing topic: %v", err)
			}
			big := make([]message.Stored, 12) // of three partitions, in requests as large as they may be
			for i := range big {
				big[i] = stored(uint64(i + 1))
				big[i].Value = make([]byte, 400_000)
			}
			var wg sync.WaitGroup
			for i := range big {
				wg.Add(1)
				if err := s.Produce(&big[i], int32(i%3), s.Turn(), func(_ int64, err error) {
					if err != nil {
						t.Error(err)
					}
					wg.Done()
				}); err != nil {
					t.Fatal(err)
				}
			}
			waitFor(t, &wg)
			r, err := NewReader(o, Deps{})
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			if err := r.Follow(t.Context(), FollowOptions{Topic: "messages", UntilEnd: true}, func(Record) error { n++; return nil }); err != nil || n != len(big) {
				t.Errorf("read %d messages, %v", n, err)
			}
			marks := []message.Mark{{Topic: "messages", Partition: 0}}
			if _, err := s.ReadBack(t.Context(), marks, func(message.Place, message.Mark) {}); err != nil {
				t.Error(err)
			}
			w.judge(t, dialect)
		})
	}
}

func (w *witness) judge(t *testing.T, dialect string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	_, created := w.highest[int16(kmsg.CreateTopics)]
	_, asked := w.highest[int16(kmsg.OffsetForLeaderEpoch)]
	meta, hello := w.highest[int16(kmsg.Metadata)], w.highest[int16(kmsg.ApiVersions)]
	if dialect == dialectKafka {
		if !created || meta < 10 || hello < 4 || w.ids == 0 || w.epochs == 0 || w.largest <= eventHubsMaxRequest {
			t.Errorf("the witness sees too little: created %v, hello %d, metadata %d, ids %d, epochs %d, largest %d", created, hello, meta, w.ids, w.epochs, w.largest)
		}
		return
	}
	if created || asked || meta > 9 || hello > 3 || w.ids > 0 || w.epochs > 0 || w.packed > 0 || w.largest > eventHubsMaxRequest {
		t.Errorf("created %v, asked about epochs %v, hello %d, metadata %d, ids %d, epochs %d, compressed %d, largest %d",
			created, asked, hello, meta, w.ids, w.epochs, w.packed, w.largest)
	}
}

func TestEventHubsSettings(t *testing.T) {
	o := DefaultOptions()
	o.Dialect, o.Brokers = dialectEventHubs, []string{"ns.servicebus.windows.net", "10.0.0.4:9093"}
	o = o.forDialect()
	if o.Brokers[0] != "ns.servicebus.windows.net:9093" || o.Brokers[1] != "10.0.0.4:9093" || o.CreateTopics {
		t.Errorf("brokers %v, create topics %v", o.Brokers, o.CreateTopics)
	}
	client, err := kgo.NewClient(append(o.dialectOpts(), kgo.SeedBrokers("127.0.0.1:1"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for name, want := range map[string]any{
		"MetadataMaxAge": 180 * time.Second, "ConnIdleTimeout": 110 * time.Second, "BrokerMaxWriteBytes": int32(1046528),
	} {
		if got := client.OptValue(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if _, err := client.Request(t.Context(), kmsg.NewPtrCreateTopicsRequest()); err == nil || kerr.IsRetriable(err) {
		t.Errorf("CreateTopics can be sent: %v", err)
	}
}
