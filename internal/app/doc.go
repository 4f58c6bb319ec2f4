// Package app joins the parts to processes: it gives each role the adapters it
// asks for, starts everything in order and stops it in the opposite one.
//
// A process is a stack of layers. A layer that depends on another stands above
// it: listeners stop first, then loops, then what they write to. The first
// failure stops the whole stack. What a layer still has to do when it is told
// to stop (finish requests, settle what is in flight, save progress) is its
// own; the stack only waits, for a bounded time.
//
// There is no logic of a role here.
package app
