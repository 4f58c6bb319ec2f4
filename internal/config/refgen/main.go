package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"postroad/internal/config"
)

// The files written, from the root of the module.
const (
	commentsFile  = "internal/config/comments.json"
	referenceFile = "docs/reference/config.md"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "refgen:", err)
		os.Exit(1)
	}
}

func run() error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	comments, err := commentsOf(root)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, commentsFile), comments, 0o644); err != nil {
		return fmt.Errorf("write the comments: %w", err)
	}
	page, err := pageWith(comments)
	if err != nil {
		return err
	}
	path := filepath.Join(root, referenceFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write the reference: %w", err)
	}
	if err := os.WriteFile(path, page, 0o644); err != nil {
		return fmt.Errorf("write the reference: %w", err)
	}
	return nil
}

// moduleRoot finds the directory of go.mod at or above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("find the module: no go.mod above the working directory")
		}
		dir = parent
	}
}

// pageWith renders the reference page from comments just read, which the
// running binary does not embed yet.
func pageWith(comments []byte) ([]byte, error) {
	var b bytes.Buffer
	if err := config.ReferenceFrom(&b, comments, config.Roots()...); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// commentsOf returns the comments of the fields of every settings struct of
// the module, as JSON with sorted keys.
func commentsOf(root string) ([]byte, error) {
	types, err := config.Structs(config.Roots()...)
	if err != nil {
		return nil, err
	}
	byPackage := map[string][]reflect.Type{}
	for _, t := range types {
		byPackage[t.PkgPath()] = append(byPackage[t.PkgPath()], t)
	}
	comments := map[string]string{}
	for _, pkg := range slices.Sorted(maps.Keys(byPackage)) {
		if err := addPackage(comments, root, pkg, byPackage[pkg]); err != nil {
			return nil, err
		}
	}
	b, err := json.MarshalIndent(comments, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("write the comments: %w", err)
	}
	return append(b, '\n'), nil
}

// addPackage adds the field comments of the named structs of one package.
func addPackage(comments map[string]string, root, pkg string, types []reflect.Type) error {
	_, below, _ := strings.Cut(pkg, "/") // the module's path is one word
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(below), "*.go"))
	if err != nil {
		return fmt.Errorf("list the files of %s: %w", pkg, err)
	}
	wanted := map[string]bool{}
	for _, t := range types {
		wanted[t.Name()] = true
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("read the comments of %s: %w", pkg, err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || !wanted[spec.Name.Name] {
				return true
			}
			if st, ok := spec.Type.(*ast.StructType); ok {
				addFields(comments, pkg+"."+spec.Name.Name, st)
			}
			return false
		})
	}
	return nil
}

func addFields(comments map[string]string, owner string, st *ast.StructType) {
	for _, f := range st.Fields.List {
		text := f.Doc.Text()
		if text == "" {
			text = f.Comment.Text()
		}
		for _, name := range f.Names {
			if name.IsExported() && f.Tag != nil {
				comments[owner+"."+name.Name] = strings.Join(strings.Fields(text), " ")
			}
		}
	}
}
