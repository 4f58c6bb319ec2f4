package durable

import (
	"fmt"
	"slices"
	"strings"
)

// kind is a row of the table: what is known about a type of file system.
type kind struct {
	// title is how the document calls it.
	title string
	// names are the kernel's; one that ends in "*" stands for all that begin so.
	names []string
	// verdict holds where no rule says otherwise; why is its reason, where it
	// is not Supported.
	verdict Verdict
	why     string
	rules   []rule
	// notes are what to know about it, and conditions that cannot be looked at
	// from this side.
	notes []string
	// network: what the options say decides whether it can be used at all.
	network bool
	// fillsZero: it overwrites in place, so that zero-filling pays.
	fillsZero bool
}

func (k kind) is(name string) bool {
	return slices.ContainsFunc(k.names, func(n string) bool {
		prefix, all := strings.CutSuffix(n, "*")
		return n == name || all && strings.HasPrefix(name, prefix)
	})
}

// rule is what an option means.
type rule struct {
	// options: the rule holds where one of them is there.
	options []string
	// need turns it round: it holds where none of them is there.
	need    bool
	verdict Verdict
	why     string
}

func (r rule) hits(m mount) bool { return slices.ContainsFunc(r.options, m.has) != r.need }

func (r rule) reason(m mount) string {
	if r.need {
		return fmt.Sprintf("without %s: %s", strings.Join(r.options, " or "), r.why)
	}
	i := slices.IndexFunc(r.options, m.has)
	return fmt.Sprintf("%s: %s", r.options[i], r.why)
}

// Rules that several types share.
func readOnly() rule {
	return rule{options: []string{"ro"}, verdict: Refused, why: "mounted read-only"}
}

func noBarrier() rule {
	return rule{
		options: []string{"nobarrier", "barrier=0"}, verdict: Refused,
		why: "a sync does not flush the disk's own cache, so a power cut takes what was acknowledged",
	}
}

// elsewhere is what a file system that writes elsewhere costs on a full disk.
const elsewhere = "overwriting takes free space here, so that on a full disk fences and progress depend on the queue's ballast: " +
	"keep ballast_bytes and reserve_bytes at their defaults or above"

// notExamined is said of what nobody has looked at.
const notExamined = "not examined: whether a sync, an exclusive create and a second host's reads hold what the queue needs is not known"

// kinds is the table. The last row is for every other type.
func kinds() []kind {
	return slices.Concat(localKinds(), shareKinds(), refusedKinds(), []kind{{
		title: "any other", verdict: Refused, why: notExamined,
	}})
}

func localKinds() []kind {
	return []kind{
		{
			title: "ext4, ext3", names: []string{"ext4", "ext3"}, verdict: Supported, fillsZero: true,
			rules: []rule{
				readOnly(), noBarrier(),
				{
					options: []string{"data=writeback"}, verdict: Remarked,
					why: "what was synced is safe, but after a power cut the end of a segment may show old bytes of deleted files; " +
						"checksums keep them from passing for messages, and they may be copied to quarantine/",
				},
				{
					options: []string{"journal_async_commit"}, verdict: Remarked,
					why: "the journal's commit is not ordered behind what it commits, and rests on a checksum alone",
				},
			},
			notes: []string{"a journal that was switched off (`tune2fs -O ^has_journal`): after a power cut fsck has to mend the tree"},
		},
		{title: "XFS", names: []string{"xfs"}, verdict: Supported, fillsZero: true, rules: []rule{readOnly(), noBarrier()}},
		{
			title: "ext2", names: []string{"ext2"}, verdict: Remarked, fillsZero: true,
			why:   "no journal: after a power cut fsck has to mend the tree before anything is read",
			rules: []rule{readOnly(), noBarrier()},
		},
		{
			title: "btrfs", names: []string{"btrfs"}, verdict: Supported,
			rules: []rule{
				readOnly(), noBarrier(),
				{
					options: []string{"nodatacow", "nodatasum"}, verdict: Remarked,
					why: "without checksums of data two mirrored copies that differ after a power cut cannot be told apart; the queue's own checksums find it, and cannot mend it",
				},
			},
			notes: []string{elsewhere},
		},
		{
			title: "ZFS", names: []string{"zfs"}, verdict: Supported, rules: []rule{readOnly()},
			notes: []string{elsewhere, "`sync=disabled` of the dataset (`zfs get sync`) answers a sync before anything is on disk: it must be `standard` or `always`"},
		},
		{
			title: "F2FS", names: []string{"f2fs"}, verdict: Remarked, why: "made for flash, and not tried under load",
			rules: []rule{
				readOnly(), noBarrier(),
				{options: []string{"fsync_mode=nobarrier"}, verdict: Refused, why: noBarrier().why},
			},
			notes: []string{elsewhere},
		},
		{
			title: "virtiofs", names: []string{"virtiofs"}, verdict: Remarked, rules: []rule{readOnly()},
			why:   "a directory of the host: it is as safe as the file system there, at which nobody has looked from here",
			notes: []string{"the host's file system and its options; with several guests, that the server runs with `--cache=auto` or `never`"},
		},
	}
}

