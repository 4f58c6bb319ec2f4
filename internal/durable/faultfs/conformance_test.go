package faultfs_test

import (
	"testing"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/durable/fstest"
)

func TestConformance(t *testing.T) {
	fstest.Test(t, func(*testing.T) (durable.FS, string) { return faultfs.New(1), "/" })
}

// A machine started on what a power cut left is as good as a fresh one.
func TestConformanceAfterReboot(t *testing.T) {
	fstest.Test(t, func(t *testing.T) (durable.FS, string) {
		disk := faultfs.New(1)
		if err := durable.MkdirAll(disk, "/old/new"); err != nil {
			t.Fatal(err)
		}
		return disk.Reboot(), "/old/new"
	})
}
