package eventhubstest

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

const limit = 20 * time.Second

func client(t *testing.T, d *Double, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return clientBy(t, d, kgo.DialTLSConfig(d.ClientTLS()), opts...)
}

func clientBy(t *testing.T, d *Double, by kgo.Opt, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(append(d.ClientOpts(), by, kgo.ProducerBatchCompression(kgo.NoCompression())), opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func record(value string) *kgo.Record { return &kgo.Record{Topic: "messages", Value: []byte(value)} }

// refused is how often each refusal happened; others than those named must not
// have.
func refused(t *testing.T, d *Double, want map[Refusal]int) {
	t.Helper()
	got := d.Refusals()
	for r, n := range want {
		if got[r] < n {
			t.Errorf("%q was counted %d times, want at least %d", r, got[r], n)
		}
		delete(got, r)
	}
	if len(got) > 0 {
		t.Errorf("also refused: %v", got)
	}
}

func TestTakesAndGives(t *testing.T) {
	d := Start(t, Options{})
	c := client(t, d)
	for _, v := range []string{"one", "two", "three"} {
		if err := c.ProduceSync(within(t), record(v)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	r := client(t, d, kgo.ConsumeTopics("messages"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for n := 0; n < 3; {
		f := r.PollFetches(within(t))
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		n += f.NumRecords()
	}
	if d.End("messages") != 3 {
		t.Errorf("it holds %d records", d.End("messages"))
	}
	got := d.Refusals()
	delete(got, LeaderEpoch) // which only a dialect keeps a client from
	if len(got) > 0 {
		t.Errorf("refused: %v", got)
	}
}

func TestOffersNoTopicIDs(t *testing.T) {
	d := Start(t, Options{})
	c := client(t, d)
	resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(within(t), c)
	if err != nil {
		t.Fatal(err)
	}
	newest := map[int16]int16{}
	for _, k := range resp.ApiKeys {
		newest[k.ApiKey] = k.MaxVersion
	}
	if newest[3] != 9 || newest[0] > 12 || newest[1] > 12 {
		t.Errorf("Metadata %d, Produce %d, Fetch %d are offered", newest[3], newest[0], newest[1])
	}
	if _, ok := newest[int16(kmsg.EndTxn)]; ok {
		t.Error("transactions are offered")
	}
	meta, err := kadm.NewClient(c).Metadata(within(t), "messages")
	if err != nil || meta.Topics["messages"].ID != (kadm.TopicID{}) {
		t.Errorf("topic id %v, %v", meta.Topics["messages"].ID, err)
	}
}

// A request at the limit is taken, and one byte more ends the connection.
func TestLargestRequest(t *testing.T) {
	d := Start(t, Options{})
	for _, over := range []int{0, 1} {
		conn := dial(t, d)
		enter(t, conn, d.Current())
		req := kmsg.NewPtrProduceRequest()
		req.Version, req.Acks, req.TimeoutMillis = 7, -1, 1000
		topic, part := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
		topic.Topic, part.Records = "messages", []byte{}
		topic.Partitions = append(topic.Partitions, part)
		req.Topics = append(req.Topics, topic)
		fill := MaxRequest - len(frame(req)) + 4 + over
		req.Topics[0].Partitions[0].Records = make([]byte, fill)
		if n := len(frame(req)) - 4; n != MaxRequest+over {
			t.Fatal(n)
		}
		if _, err := conn.Write(frame(req)); err != nil && over == 0 {
			t.Fatal(err)
		}
		_, err := answer(conn)
		if closed := err != nil; closed != (over > 0) {
			t.Errorf("%d bytes above the limit: closed %v, %v", over, closed, err)
		}
	}
	refused(t, d, map[Refusal]int{TooLarge: 1})
	if d.Largest() != MaxRequest+1 {
		t.Errorf("largest %d", d.Largest())
	}
}

func TestRefusesAdministration(t *testing.T) {
	d := Start(t, Options{})
	admin := kadm.NewClient(client(t, d, kgo.MaxVersions(versions(false))))
	if _, err := admin.CreateTopic(within(t), 1, 1, nil, "other"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("create: %v", err)
	}
	if r, err := admin.DeleteTopics(within(t), "messages"); err != nil || !errors.Is(r["messages"].Err, kerr.TopicAuthorizationFailed) {
		t.Errorf("delete: %v, %v", r, err)
	}
	if r, err := admin.CreatePartitions(within(t), 1, "messages"); err != nil || !errors.Is(r["messages"].Err, kerr.TopicAuthorizationFailed) {
		t.Errorf("partitions: %v, %v", r, err)
	}
	if _, err := admin.AlterTopicConfigs(within(t), nil, "messages"); err == nil {
		t.Error("settings can be changed")
	}
	if n := len(d.cluster.PartitionInfos("messages")); n != 4 || d.cluster.TopicInfo("other") != nil {
		t.Errorf("%d partitions, other: %v", n, d.cluster.TopicInfo("other"))
	}
	refused(t, d, map[Refusal]int{Admin: 3})
}

func TestRefusesCompression(t *testing.T) {
	for _, tt := range []struct {
		codec   kgo.CompressionCodec
		premium bool
		want    error
	}{
		{kgo.GzipCompression(), false, kerr.UnsupportedForMessageFormat},
		{kgo.GzipCompression(), true, nil},
		{kgo.SnappyCompression(), true, kerr.UnsupportedForMessageFormat},
		{kgo.Lz4Compression(), false, kerr.UnsupportedForMessageFormat},
	} {
		d := Start(t, Options{Premium: tt.premium})
		c := client(t, d, kgo.ProducerBatchCompression(tt.codec))
		err := c.ProduceSync(within(t), record(string(make([]byte, 4096)))).FirstErr()
		if !errors.Is(err, tt.want) || (err != nil) != (d.Refused(Compressed) > 0) || (err == nil) != (d.End("messages") == 1) {
			t.Errorf("%v, premium %v: %v, refused %v", tt.codec, tt.premium, err, d.Refusals())
		}
	}
}

func TestRefusesTransactions(t *testing.T) {
	for _, premium := range []bool{false, true} {
		d := Start(t, Options{Premium: premium})
		c := client(t, d, kgo.TransactionalID("x"), kgo.RequestRetries(1))
		_, _, err := c.ProducerID(within(t))
		if (err == nil) != premium || premium == (d.Refused(Transactional) > 0) {
			t.Errorf("premium %v: %v, refused %v", premium, err, d.Refusals())
		}
		if !premium {
			continue
		}
		if err := errors.Join(c.BeginTransaction(), c.ProduceSync(within(t), record("x")).FirstErr(), c.EndTransaction(within(t), kgo.TryCommit)); err != nil {
			t.Error(err)
		}
	}
}

// slow notes what a client is told to wait.
type slow struct{ told chan time.Duration }

func (s slow) OnBrokerThrottle(_ kgo.BrokerMetadata, wait time.Duration, _ bool) {
	select {
	case s.told <- wait:
	default:
	}
}

func TestThrottles(t *testing.T) {
	d := Start(t, Options{})
	s := slow{make(chan time.Duration, 1)}
	c := client(t, d, kgo.WithHooks(s), kgo.ProduceRequestTimeout(time.Second))
	d.Throttle(50 * time.Millisecond)
	for range 2 {
		if err := c.ProduceSync(within(t), record("slow")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if told := <-s.told; told != 50*time.Millisecond {
			t.Errorf("told to wait %v", told)
		}
	}
	refusals := d.Refusals()
	if refusals[Throttled] < 2 || refusals[Impatient] > 0 {
		t.Errorf("refused: %v", refusals)
	}
	d.Throttle(2 * time.Second)
	if err := c.ProduceSync(within(t), record("too slow")).FirstErr(); !errors.Is(err, kerr.PolicyViolation) {
		t.Errorf("beyond the timeout of the request: %v", err)
	}
	if d.End("messages") != 2 || d.Refused(OverQuota) != 1 {
		t.Errorf("%d records, refused %v", d.End("messages"), d.Refusals())
	}
	d.Throttle(FetchLimit + 1)
	fetch := kmsg.NewPtrFetchRequest()
	fetch.MaxWaitMillis, fetch.MaxBytes, fetch.Version = 100, 1<<20, 6
	topic, part := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	topic.Topic, part.PartitionMaxBytes = "messages", 1<<20
	topic.Partitions = append(topic.Partitions, part)
	fetch.Topics = append(fetch.Topics, topic)
	resp, err := c.Broker(0).Request(within(t), fetch)
	if err != nil {
		t.Fatal(err)
	}
	if p := resp.(*kmsg.FetchResponse).Topics[0].Partitions[0]; p.ErrorCode != 0 || len(p.RecordBatches) > 0 || d.Refused(OverQuota) != 2 {
		t.Errorf("a fetch beyond the limit: %+v, refused %v", p, d.Refusals())
	}
}

func TestLetsNobodyElseIn(t *testing.T) {
	d := Start(t, Options{})
	other := scram.Auth{User: User, Pass: d.Current()}
	for name, tt := range map[string]struct {
		login sasl.Mechanism
		want  error
	}{
		"another string":    {plain.Auth{User: User, Pass: NewString()}.AsMechanism(), kerr.TopicAuthorizationFailed},
		"another user":      {plain.Auth{User: "alice", Pass: d.Current()}.AsMechanism(), kerr.TopicAuthorizationFailed},
		"another mechanism": {other.AsSha256Mechanism(), kerr.UnsupportedSaslMechanism},
	} {
		c, err := kgo.NewClient(append(d.ClientOpts(tt.login), kgo.DialTLSConfig(d.ClientTLS()))...)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Ping(within(t)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		c.Close()
	}
	conn := dial(t, d)
	if _, err := conn.Write(frame(kmsg.NewPtrMetadataRequest())); err != nil {
		t.Fatal(err)
	}
	if _, err := answer(conn); err == nil {
		t.Error("a stranger is answered")
	}
	bare, err := (&net.Dialer{}).DialContext(within(t), "tcp", d.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	if _, err := bare.Write(frame(kmsg.NewPtrApiVersionsRequest())); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(bare); err != nil && !errors.Is(err, io.EOF) {
		t.Log(err)
	}
	got := d.Refusals()
	if got[Access] < 3 || got[Stranger] != 1 {
		t.Errorf("refused: %v", got)
	}
	next := NewString()
	d.Replace(next)
	if err := client(t, d).Ping(within(t)); err != nil || d.Current() != next {
		t.Errorf("with the new string: %v", err)
	}
}

// A request that is not offered ends the connection; so does ApiVersions of a
// version that is newer than what there is.
func TestClosesOnUnknownVersions(t *testing.T) {
	d := Start(t, Options{})
	for _, req := range []kmsg.Request{&kmsg.ApiVersionsRequest{Version: 4, ClientSoftwareName: "x", ClientSoftwareVersion: "1"}, &kmsg.AlterConfigsRequest{}} {
		conn := dial(t, d)
		if _, err := conn.Write(frame(req)); err != nil {
			t.Fatal(err)
		}
		if _, err := answer(conn); err == nil {
			t.Errorf("request %d version %d is answered", req.Key(), req.GetVersion())
		}
	}
	refused(t, d, map[Refusal]int{Version: 2})
}

// What is stored outlives that it is away.
func TestAwayAndBack(t *testing.T) {
	d := Start(t, Options{})
	c := client(t, d)
	if err := c.ProduceSync(within(t), record("before")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	addr := d.Addr()
	d.Away()
	if conn, err := (&net.Dialer{}).DialContext(within(t), "tcp", addr); err == nil {
		conn.Close()
		t.Error("it takes connections while it is away")
	}
	d.Back()
	if err := c.ProduceSync(within(t), record("after")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if d.End("messages") != 2 || d.Addr() != addr {
		t.Errorf("%d records at %s", d.End("messages"), d.Addr())
	}
}

func dial(t *testing.T, d *Double) net.Conn {
	t.Helper()
	conn, err := (&tls.Dialer{Config: d.ClientTLS()}).DialContext(within(t), "tcp", d.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// frame is a request as it is sent.
func frame(r kmsg.Request) []byte { return kmsg.NewRequestFormatter().AppendRequest(nil, r, 1) }

// answer reads one answer, without its head.
func answer(c net.Conn) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:4])-4)
	_, err := io.ReadFull(c, body)
	return body, err
}

// enter says who we are.
func enter(t *testing.T, c net.Conn, password string) {
	t.Helper()
	for _, r := range []kmsg.Request{
		&kmsg.SASLHandshakeRequest{Version: 1, Mechanism: "PLAIN"},
		&kmsg.SASLAuthenticateRequest{Version: 1, SASLAuthBytes: []byte("\x00" + User + "\x00" + password)},
	} {
		if _, err := c.Write(frame(r)); err != nil {
			t.Fatal(err)
		}
		body, err := answer(c)
		if err != nil || binary.BigEndian.Uint16(body) != 0 {
			t.Fatalf("%x, %v", body, err)
		}
	}
}
