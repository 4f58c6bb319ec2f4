// Package relay runs two stamps as they are shipped, one of which reaches the hub
// only through the other: over HTTPS with a bearer token, by an HTTP proxy that
// connects, with connections that are cut and processes that are killed.
//
// There is nothing in it but tests.
package relay
