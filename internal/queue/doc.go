// Package queue is a stamp's durable store: a directory on a disk or share that
// gateways append to and forwarders drain.
//
// What it guarantees. Append returns without an error only after the messages
// are on stable storage, the lane's fence was found empty after that sync, and
// the writer's heartbeat was not overdue. A group of messages is stored as a
// whole or not at all. A chain (the lanes of one process run, in order) hands
// out every acknowledged message, in order, until it has been forwarded; what
// cannot be read is set aside with its bytes and reported, never skipped in
// silence. Progress is durable and its files are made ahead of need, so that a
// full disk cannot stop it.
//
// How it is kept. Each gateway process run has lanes of its own, and a lane is
// never reopened for writing: there is no tail to repair and no lock to lose.
// The files and their bytes are in docs/design/queue-format.md.
//
// Several processes. Gateways and forwarders on any number of hosts share a
// directory. A draining process looks for lanes of others, ends those whose
// writers are dead, and claims chains, each under an epoch that only one can
// take. Whoever is dead is known at once on the same machine; elsewhere by a
// heartbeat that stands still for TTL and margin. What is concluded about others
// rests on the content of files that are known to exist and on exclusive
// creates, never on a name that is not found.
//
// A known hole: a host whose list of lanes is old may claim a chain that another
// host has just removed, and so make its claims anew. Nothing is read or sent by
// them, and they are given up at once, but nobody removes them: a directory of
// some 260 KB stays below claims/. Removing whatever seems to have no lane would
// rest on a name that is not found.
package queue
