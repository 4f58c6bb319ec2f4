package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/bbolt"
)

// call runs the program in this process and reads its answer.
func call(t *testing.T, answer any, args ...string) error {
	t.Helper()
	var out, errOut bytes.Buffer
	if err := run(t.Context(), args, &out, &errOut); err != nil {
		return err
	}
	if err := json.Unmarshal(out.Bytes(), answer); err != nil {
		t.Fatalf("%v: %q", err, out.String())
	}
	return nil
}

// What a store says it keeps is there when it is opened again.
func TestStoresKeepWhatTheyCount(t *testing.T) {
	for _, tc := range []struct {
		name  string
		count func(t *testing.T, dir string) int64
	}{
		{"pebble", countPebble}, {"bbolt", countBolt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			var m Measured
			if err := call(t, &m, "store", "--name", tc.name, "--dir", dir, "--writers", "3", "--bytes", "10", "--seconds", "0.1"); err != nil {
				t.Fatal(err)
			}
			if m.Name != tc.name || m.Writers != 3 || m.Bytes != 10 || m.Seconds != 0.1 {
				t.Errorf("%+v", m)
			}
			// Beside what counts: the first of each writer, and one that came
			// after the end.
			if n := tc.count(t, dir); n < m.Records+3 || n > m.Records+6 {
				t.Errorf("%d records there, %d counted", n, m.Records)
			}
		})
	}
}

func countPebble(t *testing.T, dir string) int64 {
	db, err := pebble.Open(dir, &pebble.Options{Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	n := int64(0)
	for it.First(); it.Valid(); it.Next() {
		if len(it.Key()) == 8 && len(it.Value()) == 10 {
			n++
		}
	}
	return n
}

func countBolt(t *testing.T, dir string) int64 {
	db, err := bbolt.Open(filepath.Join(dir, "bolt"), 0o644, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	n := 0
	if err := db.View(func(tx *bbolt.Tx) error {
		n = tx.Bucket(bucket).Stats().KeyN
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return int64(n)
}

func TestList(t *testing.T) {
	var all []Description
	if err := call(t, &all, "list"); err != nil || len(all) != len(peers()) || all[0].About == "" {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestUsage(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"", "usage"},
		{"bogus", "usage"},
		{"store --name pebble", "--dir must be given"},
		{"store --name none --dir x", `no store "none"`},
		{"store --dir x --writers 0", "must be positive"},
		{"produce --brokers x", "must be given"},
		{"store --bogus", "flag provided but not defined"},
	} {
		var none any
		if err := call(t, &none, strings.Fields(tc.args)...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.args, err, tc.want)
		}
	}
}
