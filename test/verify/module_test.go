package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// transcript is all that a verifier and its commands print, which write to it
// at the same time.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (tr *transcript) Write(p []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.text.Write(p)
}

func (tr *transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.text.String()
}

// module lays out a module of its own from path → text and returns a verifier
// for it with what it prints.
func module(t *testing.T, files map[string]string) (*verifier, *transcript) {
	t.Helper()
	root := t.TempDir()
	files["go.mod"] = "module example.test/m\n\ngo 1.26.0\n"
	put(t, root, files)
	var out transcript
	return &verifier{root: root, stdout: &out, stderr: &out}, &out
}

func put(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
