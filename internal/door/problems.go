package door

import (
	"net/http"

	"postroad/internal/httpserve"
)

// Problems are the kinds of problems that a door answers by itself. A test holds
// them against the code.
func Problems() []httpserve.ProblemKind {
	return []httpserve.ProblemKind{
		{
			Name: "bad-request", Status: http.StatusBadRequest,
			Meaning: "The request can be read in more than one way, or its body ended before it was complete. Nothing of it is stored.",
			Retry:   "Do not repeat unchanged.",
		},
		{
			Name: "forbidden", Status: http.StatusForbidden,
			Meaning: "The request did not come by way of the proxies that door.trusted_header requires. No origin has it.",
			Retry:   "Do not repeat.",
		},
		{
			Name: "not-found", Status: http.StatusNotFound,
			Meaning: "No route leads from this host and path anywhere. No origin has the request.",
			Retry:   "Do not repeat.",
		},
		{
			Name: "method-not-allowed", Status: http.StatusMethodNotAllowed,
			Meaning: "CONNECT and TRACE are not served, and /healthz takes GET and HEAD.",
			Retry:   "Do not repeat.",
		},
		{
			Name: "timeout", Status: http.StatusRequestTimeout,
			Meaning: "The request body came too slowly for http.clients. Nothing of it is stored.",
			Retry:   "Send again.",
		},
		{
			Name: "too-large", Status: http.StatusRequestEntityTooLarge,
			Meaning: "The request body is over door.limits.body_bytes. Nothing of it is stored.",
			Retry:   "Do not repeat: split the batch or the message.",
		},
		{
			Name: "misdirected", Status: http.StatusMisdirectedRequest,
			Meaning: "The request came through this door already: an origin leads back to it. Nothing of it is stored.",
			Retry:   "Do not repeat; the door's origins are to be mended.",
		},
		{
			Name: "too-many-requests", Status: http.StatusTooManyRequests,
			Meaning: "The client is over door.limits.rate. No origin has the request.",
			Retry:   "Send again after Retry-After.", After: "until one is free",
		},
		{
			Name: "headers-too-large", Status: http.StatusRequestHeaderFieldsTooLarge,
			Meaning: "The request has more header fields than door.limits.header_fields. No origin has it.",
			Retry:   "Do not repeat unchanged.",
		},
		{
			Name: "unavailable", Status: http.StatusServiceUnavailable,
			Meaning: "Surely not stored: no origin could be reached, or the door has too many streams or is about to stop. A GET /v1/messages/{id} with complete false: not all stamps could be asked.",
			Retry:   "Send again after Retry-After.", After: "the interval of probes",
		},
		{
			Name: "outcome-unknown", Status: http.StatusGatewayTimeout,
			Meaning: "An origin may have the request, and none answered.",
			Retry:   "Send again with the key that Idempotency-Key of the answer holds: readers see each message once.",
		},
	}
}
