// Package door is the front door: one address before several origins, each of
// them a stamp.
//
// It sends a request to the healthy origin of the lowest priority number; among
// equals, to the one named first. Its guarantee is that it never makes a
// request run twice by itself: one that surely did not reach an origin goes to
// the next, whatever its method; one that may have reached it is repeated only
// if it is a GET or HEAD, and is otherwise answered with the problem
// outcome-unknown. See carrier for how it knows.
//
// What became of a message is known to the stamp that took it alone. So a GET
// or HEAD under /v1/messages/ that one origin answers with 404 is put to the
// others too, and the client is told 404 only if every origin said so.
//
// What it does not do: it judges origins by failed connections and its own
// probes alone, knows no weights, affinity or hedging, and makes no idempotency
// keys.
package door
