package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"postroad/internal/httpserve"
)

const (
	// maxSend limits what the page may ask to be sent, in bytes of JSON: above
	// what a gateway takes, so that the gateway's own answer is seen.
	maxSend = 16 << 20
	// maxAnswer is how much of an endpoint's answer is shown, in bytes.
	maxAnswer = 64 << 10
)

// sendRequest is what the page asks for.
type sendRequest struct {
	Endpoint string `json:"endpoint"`
	SenderID string `json:"senderId"`
	Value    string `json:"value"`
}

// sendAnswer is what came of it.
type sendAnswer struct {
	// Status is the endpoint's, or 0 where no answer came.
	Status int `json:"status"`
	// Headers are those of the answer that the page shows.
	Headers map[string]string `json:"headers"`
	// Body is the answer's, its first 64 KiB.
	Body string `json:"body"`
	// LatencyMs is the time from sending to the end of the answer.
	LatencyMs float64 `json:"latencyMs"`
	// Error is there where no answer came.
	Error *sendError `json:"error,omitempty"`
}

type sendError struct {
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

// send passes a message on to the endpoint that the page chose, by the classic
// call of design section 4.
func (c *Console) send(w http.ResponseWriter, r *http.Request) {
	req, problem := readSend(w, r)
	if problem != nil {
		problem.Write(w)
		return
	}
	e, ok := c.board.find(req.Endpoint)
	if !ok {
		badRequest("endpoint " + strconv.Quote(req.Endpoint) + " is not one of the console's").Write(w)
		return
	}
	body, err := json.Marshal(map[string]string{"senderId": req.SenderID, "value": req.Value})
	if err != nil { // strings: cannot fail
		badRequest(err.Error()).Write(w)
		return
	}
	answer := c.post(r.Context(), e, body)
	c.metrics.sent.WithLabelValues(e.Name, strconv.FormatBool(answer.Error == nil)).Inc()
	writeJSON(w, answer)
}

func badRequest(detail string) *httpserve.Problem {
	return &httpserve.Problem{Name: "bad-request", Status: http.StatusBadRequest, Title: "Bad request", Detail: detail}
}

func readSend(w http.ResponseWriter, r *http.Request) (sendRequest, *httpserve.Problem) {
	var req sendRequest
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return req, &httpserve.Problem{
			Name: "unsupported-media-type", Status: http.StatusUnsupportedMediaType, Title: "Unsupported media type",
			Detail: "send application/json",
		}
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSend))
	err := dec.Decode(&req)
	if err == nil {
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return req, nil
		}
		err = errors.Join(errors.New("more than one value"), err)
	}
	if large := new(http.MaxBytesError); errors.As(err, &large) {
		return req, &httpserve.Problem{
			Name: "too-large", Status: http.StatusRequestEntityTooLarge, Title: "Too large",
			Detail: "the console passes on at most " + strconv.Itoa(maxSend) + " bytes",
		}
	}
	return req, badRequest("the body is not one JSON object: " + err.Error())
}

// post sends and waits for the answer.
func (c *Console) post(ctx context.Context, e Endpoint, body []byte) sendAnswer {
	ctx, cancel := context.WithTimeout(ctx, c.opts.SendTimeout)
	defer cancel()
	begin := time.Now()
	failed := func(err error) sendAnswer {
		detail := plain(err, c.opts.SendTimeout).Error()
		if errors.Is(err, context.DeadlineExceeded) {
			detail += "; the message may be stored"
		}
		return sendAnswer{
			Headers: map[string]string{}, LatencyMs: milliseconds(time.Since(begin)),
			Error: &sendError{Title: "No answer", Detail: detail},
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL+"/ServiceAPI/message", bytes.NewReader(body))
	if err != nil {
		return failed(err)
	}
	req.GetBody = nil // a message that may have been sent is not sent again
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "postroad-console")
	res, err := c.client.Do(req)
	if err != nil {
		return failed(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return failed(err)
	}
	return sendAnswer{
		Status: res.StatusCode, Headers: shownHeaders(res.Header),
		Body: strings.ToValidUTF8(string(text), "\uFFFD"), LatencyMs: milliseconds(time.Since(begin)),
	}
}

// shownHeaders are the headers of an answer that tell an operator something.
func shownHeaders(h http.Header) map[string]string {
	shown := map[string]string{}
	for _, name := range []string{"Content-Type", "Idempotency-Key", "Idempotent-Replayed", "Postroad-Origin", "Postroad-Receipt", "Retry-After"} {
		if v := h.Get(name); v != "" {
			shown[name] = v
		}
	}
	return shown
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil { // our own types, which JSON can hold
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(b)
}
