// Package livetest is a hub's log in memory, as live.Log shows it: for tests of
// whatever stands on package live.
//
// A Log holds topics, to which records are appended and aborted spans and markers
// take offsets; retention cuts their start off; they can be made anew or given
// more partitions. Engines read it through a View each, which can be cut off from
// the hub, slowed down, or held back at an offset, so that one node is behind
// another. It keeps everything that was ever appended, for an oracle to read.
package livetest
