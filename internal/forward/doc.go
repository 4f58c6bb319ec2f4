// Package forward drains chains of lanes into the hub.
//
// What it guarantees:
//
//   - Every message of a chain gets to the hub, however often the process is
//     killed, the hub goes away, or a request is lost. Nothing is dropped by a
//     timer, a limit or an error; progress that could not be saved costs
//     sending again, never a message.
//
//   - A successor sends only what is missing. Before a partition is first
//     written to, its end is saved in the chain's progress; progress is saved
//     every few seconds with, for each partition, an offset below which nothing
//     unsettled stands (message.Progress); and who takes a chain over reads the
//     partitions from there and skips what it finds.
//
//   - Messages of one chain and partition stay in order, over errors too.
//
//   - Chains are drained side by side, each within its own limits, so that an
//     old backlog does not stop the live lane.
//
//   - Stopping never waits for the hub longer than drain_timeout.
//
//   - Hold is per topic. What the hub refuses of one topic until somebody changes
//     something (missing, not permitted) waits in memory, and after hold_after, or
//     as soon as it stands in the way, on disk in a side lane. Other topics go on.
//     Nothing of the topic overtakes: later messages follow to the side lane, and
//     are sent directly again only when all of it is settled.
//
//   - What the hub refuses for good (class dead) is sent again singly, with nothing
//     else of its topic under way, and only what fails alone becomes a dead letter.
//
//   - Nothing is sent once the claim is known to be lost.
//
//   - What all chains together hold in memory is bounded, and shared equally.
//
//   - A message that two stamps have stored is sent by one of them, or stands twice
//     within the readers' look-back, or says that this cannot be known: see late.
//
//   - Progress is of one hub. Marks that were saved of another (Sink's Identity) are
//     dropped, and so are those of a topic that was made anew; both are counted.
//
// The breaker stands around draining, not around single records. The client
// retries records without limit, which hides that the hub is away; so every
// failed exchange, and every silence, leads to a probe, and failed probes open
// the breaker. While it is open nothing more is read from the queue and the hub
// is probed. Then one batch goes first. A refusal that is not one topic's (a
// credential, an account) opens it, too, and moves nothing aside.
//
// With delivery exactly-once a chain's messages go through a Session, which puts
// them into transactions together with a record of which are in the hub, and
// answers when the outcome is known. Each then stands in its topic once, for who
// reads committed records, whoever dies where. A takeover goes by that record; by
// reading the partitions back only where saved progress does not say that the
// record tells all, see recordMark.
//
// A chain has a goroutine that reads, one that feeds the sink while all goes well,
// one that saves, and a worker for each topic that is new or in trouble. A topic
// is either the feeder's or its worker's, see topic.
//
// Known holes:
//   - A holder of a chain that was paused and goes on after its successor has
//     read back sends, until its next checkpoint, what that one sends too. The
//     sink's MayWrite narrows that. The same holds for a request that a killed
//     process, or one that stopped while the hub did not answer, left in a socket:
//     only after a holder that may be alive is takeover_wait waited out. And for a
//     request that waits in the socket of a hub that stands still, while the client
//     that sent it is given up and its connections have ended long ago. Readers
//     show the first copy only, as long as no more than W records lie between.
//   - Where retention has passed the marks, what stood there is unknown and is
//     sent again, counted in postroad_forward_marks_lost_total.
//   - A message that was given back to the chain by an operator (a released dead
//     letter) is recognised after one takeover, not after two in a row before it
//     is settled.
//   - A process that dies between keeping a dead letter and saving progress makes
//     a second letter of it.
package forward
