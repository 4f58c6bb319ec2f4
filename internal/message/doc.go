// Package message defines what Postroad carries: a Message, the ids that name
// it, the bytes it is stored as, the outcomes it may have and the errors that
// every layer classifies by.
//
// It guarantees that Append and Decode are inverse, that a dedupe id depends
// on nothing but what the client sent (see DeriveID), and that the same rule
// decides everywhere whether a record is a duplicate (see Window).
//
// It does no I/O, knows no hub and no HTTP, and imports nothing of Postroad.
package message
