// Package simulation plays two stamps, a hub and their clients through
// everything that DESIGN promises to survive, in virtual time and from one seed,
// and judges by what clients were told and readers were shown.
//
// Each stamp is a share of two hosts (faultfs.Share) with real gateways
// (gateway.Handler on a queue that only writes) and real forwarders
// (forward.Forwarder on a queue that only drains). The hub is in memory, and so
// are the clients, who play the front door as well: they repeat at the other
// stamp, marked as repeats. Readers apply message.Window with a small W; in some
// tests stream nodes (engines of stream/live) read the hub as well, and viewers go
// from one to the other.
//
// What is disturbed, what the ledger promises and what it lets pass, and how far
// a seed can be replayed is in docs/design/simulation.md.
//
// There is nothing in it but tests.
package simulation
