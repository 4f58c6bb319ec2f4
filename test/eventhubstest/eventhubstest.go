package eventhubstest

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// User is the user name with which a connection string is the password.
const User = "$ConnectionString"

// MaxRequest is the largest request in bytes, without the four that say its
// length (Microsoft, "Recommended configurations for Apache Kafka clients",
// max.request.size).
const MaxRequest = 1046528

// IdleLimit is how long a connection may be silent (the same page,
// connections.max.idle.ms).
const IdleLimit = 240 * time.Second

// FetchLimit is the time by which a throttled fetch is answered at all: the
// request timeout that Microsoft advises for consumers. A produce request says
// its own.
const FetchLimit = 60 * time.Second

// Options say what a Double is.
type Options struct {
	// Topics are the event hubs that there are, with their partition counts;
	// where there are none, "messages" with 4.
	Topics map[string]int32
	// Compacted are event hubs of one partition with cleanup policy Compact.
	Compacted []string
	// Premium offers what the tiers Premium and Dedicated do: transactions, gzip,
	// and the request that asks about leader epochs.
	Premium bool
	// Idle is how long a connection may be silent; 0 means IdleLimit.
	Idle time.Duration
	// IdleReset closes what was idle for too long. Else it is as by a balancer
	// between the two: the connection stands, and nothing ever comes of it.
	IdleReset bool
	// Listen is used in place of net.Listen, where not nil: to run in virtual time.
	Listen func(network, address string) (net.Listener, error)
}

// Double is a running double. Its methods are safe for concurrent use.
type Double struct {
	t       testing.TB
	opts    Options
	cluster *kfake.Cluster
	door    *door
	dir     string
	offers  *kversion.Versions
	tls     *tls.Config
	client  *tls.Config

	mu       sync.Mutex
	strings  []string        // guarded by mu: the connection strings that are good
	current  string          // guarded by mu: the newest of them
	throttle time.Duration   // guarded by mu
	counts   map[Refusal]int // guarded by mu
	largest  int             // guarded by mu: of all requests, in bytes
}

// Start starts a double that ends with the test.
func Start(t testing.TB, o Options) *Double {
	t.Helper()
	if o.Idle == 0 {
		o.Idle = IdleLimit
	}
	if o.Listen == nil {
		o.Listen = net.Listen //nolint:noctx // ends with the test
	}
	if len(o.Topics) == 0 {
		o.Topics = map[string]int32{"messages": 4}
	}
	d := &Double{t: t, opts: o, dir: t.TempDir(), counts: map[Refusal]int{}, offers: versions(o.Premium)}
	if err := d.makeKeys(); err != nil {
		t.Fatal("keys of the double of Event Hubs:", err)
	}
	d.Replace(NewString())
	var err error
	if d.door, err = openDoor(d); err != nil {
		t.Fatal("double of Event Hubs:", err)
	}
	t.Cleanup(d.door.shut)
	opts := []kfake.Opt{
		kfake.NumBrokers(1), kfake.ClusterID("eventhubs-double"), kfake.MaxVersions(d.offers),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return d.door, nil }),
	}
	for topic, n := range o.Topics {
		opts = append(opts, kfake.SeedTopics(n, topic))
	}
	if d.cluster, err = kfake.NewCluster(opts...); err != nil {
		t.Fatal("double of Event Hubs:", err)
	}
	t.Cleanup(d.cluster.Close)
	for _, topic := range o.Compacted {
		if err := d.cluster.CreateTopic(topic, 1, map[string]string{"cleanup.policy": "compact"}); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// NewString makes a connection string of a rule of the namespace at this machine.
// It has no port, as those of Event Hubs, so that brokers must be set beside it.
func NewString() string {
	var key [32]byte
	rand.Read(key[:]) // never fails
	return "Endpoint=sb://127.0.0.1/;SharedAccessKeyName=Postroad;SharedAccessKey=" + base64.StdEncoding.EncodeToString(key[:])
}

// Addr is host:port.
func (d *Double) Addr() string { return d.door.Addr().String() }

// CAFile has the certificate by which the double's is trusted.
func (d *Double) CAFile() string { return filepath.Join(d.dir, "ca.pem") }

// StringFile holds the connection string.
func (d *Double) StringFile() string { return filepath.Join(d.dir, "connection-string") }

// Settings are those of the section hub by which the double is reached, each
// "path=value".
func (d *Double) Settings() []string {
	return []string{
		"hub.dialect=eventhubs", "hub.brokers=" + d.Addr(),
		"hub.connection_string_file=" + d.StringFile(), "hub.tls.ca_file=" + d.CAFile(),
	}
}

// Accept makes these connection strings the good ones. Connections that exist live
// on, see Drop.
func (d *Double) Accept(strings ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.strings = slices.Clone(strings)
}

// Current is the connection string that is in the file.
func (d *Double) Current() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current
}

// Write puts a connection string into the file at once, whether it is good or not.
func (d *Double) Write(s string) {
	d.t.Helper()
	d.mu.Lock()
	d.current = s
	d.mu.Unlock()
	next := d.StringFile() + ".next"
	err := os.WriteFile(next, []byte(s+"\n"), 0o600)
	if err == nil {
		err = os.Rename(next, d.StringFile())
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// Replace makes one connection string the only good one, and writes it.
func (d *Double) Replace(s string) {
	d.t.Helper()
	d.Write(s)
	d.Accept(s)
}

// Throttle slows each produce and fetch request down by that much, until it is
// called again. 0 ends it.
func (d *Double) Throttle(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.throttle = by
}

// Live is how many connections there are by which messages came, without those
// that were idle for too long.
func (d *Double) Live() int { return d.door.live() }

// Drop closes all connections.
func (d *Double) Drop() { d.door.drop() }

// Away closes all connections and takes no more, until Back. What is stored stays.
func (d *Double) Away() { d.door.shut() }

// Back listens again, at the same address.
func (d *Double) Back() {
	d.t.Helper()
	if err := d.door.open(d.Addr()); err != nil {
		d.t.Fatal("double of Event Hubs:", err)
	}
}

// Create makes an event hub, as the portal does.
func (d *Double) Create(topic string, partitions int32) {
	d.t.Helper()
	if err := d.cluster.CreateTopic(topic, partitions, nil); err != nil {
		d.t.Fatal(err)
	}
}

// End is the number of offsets in all partitions of an event hub.
func (d *Double) End(topic string) (n int64) {
	for _, p := range d.cluster.PartitionInfos(topic) {
		n += p.HighWatermark
	}
	return n
}

// Largest is the size of the largest request that came, in bytes.
func (d *Double) Largest() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.largest
}

// ClientOpts are what a client of franz-go needs to get in, besides TLS. Without a
// login it is the connection string that is in the file.
func (d *Double) ClientOpts(login ...sasl.Mechanism) []kgo.Opt {
	if len(login) == 0 {
		login = append(login, plain.Auth{User: User, Pass: d.Current()}.AsMechanism())
	}
	v := kversion.Stable()
	v.SetMaxKeyVersion(int16(kmsg.ApiVersions), newestAPIVersions)
	return []kgo.Opt{
		kgo.SeedBrokers(d.Addr()), kgo.DisableClientMetrics(), kgo.MaxVersions(v),
		kgo.SASL(login...),
	}
}

// ClientTLS is the TLS of a client that trusts the double.
func (d *Double) ClientTLS() *tls.Config { return d.client.Clone() }
