// Package doortest has origins that go wrong, for tests of a front door and of
// what carries its requests: one that is spoken to byte by byte, one that breaks
// off, one that refuses connections, one that neither takes nor refuses them.
package doortest
