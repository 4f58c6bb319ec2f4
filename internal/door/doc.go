// Package door is the front door: one address before several origins, each of
// them a stamp or a part of one.
//
// A request is led by its host and path to a group of origins (routes.go). Which
// of them takes it, and which is left out, package policy decides; package carry
// brings it there, and to another one where that is safe. This package is what is
// between a client and those two: it refuses what could be read in two ways
// (guard.go), believes of the way here only what trusted proxies say
// (forwarded.go), limits what one client may take (ratelimit.go), keeps count of
// the connections that last and lets them go at a stated rate (live.go, move.go),
// asks origins how they are (probe.go), and says what it did (accesslog.go,
// metrics.go, events.go, status.go, admin.go).
//
// Its guarantee is that of package carry: a client who is told that nothing was
// stored can rely on it, and where something may have been it is told
// outcome-unknown together with the key by which sending again is safe. And a
// change of the configuration (Reload) drops no connection and forgets nothing
// that is known of an origin.
//
// What it does not do: it terminates no TLS (its listener does), shares nothing
// with other doors, and moves a stream by ending it: its client connects again.
package door
