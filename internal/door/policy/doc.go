// Package policy decides for a front door: which origin takes a request, which
// origin is left out and when it comes back, when a request that waits may be
// sent to a second origin, and how often requests may be repeated at all.
//
// It only decides. It opens no connection, starts no goroutine and sets no
// timer; whoever carries requests and probes tells it what happened (Flight,
// Origin.Probed) and asks (Group.Pick, Group.HedgeAfter, Group.Spend). The clock
// and the source of randomness are passed in, so that a run can be replayed.
// What changes by time alone, such as the end of an isolation, is found when
// something is asked or told.
//
// The order of choice is that of Azure Front Door: the origin that affinity
// names; else, of the usable origins of the lowest priority number, those within
// the latency sensitivity of the fastest, by weight. An origin is usable while it
// is enabled, healthy or being restored, and neither drained, held nor in
// maintenance. Where none is usable, requests go to the others rather than
// nowhere (panic): first to those that an operator drained and that work, then
// to all suspects, then to those that asked to be left alone. Only origins that
// are disabled, or that an operator holds, are never chosen.
//
// What it does not do: doors do not share what they know, each judges by its own
// view.
package policy
