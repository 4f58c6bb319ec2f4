// Package httpserve is what every HTTP listener of Postroad's has in common:
// binding, deadlines and draining of a server, the admin listener with its
// probes and metrics, and error answers as application/problem+json.
//
// A server binds in New, so that a port in use is an error before anything
// else starts, and :0 works in tests. It knows nothing of messages.
package httpserve
