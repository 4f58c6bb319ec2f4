package gateway

import (
	"net/http"
	"strconv"

	"postroad/internal/message"
)

// appendAccepted writes the answer to a POST on a topic: the receipts of all
// messages in order, the place of the first and, where outcomes are given,
// what became of each.
func (g *Gateway) appendAccepted(out []byte, b *batch, first message.Place, outcomes []message.Outcome) []byte {
	out = append(out, `{"accepted":`...)
	out = strconv.AppendInt(out, int64(len(b.msgs)), 10)
	out = append(out, `,"ids":[`...)
	for i := range b.msgs {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '"')
		out = append(out, b.receipt(first, i).String()...)
		out = append(out, '"')
	}
	out = append(out, `],"stamp":`...)
	out = append(out, g.static.stamp...)
	out = append(out, `,"lane":"`...)
	out = append(out, first.Lane...)
	out = append(out, `","seq":`...)
	out = strconv.AppendUint(out, first.Seq, 10)
	if outcomes != nil {
		out = append(out, `,"messages":[`...)
		for i := range outcomes {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, `{"id":"`...)
			out = append(out, b.receipt(first, i).String()...)
			out = append(out, '"')
			out = appendOutcome(out, outcomes[i])
			out = append(out, '}')
		}
		out = append(out, ']')
	}
	return append(out, '}')
}

// receipt is that of message i of a batch that is stored from first on.
func (b *batch) receipt(first message.Place, i int) message.Receipt {
	return message.Receipt{ID: b.msgs[i].ID, Place: message.Place{Lane: first.Lane, Seq: first.Seq + uint64(i)}}
}

// appendOutcome writes the members state, partition, offset, duplicate and reason,
// but for the first where they are known.
func appendOutcome(out []byte, o message.Outcome) []byte {
	out = append(out, `,"state":`...)
	out = appendString(out, string(o.State))
	if o.Located {
		out = append(out, `,"partition":`...)
		out = strconv.AppendInt(out, int64(o.Partition), 10)
		out = append(out, `,"offset":`...)
		out = strconv.AppendInt(out, o.Offset, 10)
	}
	if o.Duplicate {
		out = append(out, `,"duplicate":true`...)
	}
	if o.Reason != "" {
		out = append(out, `,"reason":`...)
		out = appendString(out, o.Reason)
	}
	return out
}

// markReplay says in the header that the answer is that of an earlier request.
func (g *Gateway) markReplay(h http.Header, done accepted) {
	if done.replayed {
		h["Idempotent-Replayed"] = g.static.yes
	}
}

// answer writes b.out as JSON and returns the status.
func (g *Gateway) answer(c *call, status int) int {
	c.w.Header()["Content-Type"] = g.static.json
	c.w.WriteHeader(status)
	c.w.Write(c.b.out) // a client that is gone gets nothing; its messages are stored all the same
	return status
}
