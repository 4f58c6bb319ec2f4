package eventhubstest

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// judge applies the rules to a request: an answer, or none where the broker is to
// answer, or an error that ends the connection.
func (c *conn) judge(r *request, version int16) ([]byte, error) {
	if !offered(c.d.offers, r.Key(), version) {
		c.d.count(Version)
		return nil, errRefused
	}
	switch req := r.Request.(type) {
	case *kmsg.ApiVersionsRequest:
		return nil, nil
	case *kmsg.SASLHandshakeRequest:
		return c.handshake(req), nil
	case *kmsg.SASLAuthenticateRequest:
		return c.authenticate(req), nil
	}
	if !c.in {
		c.d.count(Stranger)
		return nil, errRefused
	}
	if answer := c.administration(r); answer != nil {
		c.d.count(Admin)
		return answer, nil
	}
	if answer := c.transaction(r); answer != nil {
		c.d.count(Transactional)
		return answer, nil
	}
	return c.data(r), nil
}

// handshake offers PLAIN only. Event Hubs has OAUTHBEARER too; the double has no
// directory to ask.
func (c *conn) handshake(req *kmsg.SASLHandshakeRequest) []byte {
	resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
	resp.SupportedMechanisms = []string{"PLAIN"}
	if req.Mechanism != "PLAIN" {
		c.d.count(Access)
		resp.ErrorCode = kerr.UnsupportedSaslMechanism.Code
	}
	return resp.AppendTo(nil)
}

// authenticate answers a wrong connection string as Event Hubs does: by
// TOPIC_AUTHORIZATION_FAILED, with a text (azure-event-hubs-for-kafka#253), and
// with null where the protocol wants bytes, which Java's client cannot read
// (azure-event-hubs-for-kafka#99 and #169). Microsoft's list of problems has the
// same code for a namespace of the tier Basic.
func (c *conn) authenticate(req *kmsg.SASLAuthenticateRequest) []byte {
	parts := bytes.Split(req.SASLAuthBytes, []byte{0})
	if len(parts) == 3 && string(parts[1]) == User && c.d.good(string(parts[2])) {
		c.in = true
		return req.ResponseKind().AppendTo(nil)
	}
	c.d.count(Access)
	c.in = false
	const text = "The connection string is not one of this namespace."
	out := binary.BigEndian.AppendUint16(nil, uint16(kerr.TopicAuthorizationFailed.Code))
	out = append(binary.BigEndian.AppendUint16(out, uint16(len(text))), text...)
	out = binary.BigEndian.AppendUint32(out, ^uint32(0))
	if req.Version >= 1 {
		out = binary.BigEndian.AppendUint64(out, 0) // a session without end
	}
	return out
}

func (d *Double) good(s string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.strings, s)
}

// administration refuses what changes the namespace. Event Hubs offers these
// requests (see versions), while Microsoft's overview has event hubs made by the
// portal and ARM alone: they are answered here as for a rule that may send and
// listen and not manage.
func (c *conn) administration(r *request) []byte {
	const code = 29 // TOPIC_AUTHORIZATION_FAILED
	switch req := r.Request.(type) {
	case *kmsg.CreateTopicsRequest:
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewCreateTopicsResponseTopic()
			rt.Topic, rt.ErrorCode = t.Topic, code
			resp.Topics = append(resp.Topics, rt)
		}
		return resp.AppendTo(nil)
	case *kmsg.DeleteTopicsRequest:
		resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
		for _, name := range req.TopicNames {
			rt := kmsg.NewDeleteTopicsResponseTopic()
			rt.Topic, rt.ErrorCode = &name, code
			resp.Topics = append(resp.Topics, rt)
		}
		return resp.AppendTo(nil)
	case *kmsg.CreatePartitionsRequest:
		resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewCreatePartitionsResponseTopic()
			rt.Topic, rt.ErrorCode = t.Topic, code
			resp.Topics = append(resp.Topics, rt)
		}
		return resp.AppendTo(nil)
	}
	return nil
}

