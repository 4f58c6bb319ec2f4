package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// target is a top-level test function: a fuzz target, a proof, a benchmark.
type target struct {
	// pkg is its import path.
	pkg  string
	name string
}

// testPackage is what `go list` says of a package's tests.
type testPackage struct {
	ImportPath                string
	Dir                       string
	TestGoFiles, XTestGoFiles []string
}

// find lists the test functions of the whole module whose name is prefix and
// something that does not begin in lower case, as go test defines it. Files
// under the proof tag count.
func (v *verifier) find(ctx context.Context, prefix string) ([]target, error) {
	out, err := v.output(ctx, "go", "list", "-e", "-tags", proofTag,
		"-json=ImportPath,Dir,TestGoFiles,XTestGoFiles", "./...")
	if err != nil {
		return nil, err
	}
	var found []target
	dec := json.NewDecoder(strings.NewReader(out))
	for {
		var p testPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("read go list: %w", err)
		}
		for _, file := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			names, err := functions(filepath.Join(p.Dir, file), prefix)
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				found = append(found, target{p.ImportPath, name})
			}
		}
	}
}

// functions lists the functions of one file that find looks for.
func functions(path, prefix string) ([]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("look for %s functions: %w", prefix, err)
	}
	var names []string
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil {
			continue
		}
		rest, ok := strings.CutPrefix(fn.Name.Name, prefix)
		first, _ := utf8.DecodeRuneInString(rest)
		if ok && (rest == "" || !unicode.IsLower(first)) {
			names = append(names, fn.Name.Name)
		}
	}
	return names, nil
}
