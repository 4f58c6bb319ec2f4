package faultfs_test

import (
	"fmt"
	"testing"
	"time"

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

// To one host alone a share is a file system like any other: whatever its
// kernel does of itself, and however long caches live.
func TestConformanceOfOneHost(t *testing.T) {
	for _, opts := range []faultfs.ShareOptions{
		{},
		{Calm: true},
		{LookupCache: faultfs.LookupPos},
		{LookupCache: faultfs.LookupNone},
		{AttrMax: time.Nanosecond},
		{Granularity: time.Second},
	} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("%+v, seed %d", opts, seed), func(t *testing.T) {
				fstest.Test(t, func(t *testing.T) (durable.FS, string) {
					host := faultfs.NewShare(seed, opts).Host("a")
					if err := host.Mkdir("/d"); err != nil {
						t.Fatal(err)
					}
					return host, "/d"
				})
			})
		}
	}
}
