// Package faultfs is a durable.FS in memory for tests. It does what a disk may
// do to a program, not only what disks usually do.
//
// Two states. What processes see (the volatile state) and what survives a
// power cut (the stable state) are kept apart: the content of a file is stable
// after Datasync of that file, a name (made or removed) after SyncDir of its
// directory, and nothing else makes anything stable for certain. After a power
// cut each page, sector and name that was changed since is there or not, in
// any combination, each in any of the versions it has had.
//
// Faults. Every call of FS or File is an operation with a number, kept in a
// trace. A test names an operation, by number (At) or by what it does (When),
// and has it fail before or after it is applied, fail halfway, or end the
// machine there. A failed Datasync may keep the pages dirty, mark them clean
// without having written them, or drop them, as kernels do.
//
// A run is the usual one:
//
//	disk := faultfs.New(seed)
//	disk.At(17, faultfs.CrashBefore())
//	run(disk)                       // until faultfs.ErrCrashed
//	recover(disk.Reboot())          // one outcome of the power cut; call again for others
//	recover(disk.Restart())         // or: only the process was killed
//
// The same seed, calls and faults give the same outcome, as long as the calls
// are made in the same order.
//
// Shares. A Share is a server with a disk; a Host is a process on a machine that
// has mounted it, with the same faults and trace as FS. Between them are the
// caches of a network file system: names, missing ones too, listings,
// attributes and pages may be old; written pages are the host's own until they
// are sent, in any order; a crash of the host loses them. What is assumed, and
// after which documents, is in docs/design/share-model.md.
//
//	share := faultfs.NewShare(seed, faultfs.ShareOptions{})
//	a, b := share.Host("a"), share.Host("b")
//	a.Pause()                      // the process stands still, time goes on
//	b = b.Restart()                // the host crashed and was started again
//	share.PowerCut()               // the server's
//	t.Log(share.History(100))      // what all of them did last
//
// What it does not do: permissions, links, times, truncation (durable.FS has
// none of them), locks, and disks that lose what they said was stable (but for
// a share's AsyncExport).
package faultfs
