// Package eventhubstest is a double of the Kafka endpoint of Azure Event Hubs,
// for tests: a broker in memory behind the rules by which Event Hubs differs from
// Apache Kafka. It refuses what Event Hubs refuses, in the way that Event Hubs
// does where that is known, and counts each refusal.
//
// What it knows of Event Hubs is what Microsoft writes and what users of clients
// have reported; each rule names its source. docs/hub.md says which of these
// disagree, and which answers are a guess. It proves that a client keeps within
// the rules; it does not prove that Event Hubs has no others.
//
// All requests and answers pass through a conn, which lets the broker behind it
// see only what Event Hubs would take. The broker is kfake.
package eventhubstest
