package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Support looks at the file system of a directory. An error says that the
// directory itself could not be looked at. open(O_DIRECTORY), fstatfs, and
// reads of /proc/self/fdinfo and /proc/self/mountinfo: the descriptor's mount
// id finds the entry whatever is mounted over what, and through symlinks.
func (OS) Support(dir string) (Support, error) {
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return Support{}, err
	}
	defer d.Close() //nolint:errcheck // it was only looked at
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(d.Fd()), &st); err != nil {
		return Support{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	m, err := mountOf(int(d.Fd()))
	if err != nil {
		s := judge(mount{kind: magicName(int64(st.Type))}, false) //nolint:unconvert // shorter on some machines
		s.Reasons = append(s.Reasons, err.Error())
		return s, nil
	}
	return judge(m, true), nil
}

// mountOf returns the entry of mountinfo that an open file stands on.
func mountOf(fd int) (mount, error) {
	fdinfo, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return mount{}, err
	}
	id, err := mountID(fdinfo)
	if err != nil {
		return mount{}, err
	}
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return mount{}, err
	}
	m, found, err := findMount(mountinfo, id)
	if !found { // in a chroot below the mount, mountinfo passes it over
		return mount{}, errors.Join(fmt.Errorf("mount %d is not in mountinfo", id), err)
	}
	return m, nil
}

// magicName names a file system by the number that statfs gives. See statfs(2).
func magicName(magic int64) string {
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", 0x2fc12fc1: "zfs",
		unix.F2FS_SUPER_MAGIC: "f2fs", unix.NFS_SUPER_MAGIC: "nfs", unix.CIFS_SUPER_MAGIC: "cifs", unix.SMB2_SUPER_MAGIC: "cifs",
		unix.TMPFS_MAGIC: "tmpfs", unix.RAMFS_MAGIC: "ramfs", unix.HUGETLBFS_MAGIC: "hugetlbfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
		unix.FUSE_SUPER_MAGIC: "fuse", unix.V9FS_MAGIC: "9p", 0x786f4256: "vboxsf",
		unix.MSDOS_SUPER_MAGIC: "vfat", unix.EXFAT_SUPER_MAGIC: "exfat", 0x5346544e: "ntfs",
	}
	magic &= 1<<32 - 1 // an int on some machines, with its sign
	if name, ok := names[magic]; ok {
		return name
	}
	return fmt.Sprintf("0x%x", magic)
}
