// Package outbox is what connections to the hubs that tests have in memory share:
// a queue for each partition, with the promises of a forward.Sink kept by the
// simplest means. Messages of a partition go out one batch after the other; after
// an error all that is behind comes back, and what was produced before the hub's
// next turn is refused; a reset gives everything back at once, and answers that
// come later are dropped.
//
// Who uses it decides how long anything takes, what the hub answers, and what of
// that goes wrong.
package outbox
