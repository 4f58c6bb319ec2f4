package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The committed files are what the source says now.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	comments, err := commentsOf(root)
	if err != nil {
		t.Fatal(err)
	}
	page, err := pageWith(comments)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]byte{commentsFile: comments, referenceFile: page} {
		got, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Error(err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run go generate ./internal/config", file)
		}
	}
}
