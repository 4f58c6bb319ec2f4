// Package loopback finds addresses of this machine for listeners that give theirs
// up and take it again: a hub that is restarted, a gateway that is killed, a double
// that goes away. Postroad's drills use it, and its tests.
//
// An address of port 0 does not do for them. The system gives its port to whoever
// asks next as soon as the listener is closed, and to connections that go out.
package loopback
