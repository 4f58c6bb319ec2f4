package tree

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

func TestRootHoldsThisPackage(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	if !isFile(filepath.Join(root, "test", "tree", "tree_test.go")) {
		t.Fatalf("Root() = %s, which does not hold this file", root)
	}
	t.Chdir(t.TempDir())
	if got, err := Root(); err == nil {
		t.Fatalf("Root() outside of the project = %s, want an error", got)
	}
}

func TestFilesWithoutGitSkipsWhatIsBuilt(t *testing.T) {
	root := t.TempDir()
	write(t, root, "go.mod", "a/b.go", "bin/postroad", "postroad-data/lanes/x", "a/node_modules/m.js")
	want := []string{"a/b.go", "go.mod"}
	if got := files(t, root); !slices.Equal(got, want) {
		t.Fatalf("Files = %q, want %q", got, want)
	}
}

func TestFilesWithGitFollowsGitignore(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	root := t.TempDir()
	git(t, root, "init", "-q")
	write(t, root, ".gitignore", "kept.go", "gone.go", "new.go", "x.tmp")
	if err := os.WriteFile(filepath.Join(root, ".gitignore"), []byte("*.tmp\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	git(t, root, "add", "kept.go", "gone.go")
	if err := os.Remove(filepath.Join(root, "gone.go")); err != nil {
		t.Fatal(err)
	}
	want := []string{".gitignore", "kept.go", "new.go"}
	if got := files(t, root); !slices.Equal(got, want) {
		t.Fatalf("Files = %q, want %q", got, want)
	}
}

func files(t *testing.T, root string) []string {
	t.Helper()
	got, err := Files(root)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func write(t *testing.T, root string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
}
