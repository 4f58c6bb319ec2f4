package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"postroad/internal/message"
)

// getMessage is GET /v1/messages/{id}: what became of a message. A receipt is
// looked up in its lane. A bare dedupe id is found where it is the first
// message of a request under a client's key that the index still holds, and
// else, with ?scan=true, by a search through all kept lanes.
func (g *Gateway) getMessage(w http.ResponseWriter, r *http.Request, id string) (int, error) {
	if _, err := g.caller(w.Header(), r); err != nil {
		return 0, err
	}
	receipt, outcome, err := g.lookUp(r, id)
	if errors.Is(err, message.ErrNotFound) {
		return 0, g.unknownMessage(err)
	}
	if err != nil {
		return 0, err
	}
	out := append([]byte(nil), `{"id":"`...)
	out = append(out, receipt.ID.String()...)
	out = append(out, `","receipt":"`...)
	out = append(out, receipt.String()...)
	out = append(out, '"')
	out = appendOutcome(out, outcome)
	out = append(out, `,"stamp":`...)
	out = append(out, g.static.stamp...)
	out = append(out, `,"lane":"`...)
	out = append(out, receipt.Lane...)
	out = append(out, `","seq":`...)
	out = strconv.AppendUint(out, receipt.Seq, 10)
	// One stamp is asked, and it has answered.
	out = append(out, `,"complete":true}`...)
	return g.writeJSON(w, http.StatusOK, out), nil
}

func (g *Gateway) lookUp(r *http.Request, id string) (message.Receipt, message.Outcome, error) {
	if strings.ContainsRune(id, '.') {
		receipt, err := message.ParseReceipt(id)
		if err != nil {
			return message.Receipt{}, message.Outcome{}, refuse(message.ErrInvalid, "%q is no receipt: want <dedupe id>.<lane>.<seq>", clip(id))
		}
		outcome, err := g.deps.Tracker.Locate(r.Context(), receipt)
		return receipt, outcome, wrapNotNil("locate a receipt", err)
	}
	bare, err := message.ParseID(id)
	if err != nil {
		return message.Receipt{}, message.Outcome{}, refuse(message.ErrInvalid, "%q is neither a receipt nor a dedupe id", clip(id))
	}
	if scan, _ := strconv.ParseBool(r.URL.Query().Get("scan")); scan {
		receipt, outcome, err := g.deps.Tracker.Scan(r.Context(), bare)
		return receipt, outcome, wrapNotNil("scan for a dedupe id", err)
	}
	place, ok := g.index.find(bare, g.deps.Now())
	if !ok {
		return message.Receipt{}, message.Outcome{}, refuse(message.ErrNotFound,
			"no key of this dedupe id is remembered here: ask with the receipt, or with ?scan=true to search the kept lanes")
	}
	receipt := message.Receipt{ID: bare, Place: place}
	outcome, err := g.deps.Tracker.Locate(r.Context(), receipt)
	return receipt, outcome, wrapNotNil("locate an indexed id", err)
}

func wrapNotNil(act string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", act, err)
}

// unknownMessage words the 404, but for a refusal that has its own words.
func (g *Gateway) unknownMessage(err error) error {
	if own, ok := errors.AsType[*refusal](err); ok {
		return own
	}
	if g.deps.Retain <= 0 {
		return refuse(message.ErrNotFound, "unknown or past retention")
	}
	return refuse(message.ErrNotFound, "unknown or older than %v", g.deps.Retain)
}
