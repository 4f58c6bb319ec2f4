// Command peers measures what Postroad is compared with: stores of others that
// keep a record and answer once it is on stable storage, a bare producer into a
// hub, and engines that bring messages to WebSocket clients. It is a module of its
// own, so that none of them is ever a part of Postroad. `postroad bench ingest`,
// `drain` and `stream` run it with --peers in turn with Postroad's own, and `make
// bench` builds it.
//
//	peers list                                             the stores, one JSON text
//	peers store --name N --dir D --writers W --bytes B --seconds S
//	peers produce --brokers H --from T --to T --records N
//	peers engines                                          the engines, one JSON text
//	peers engine --name E                                  until standard input ends
//
// Each prints one JSON object on standard output.
package main
