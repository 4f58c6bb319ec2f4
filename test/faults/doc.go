// Package faults runs the real binary under strace, which makes one system call
// fail, or kills the process there, and judges what became of the messages: the
// acknowledged ones are at a reader once, a failed sync is told to those who
// waited for it, service goes on in a new lane, and nothing hangs.
//
// The fault tests beside the code fail every operation of a scripted run
// through durable.FS, by its number. What they cannot see is what lies below
// that interface: which system calls the binary really makes, on which files,
// and what it does about an answer of the kernel's. That is what runs here.
//
// It needs strace and the right to trace; where either is missing its tests are
// skipped, and say so.
package faults
