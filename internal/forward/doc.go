// Package forward drains chains of lanes into the hub.
//
// What it guarantees:
//   - Every message of a chain gets to the hub, however often the process is
//     killed, the hub goes away, or a request is lost. Nothing is dropped by a
//     timer, a limit or an error; progress that could not be saved costs
//     sending again, never a message.
//   - A successor sends only what is missing. Before a partition is first
//     written to, its end is saved in the chain's progress; progress is saved
//     every few seconds with, for each partition, an offset below which nothing
//     unsettled stands (message.Progress); and who takes a chain over reads the
//     partitions from there and skips what it finds.
//   - Messages of one chain and partition stay in order, over errors too.
//   - Chains are drained side by side, each within its own limits, so that an
//     old backlog does not stop the live lane.
//   - Stopping never waits for the hub longer than drain_timeout.
//
// The breaker stands around draining, not around single records. The client
// retries records without limit, which hides that the hub is away; so every
// failed exchange, and every silence, leads to a probe, and failed probes open
// the breaker. While it is open nothing more is read from the queue and the hub
// is probed. Then one batch goes first.
//
// What it does not do yet, and what happens instead: a record that the hub
// refuses for good (class dead) is not set aside. The batch is sent again
// record by record, in order, so that its neighbours get through; what fails
// alone holds the chain, as missing permissions do: an error in the log names
// the place and the reason, the status says held, and it is tried again at most
// a minute apart. Nothing of the chain overtakes it but what was already in
// flight.
//
// Known holes:
//   - A holder of a chain that was paused, not killed, and goes on after its
//     successor has read back sends what that one sends too. The same holds for
//     a request that the killed process left in a socket. Readers show the
//     first copy only, as long as no more than W records lie between the two.
//   - Where retention has passed the marks, what stood there is unknown and is
//     sent again, counted in postroad_forward_marks_lost_total.
package forward
