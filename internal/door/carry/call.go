package carry

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
)

// Kind says what stands behind a route, and with it what may be repeated.
type Kind uint8

const (
	// Plain is anything: only GET and HEAD are repeated.
	Plain Kind = iota
	// Gateway is a stamp's gateway: a POST of messages has an idempotency key
	// and may be repeated with it.
	Gateway
	// Stream is a stream node: as Plain.
	Stream
)

// String returns the name that stands in the configuration.
func (k Kind) String() string {
	switch k {
	case Gateway:
		return "gateway"
	case Stream:
		return "stream"
	default:
		return "plain"
	}
}

// Call is what a carrier wants to know of a request beyond the request.
type Call struct {
	// Kind is that of the route.
	Kind Kind
	// ByKey chooses the origin by the key of the message: Postroad-Key, ?key=
	// or the senderId of a classic call. It counts where Affinity is empty.
	ByKey bool
	// Affinity keeps requests with the same bytes at one origin; empty is none.
	Affinity []byte
	// Sticky is the origin that a cookie names; empty is none.
	Sticky string
	// Client is who sends the request: where memory for bodies is scarce each
	// gets a share of it. The zero value is nobody in particular.
	Client netip.Prefix
	// Trusted says that the hop that sent the request is believed: the number
	// in its Postroad-Attempt counts.
	Trusted bool
	// Tried, where set, is how many origins were tried by the time RoundTrip
	// returns; a lookup leaves it as it is.
	Tried *int
}

type callKey struct{}

// With gives a request's context its Call. Without one a request is Plain.
func With(ctx context.Context, call Call) context.Context {
	return context.WithValue(ctx, callKey{}, call)
}

func callOf(ctx context.Context) Call {
	call, _ := ctx.Value(callKey{}).(Call)
	return call
}

// Headers that a carrier reads or sets.
const (
	// OriginHeader names the origin that answered.
	OriginHeader = "Postroad-Origin"
	// AttemptHeader counts the attempts that may have arrived, from 1.
	AttemptHeader = "Postroad-Attempt"
	// KeyHeader is the idempotency key.
	KeyHeader = "Idempotency-Key"
)

// messagesPath begins the paths that ask what became of a message.
const messagesPath = "/v1/messages/"

// classicPath is the classic call; it matches in any letter case.
const classicPath = "/ServiceAPI/message"

// isLookup tells a question for one message, which any origin may hold.
func isLookup(req *http.Request, kind Kind) bool {
	id, ok := strings.CutPrefix(req.URL.Path, messagesPath)
	return ok && id != "" && kind == Gateway && reads(req.Method)
}

// takesMessages tells the paths on which a gateway stores messages under an
// idempotency key. Parts of a relay are not among them: they carry identities
// of their own and must come in order.
func takesMessages(path string) bool {
	if topic, ok := strings.CutPrefix(path, "/v1/topics/"); ok {
		_, ok = strings.CutSuffix(topic, "/messages")
		return ok
	}
	return strings.EqualFold(path, classicPath)
}

func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// rule is what may be done with a request.
type rule struct {
	// repeat: it may be sent to a different origin although it may have arrived.
	repeat bool
	// hedge: such a repeat need not wait for the first to fail.
	hedge bool
	// keyed: it is a POST of messages. It gets a key, counts in the budget, is
	// marked, is not cut with its client, and its answer is read whole.
	keyed bool
}

// ruleFor is the table of what may be repeated. A keyed request whose body
// could not be kept loses repeat and hedge (see Carrier.RoundTrip).
func ruleFor(req *http.Request, kind Kind) rule {
	switch {
	case len(req.Header["Upgrade"]) > 0:
		return rule{} // an upgraded connection has a life of its own
	case reads(req.Method):
		return rule{repeat: true, hedge: true}
	case req.Method == http.MethodPost && kind == Gateway && takesMessages(req.URL.Path):
		return rule{repeat: true, hedge: true, keyed: true}
	}
	return rule{}
}