func shareKinds() []kind {
	return []kind{
		{
			title: "NFS", names: []string{"nfs4", "nfs"}, verdict: Supported, network: true,
			rules: nfsRules(),
			notes: []string{
				"an export with `async` answers before anything is on the server's disk: it must be `sync`",
				"whether two hosts name the same server and export",
				"on a server whose file system writes elsewhere what it overwrites (ZFS, btrfs): " + elsewhere,
			},
		},
		{
			title: "SMB (Azure Files)", names: []string{"cifs", "smb3"}, verdict: Supported, network: true,
			rules: smbRules(),
			notes: []string{
				"a Samba server with `strict sync = no`, or a disk cache without flush behind it, answers before anything is on its disk",
				"on a server whose file system writes elsewhere what it overwrites (ZFS, btrfs): " + elsewhere,
			},
		},
	}
}

func nfsRules() []rule {
	return []rule{
		readOnly(),
		{
			options: []string{"vers=4.1", "vers=4.2"}, need: true, verdict: Refused,
			why: "before 4.1 there are no sessions, so a write or create that was sent twice may be done a second time, late: " +
				"the zeros of a new fence could come back over one that ended the lane",
		},
		{
			options: []string{"hard"}, need: true, verdict: Refused,
			why: "with `soft` or `softerr` the client gives up on a silent server, and of a write that it gave up nobody knows whether it still arrives",
		},
		{
			options: []string{"softreval"}, verdict: Refused,
			why: "with a silent server the fence would be read from the cache",
		},
		{
			options: []string{"nocto"}, verdict: Refused,
			why: "opening a file would not show what another host wrote: a fence would be seen too late",
		},
		{
			options: []string{"lookupcache=pos", "lookupcache=none"}, need: true, verdict: Remarked,
			why: "this host may believe for up to a minute that another host's new file is not there: takeovers take longer; ask for `lookupcache=pos`",
		},
	}
}

func smbRules() []rule {
	const foreign = "this host's cache would hide what another host wrote: a fence would be seen too late; ask for `cache=strict`"
	return []rule{
		readOnly(),
		{
			options: []string{"cache=loose", "cache=ro", "cache=singleclient"}, verdict: Refused, why: foreign,
		},
		{
			options: []string{"nostrictsync"}, verdict: Refused,
			why: "a sync does not ask the server to write to its disk",
		},
		{
			options: []string{"vers=1.0"}, verdict: Refused,
			why: "what the queue relies on was looked at for SMB 3 only; ask for `vers=3.1.1`",
		},
		{
			options: []string{"vers=2.0", "vers=2.1"}, verdict: Remarked,
			why: "what the queue relies on was looked at for SMB 3 only; ask for `vers=3.1.1`",
		},
		{
			options: []string{"hard"}, need: true, verdict: Remarked,
			why: "the default is `soft`: a short silence of the server fails a sync, which ends the lane and costs its callers an `outcome-unknown`; " +
				"nothing is lost; ask for `hard`",
		},
	}
}

func refusedKinds() []kind {
	const gone = "in memory: it is gone with the machine or the mount"
	const program = "what a sync means is up to the program behind the mount, which cannot be looked at"
	const objects = "files over an object store: no overwriting in place, and a sync before the file is closed stores nothing"
	return []kind{
		{title: "tmpfs, ramfs", names: []string{"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"}, verdict: Refused, why: gone},
		{
			title: "overlayfs (a container's own layer)", names: []string{"overlay", "aufs"}, verdict: Refused,
			why: "a container's own layer goes with the container: mount a volume",
		},
		{
			title: "s3fs, gcsfuse, blobfuse, rclone, goofys", verdict: Refused, why: objects,
			names: []string{"fuse.s3fs", "fuse.gcsfuse", "fuse.blobfuse*", "fuse.rclone", "fuse.goofys", "fuse.mount-s3", "fuse.mountpoint-s3"},
		},
		{
			title: "sshfs", names: []string{"fuse.sshfs"}, verdict: Refused,
			why: "a sync reaches the server's disk only where both sides know an extension, and two hosts do not see each other's writes in time",
		},
		{title: "any other FUSE file system", names: []string{"fuse*"}, verdict: Refused, why: program},
		{
			title: "9p (WSL drives, QEMU, gVisor), drvfs", names: []string{"9p", "drvfs"}, verdict: Refused, why: program,
		},
		{title: "vboxsf", names: []string{"vboxsf"}, verdict: Refused, why: "its sync does nothing"},
		{
			title: "FAT, exFAT, NTFS, HFS+", names: []string{"vfat", "msdos", "exfat", "ntfs", "ntfs3", "hfsplus"}, verdict: Refused,
			why: "a power cut can take directories with it that were synced before",
		},
	}
}
