// Package durable is the file system as the queue sees it: few operations, of
// which those that promise durability return only after the sync.
//
// Every touch of the disk on the path of an acknowledgement goes through FS,
// so that durable/faultfs can fail, crash or delay each one. OS is the real
// one. The system calls behind each operation are named in its comment.
//
// What it does not do: it keeps no state, retries nothing (a failed fsync may
// have dropped the pages, so a second one proves nothing), and takes no locks.
package durable
