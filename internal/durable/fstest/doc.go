// Package fstest holds the tests that every durable.FS must pass, the
// operating system's and those made for tests alike, so that what is tested on
// the one holds on the other.
//
// It says nothing about what survives a power cut, which cannot be tested on a
// real disk from within a process.
package fstest
