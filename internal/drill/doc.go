// Package drill tries to break the promises of a running Postroad and says
// what came of it: load that never repeats a request by itself, faults such as
// SIGKILL at a random moment, an independent ledger of what was sent and
// answered, and a verdict over what a reader saw.
//
// The ledger knows messages by the bytes that were sent, never by Postroad's
// ids. A message that Postroad wrongly takes for a duplicate of another is
// therefore lost in the ledger's eyes, and one that it shows twice under two
// ids is seen twice.
//
// The drills drive the built binary from outside, over HTTP and by its own
// command line. The one thing they know from inside is the flight recorder, a
// file of counters that survives SIGKILL and says what the process was doing
// when it died; without it nobody could tell whether a kill hit anything.
//
// Each judgement has a sabotaged twin among the tests that it must catch.
package drill
