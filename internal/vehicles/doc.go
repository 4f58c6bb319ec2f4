// Package vehicles is a simulator for the demonstration: trams, buses and vans
// that drive through an invented town and tell where they are, as messages on a
// topic, posted through the front door like anybody's.
//
// The town is always the same and is drawn by the page from a file that is
// generated here; how the vehicles drive follows from a seed. They keep to the
// streets, slow down for corners, wait at stops and traffic lights, and turn
// round at the ends of their lines.
//
// It posts a few requests at a time and no more, each with an idempotency key
// that every repeat of it carries, and waits with jitter while the door is away.
// Vehicles drive on meanwhile; what nobody could take is not made up for later,
// the next position says where they have come to. Positions of one vehicle are
// sent one after the other, so they keep their order.
//
// It is no load generator: postroad bench is.
package vehicles
