package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"postroad/internal/telemetry"
)

// Machine says what was measured where.
type Machine struct {
	// Cores is how many the process may use.
	Cores  int    `json:"cores"`
	CPU    string `json:"cpu,omitempty"`
	Memory int64  `json:"memory_bytes,omitempty"`
	Kernel string `json:"kernel"`
	// FileSystem is the type of the one that is written to.
	FileSystem string `json:"file_system"`
	// Load is how many processes wanted to run, averaged over a minute, before
	// the run began: above a few tenths the machine was busy with other things.
	Load    float64           `json:"load"`
	Version telemetry.Version `json:"version"`
}

// machineOf describes this machine, as far as it tells.
func machineOf(dir string, v telemetry.Version) (Machine, error) {
	m := Machine{Cores: runtime.GOMAXPROCS(0), Version: v, CPU: cpuModel()}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return Machine{}, fmt.Errorf("name of the kernel: %w", err)
	}
	m.Kernel = unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:])
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return Machine{}, fmt.Errorf("file system of %s: %w", dir, err)
	}
	m.FileSystem = fileSystem(fs.Type)
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return Machine{}, fmt.Errorf("load of the machine: %w", err)
	}
	const fixedPoint = 1 << 16 // of the loads, as sysinfo(2) gives them
	m.Load = float64(info.Loads[0]) / fixedPoint
	m.Memory = int64(info.Totalram) * int64(info.Unit)
	return m, nil
}

// fileSystem names the magic number of statfs(2).
func fileSystem(magic int64) string {
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC:      "ext4",
		unix.XFS_SUPER_MAGIC:       "xfs",
		unix.BTRFS_SUPER_MAGIC:     "btrfs",
		unix.TMPFS_MAGIC:           "tmpfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
		unix.NFS_SUPER_MAGIC:       "nfs",
		unix.SMB2_SUPER_MAGIC:      "smb",
		unix.FUSE_SUPER_MAGIC:      "fuse",
	}
	if name, ok := names[magic]; ok {
		return name
	}
	return fmt.Sprintf("file system %#x", magic)
}

// cpuModel is the first model name that the system gives; empty without.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return ""
}
