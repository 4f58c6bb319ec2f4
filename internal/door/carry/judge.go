package carry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"postroad/internal/httpserve"
)

// fate is what an attempt says about its request.
type fate uint8

const (
	// unsent: no byte of it reached the origin. The next origin may take it,
	// whatever it is.
	unsent fate = iota
	// settled: the answer is the client's, whatever other attempts say.
	settled
	// elsewhere: surely not executed, for a reason that holds for this origin
	// alone. Another may take it.
	elsewhere
	// refused: surely not executed. Another origin is not asked for it, but one
	// that already has the request may have executed it.
	refused
	// unknown: it may have been executed.
	unknown
)

// judge says what an answer to a request means. For a POST of messages:
//
//	2xx                             settled: it is stored
//	3xx, 4xx, 501                   refused: whoever said so did not store it.
//	                                Without another attempt that may have been
//	                                executed that is the client's answer. With
//	                                one it is no answer at all: what one gateway
//	                                refuses (a balancer before it, an older one,
//	                                one with a lower limit) another has stored
//	503, 507 with a problem of ours elsewhere: promised not to be stored
//	every other 5xx, and 503 or     unknown: a failure half-way, or the word of
//	507 of something in between     something that does not know
//
// For a GET or HEAD 502, 503 and 504 are elsewhere and all else is settled;
// for what is never repeated every answer is settled.
func judge(r rule, res *http.Response, body []byte) fate {
	status := res.StatusCode
	switch {
	case !r.keyed && r.repeat && (status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout):
		return elsewhere
	case !r.keyed || status < 300:
		return settled
	case status < 500 || status == http.StatusNotImplemented:
		return refused
	case (status == http.StatusServiceUnavailable || status == http.StatusInsufficientStorage) && isOwnProblem(res, body):
		return elsewhere
	}
	return unknown
}

// isOwnProblem tells an answer of a gateway from one of a balancer or ingress
// before it, which promises nothing.
func isOwnProblem(res *http.Response, body []byte) bool {
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") {
		return false
	}
	var p struct {
		Type string `json:"type"`
	}
	return json.Unmarshal(body, &p) == nil && strings.HasPrefix(p.Type, httpserve.ProblemPrefix)
}

// maxWholeAnswer is up to how many bytes an answer to a POST of messages is
// read before it counts: the receipts of the largest batch that is kept.
const maxWholeAnswer = 2 << 20

// freeAnswer is up to how many bytes of an answer are read without a share of
// the memory for bodies: an answer to one message.
const freeAnswer int64 = 4 << 10

var errAnswer = errors.New("the answer broke off")

// readWhole reads the body of an answer and puts the copy in its place. Where
// it is too long, or there is no memory for it, whole is false and the body
// goes on where it was.
func readWhole(res *http.Response, h *held) (body []byte, whole bool, err error) {
	if res.ContentLength > maxWholeAnswer || res.StatusCode == http.StatusSwitchingProtocols {
		return nil, false, nil
	}
	size := res.ContentLength
	if size == 0 || res.Body == http.NoBody {
		_ = res.Body.Close()
		return nil, true, nil
	}
	from := h
	if size >= 0 && size < freeAnswer {
		from = nil
	}
	body, whole, err = keep(res.Body, size, maxWholeAnswer, from)
	if err != nil {
		_ = res.Body.Close()
		return nil, false, errors.Join(errAnswer, errors.Unwrap(err))
	}
	if !whole {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), res.Body), res.Body}
		return body, false, nil
	}
	_ = res.Body.Close()
	setBody(res, body)
	return body, true, nil
}

// setBody makes body that of res. Its length is stated unless trailers follow.
func setBody(res *http.Response, body []byte) {
	res.Body = io.NopCloser(bytes.NewReader(body))
	if len(res.Trailer) > 0 {
		return
	}
	res.ContentLength, res.TransferEncoding = int64(len(body)), nil
	res.Header["Content-Length"] = []string{strconv.Itoa(len(body))}
}
