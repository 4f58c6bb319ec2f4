package faultfs

import "postroad/internal/durable"

// FS is a machine with a disk. It is safe for concurrent use.
type FS struct {
	machine
	disk    *disk
	reboots uint64 // guarded by disk.mu
}

var _ durable.FS = (*FS)(nil)

// New returns a machine with an empty disk of unlimited capacity. The root
// directory is "/"; a relative name stands for one in the root.
func New(seed uint64) *FS { return boot(seed, newDisk()) }

func boot(seed uint64, d *disk) *FS {
	return &FS{machine: newMachine(seed, &d.mu), disk: d}
}

// SetCapacity sets the size of the disk in bytes. Each file and directory takes
// a page of 4 KiB, and so does each page that was written, with zeros too;
// pages never written take nothing. What is on the disk stays.
func (f *FS) SetCapacity(bytes int64) {
	defer f.lock()()
	f.disk.capacity = bytes
}

// SetLateSpace chooses whether a full disk shows only at Datasync, as on a
// network share: writes then succeed, and the Datasync of a file with unsynced
// pages fails with ENOSPC and drops those for which there is no room.
func (f *FS) SetLateSpace(late bool) {
	defer f.lock()()
	f.disk.late = late
}

// Used returns the space taken, in bytes.
func (f *FS) Used() int64 {
	defer f.lock()()
	return f.disk.used
}
