package httpserve

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// ProblemPrefix begins the type of every problem; what follows is stable and
// listed in docs/reference/problems.md.
const ProblemPrefix = "urn:postroad:problem:"

// Problem is an error answer, application/problem+json by RFC 9457.
type Problem struct {
	// Name is the last part of the type: "too-large", "outcome-unknown", ….
	Name string
	// Status is the HTTP status code.
	Status int
	// Title says what kind of problem it is, the same for every occurrence.
	Title string
	// Detail says what is wrong and where, for this occurrence.
	Detail string
	// RetryAfter, where positive, becomes the Retry-After header in whole
	// seconds, rounded up.
	RetryAfter time.Duration
	// Extra are further members, such as the line of a bad batch.
	Extra map[string]any
}

// Write sends the problem as the whole answer.
func (p Problem) Write(w http.ResponseWriter) {
	body := make(map[string]any, len(p.Extra)+4)
	for name, v := range p.Extra {
		body[name] = v
	}
	body["type"] = ProblemPrefix + p.Name
	body["title"] = p.Title
	body["status"] = p.Status
	if p.Detail != "" {
		body["detail"] = p.Detail
	}
	b, err := json.Marshal(body)
	if err != nil { // an Extra that JSON cannot hold: a mistake in our code
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Cache-Control", "no-store")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((p.RetryAfter+time.Second-1)/time.Second)))
	}
	w.WriteHeader(p.Status)
	w.Write(b)
}
