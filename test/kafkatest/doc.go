// Package kafkatest runs real Apache Kafka for tests: some nodes on loopback,
// each broker and controller at once (KRaft), which can be killed, paused and
// started again, and which are gone when the test is, however it ends.
//
// Java and Maven must be on the machine; Maven fetches Kafka, by the pom.xml
// beside this file, the first time. Where either is missing a test is skipped,
// and fails where CI=true.
//
// A cluster has a listener without any security, "plain", which whoever uses it
// is a superuser on. A secure one has two more: "sasl" (TLS; PLAIN,
// SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER, whose tokens come from an
// Issuer in the test's own process) and "mtls" (TLS with client certificates).
// Names of brokers are 127.0.0.1, for which the certificates are good.
//
// What a few seconds of start and some hundred megabytes of memory buy is what
// no double has: elections, replicas that fall behind, producer state, and
// brokers that die with all of it. docs/real-kafka.md has the figures.
package kafkatest