// noTransactions is what the tier Standard says (zeebe-kafka-exporter#390). Which
// code goes with it nobody tells; INVALID_REQUEST is a guess. In 2023 it closed the
// connection instead (azure-event-hubs-for-kafka#209).
const noTransactions = "FindCoordinator asked for coordinator with type code 1 which is not supported. " +
	"type code 1 is only supported in Premium or Dedicated sku."

// transaction refuses transactions, but on the tier Premium.
func (c *conn) transaction(r *request) []byte {
	if c.d.opts.Premium {
		return nil
	}
	text := noTransactions
	switch req := r.Request.(type) {
	case *kmsg.FindCoordinatorRequest:
		if req.CoordinatorType != 1 {
			return nil
		}
		resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
		resp.ErrorCode, resp.ErrorMessage = kerr.InvalidRequest.Code, &text
		for _, key := range req.CoordinatorKeys {
			one := kmsg.NewFindCoordinatorResponseCoordinator()
			one.Key, one.ErrorCode, one.ErrorMessage = key, kerr.InvalidRequest.Code, &text
			resp.Coordinators = append(resp.Coordinators, one)
		}
		return resp.AppendTo(nil)
	case *kmsg.InitProducerIDRequest:
		if req.TransactionalID == nil {
			return nil
		}
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp.AppendTo(nil)
	case *kmsg.ProduceRequest:
		if req.TransactionID == nil {
			return nil
		}
		return refusedProduce(req, kerr.InvalidRequest)
	}
	return nil
}

// data applies the rules of what is sent and read.
func (c *conn) data(r *request) []byte {
	slow := c.d.slowness()
	switch req := r.Request.(type) {
	case *kmsg.ProduceRequest:
		c.carries.Store(true)
		if time.Now().Before(c.wait) {
			c.d.count(Impatient)
		}
		if c.packed(req) {
			c.d.count(Compressed)
			// Microsoft, "Apache Kafka troubleshooting guide", and franz-go#144.
			return refusedProduce(req, kerr.UnsupportedForMessageFormat)
		}
		if slow > time.Duration(req.TimeoutMillis)*time.Millisecond {
			c.d.count(OverQuota)
			return refusedProduce(req, kerr.PolicyViolation) // the same guide, "Server Busy exception"
		}
		r.held = slow
	case *kmsg.FetchRequest:
		if slow > FetchLimit {
			c.d.count(OverQuota)
			return emptyFetch(req) // the same
		}
		r.held = slow
	case *kmsg.ListOffsetsRequest:
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				if p.CurrentLeaderEpoch >= 0 {
					c.d.count(LeaderEpoch)
				}
			}
		}
	case *kmsg.OffsetForLeaderEpochRequest:
		c.d.count(LeaderEpoch)
	}
	return nil
}

func (d *Double) slowness() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.throttle
}

// packed reports whether a batch is compressed in a way that the tier does not
// take: gzip on Premium only, nothing else anywhere (Microsoft, "Event Hubs for
// Apache Kafka").
func (c *conn) packed(req *kmsg.ProduceRequest) bool {
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			var b kmsg.RecordBatch
			if b.ReadFrom(p.Records) != nil {
				continue
			}
			if codec := b.Attributes & 7; codec != 0 && !(codec == 1 && c.d.opts.Premium) {
				return true
			}
		}
	}
	return false
}

func refusedProduce(req *kmsg.ProduceRequest, why *kerr.Error) []byte {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.BaseOffset = p.Partition, why.Code, -1
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp.AppendTo(nil)
}

func emptyFetch(req *kmsg.FetchRequest) []byte {
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewFetchResponseTopicPartition()
			rp.Partition, rp.HighWatermark, rp.LastStableOffset, rp.RecordBatches = p.Partition, p.FetchOffset, p.FetchOffset, []byte{}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp.AppendTo(nil)
}
