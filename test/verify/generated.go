package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"postroad/test/tree"
)

// generated runs go generate in a copy of the tree and fails where a file
// comes out different. The tree itself is not touched, and what is changed in
// it but not committed counts as it stands.
func (v *verifier) generated(ctx context.Context) error {
	names, err := tree.Files(v.root)
	if err != nil {
		return err
	}
	directive, err := anyDirective(v.root, names)
	if err != nil {
		return err
	}
	if !directive {
		fmt.Fprintln(v.stdout, "no file has a go:generate directive")
		return nil
	}
	dir, err := os.MkdirTemp("", "postroad-generate-")
	if err != nil {
		return fmt.Errorf("copy tree: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a leftover in the temporary folder does no harm
	if err := copyFiles(dir, v.root, names); err != nil {
		return err
	}
	cmd := v.command(ctx, "go", "generate", "./...")
	cmd.Dir = dir
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go generate: %w", err)
	}
	stale, err := differing(v.root, dir, names)
	if err != nil {
		return err
	}
	if len(stale) > 0 {
		return fmt.Errorf("stale, run make generate:\n%s", strings.Join(stale, "\n"))
	}
	return nil
}

// anyDirective tells whether some Go file asks for go generate.
func anyDirective(root string, names []string) (bool, error) {
	for _, name := range names {
		if !strings.HasSuffix(name, ".go") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return false, err
		}
		if bytes.Contains(append([]byte("\n"), data...), []byte("\n//go:generate ")) {
			return true, nil
		}
	}
	return false, nil
}

func copyFiles(to, from string, names []string) error {
	for _, name := range names {
		src := filepath.Join(from, name)
		info, err := os.Stat(src)
		if err != nil {
			return fmt.Errorf("copy tree: %w", err)
		}
		data, err := os.ReadFile(src)
		if err != nil {
			return fmt.Errorf("copy tree: %w", err)
		}
		dst := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
			return fmt.Errorf("copy tree: %w", err)
		}
		if err := os.WriteFile(dst, data, info.Mode().Perm()); err != nil {
			return fmt.Errorf("copy tree: %w", err)
		}
	}
	return nil
}

// differing lists the files of either tree that the other lacks or has with
// other bytes.
func differing(root, copied string, names []string) ([]string, error) {
	after, err := tree.Files(copied)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(names, after)
	slices.Sort(all)
	var found []string
	for _, name := range slices.Compact(all) {
		was, errWas := os.ReadFile(filepath.Join(root, name))
		is, errIs := os.ReadFile(filepath.Join(copied, name))
		for _, err := range []error{errWas, errIs} {
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		if errWas != nil || errIs != nil || !bytes.Equal(was, is) {
			found = append(found, name)
		}
	}
	return found, nil
}
