// Package carry takes a request of the front door to an origin, and to another
// one where that is safe.
//
// Its guarantee: a request that may have reached an origin is sent again only
// if it is a GET or HEAD, or a POST of messages to a gateway whose body was
// kept, under the same idempotency key and always at a different origin; every
// attempt but the first says so in Postroad-Attempt. Whoever is told that
// nothing was stored can rely on it: where any attempt may have been executed
// and none was acknowledged, the answer is outcome-unknown. See ruleFor for
// what may be repeated, judge for what an answer means, and race for how both
// come together.
//
// What was executed is decided by the bytes that the kernel took for a request,
// counted on its connection (see wire), not by the kind of an error.
//
// A POST of messages that was handed to an origin is not cut when the client
// goes away: the gateway would store it all the same, and its outcome is wanted
// for the judgement of the origin. It ends with its answer or its time, and holds
// no body once that is written; what is still being written is cut. No further
// attempt begins for a client that is gone.
//
// The answer to such a POST is read whole before it counts, so that one that
// breaks off in the middle can still be had from another origin. Answers over
// maxWholeAnswer are passed on as they come.
//
// What it does not do: it judges no origins (package policy does), writes no
// problems, and knows neither routes nor the headers that speak of the way here.
package carry
