package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
)

// Root returns the folder that holds the main module: the nearest one from
// the working directory upwards with a go.mod and a Makefile beside it.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if isFile(filepath.Join(dir, "go.mod")) && isFile(filepath.Join(dir, "Makefile")) {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("find project root: no folder above holds go.mod and Makefile")
		}
		dir = up
	}
}

// Files returns the paths of the project's files below root, slash-separated
// and sorted. A file that is deleted but still tracked is left out.
func Files(root string) ([]string, error) {
	names, err := gitFiles(root)
	if err != nil {
		names, err = walkFiles(root)
	}
	if err != nil {
		return nil, fmt.Errorf("list files of %s: %w", root, err)
	}
	sort.Strings(names)
	return names, nil
}

// gitFiles fails where git is missing or root is not a work tree's top.
func gitFiles(root string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		return nil, err
	}
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var names []string
	seen := make(map[string]bool)
	for name := range bytes.SplitSeq(out, []byte{0}) {
		s := string(name)
		if s == "" || seen[s] || !isFile(filepath.Join(root, s)) {
			continue
		}
		seen[s] = true
		names = append(names, s)
	}
	return names, nil
}

// walkFiles is for a tree without git, such as an unpacked archive. It leaves
// out by name what .gitignore does.
func walkFiles(root string) ([]string, error) {
	built := map[string]bool{".git": true, "bin": true, "postroad-data": true, "node_modules": true}
	var names []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && built[d.Name()] {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		names = append(names, filepath.ToSlash(rel))
		return nil
	})
	return names, err
}

func isFile(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular()
}
