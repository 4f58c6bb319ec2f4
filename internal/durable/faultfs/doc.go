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
// A machine (FS: numbering, faults, handles) and its disk (tree, pages, space)
// are separate, so that several machines can be put on one disk, each with
// caches of its own between.
//
// What it does not do: permissions, links, times, truncation (durable.FS has
// none of them), and disks that lose what they said was stable.
package faultfs
