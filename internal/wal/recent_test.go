package wal_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/wal"
)

// Groups in memory are those that a reader finds in the file; any cut of their
// bytes is an error and never a panic.
func TestGroupsInMemory(t *testing.T) {
	disk, at := faultfs.New(1), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := disk.Mkdir("lane"); err != nil {
		t.Fatal(err)
	}
	blank, err := wal.Prepare(disk, "lane", 1, 1<<20, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	seg, err := blank.Begin([16]byte{1}, 1, at)
	if err != nil {
		t.Fatal(err)
	}
	first := uint64(1)
	for n := range 4 {
		f := new(wal.Frames)
		for i := range n + 1 {
			m := message.Message{ID: message.ID{byte(n), byte(i), 1}, Topic: "t", Value: bytes.Repeat([]byte{byte(i)}, 10*n), Time: at}
			f.Add(&m)
		}
		f.Close()
		seg.Add(f, first, first-1, at)
		first += uint64(n + 1)
	}
	written := bytes.Clone(seg.Pending())
	if err := seg.Commit(); err != nil {
		t.Fatal(err)
	}
	groups, err := wal.Groups(written)
	if err != nil || len(groups) != 4 {
		t.Fatalf("%d groups, %v", len(groups), err)
	}
	r, err := wal.OpenReader(disk, "lane/"+wal.Name(1))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range groups {
		want, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		got := groups[i]
		if got.First != want.First || got.Count != want.Count || got.Durable != want.Durable || !got.Written.Equal(want.Written) || got.Size != want.Size {
			t.Errorf("group %d: %+v in memory, %+v in the file", i, got, want)
		}
		a, errA := got.Messages()
		b, errB := want.Messages()
		if errA != nil || errB != nil || len(a) != len(b) {
			t.Fatalf("group %d: %d messages in memory (%v), %d in the file (%v)", i, len(a), errA, len(b), errB)
		}
		for j := range a {
			if a[j].ID != b[j].ID || !bytes.Equal(a[j].Value, b[j].Value) {
				t.Errorf("message %d of group %d differs", j, i)
			}
		}
	}
	for n := range written {
		groups, err := wal.Groups(written[:n])
		if err != nil && !errors.Is(err, message.ErrDamaged) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if err == nil && len(groups) == 4 {
			t.Errorf("%d of %d bytes give all groups", n, len(written))
		}
	}
}
