// Package sdk holds small clients written with the official SDKs of the
// Centrifugo protocol, unmodified, in JavaScript, Go, Python and Java, and the
// tests that drive all of them alike: docs/stream-clients.md is cut from these
// files.
//
// A client is a process. It is told what to do by lines of JSON on its standard
// input, and says what it sees by lines of JSON on its standard output (see
// client_test.go). The stream nodes, the stamps and the hub are processes of the
// real binary. What the clients were given is compared with what gateways
// acknowledged, id by id.
//
// Node.js with npm, Python with its module venv, or Java with Maven must be on
// the machine; what the clients need beside is fetched the first time, by exact
// versions, and kept in the user's cache folder. Where they are missing a test
// is skipped, and fails where CI=true.
package sdk
