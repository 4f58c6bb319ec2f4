// Package fulldisk runs the shipped binary on a real file system that is small
// enough to be filled: a tmpfs in a mount namespace of its own. It fills it by
// messages, then to the last page, kills the stamp, and lets another one start
// there: that one has to forward, to make room, and to accept again by itself.
//
// It needs to be root or to be allowed user namespaces. Where it is not, the
// test says so loudly and is skipped; with CI=true in the environment that is a
// failure. A tmpfs is no disk: what it proves is about room, not about power.
package fulldisk
