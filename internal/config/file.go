package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxFileBytes is the largest configuration file that is read, in bytes.
const MaxFileBytes = 1 << 20

// readFile reads a configuration file, whose size it limits.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if info.Size() > MaxFileBytes {
		return nil, fmt.Errorf("read configuration: %s has %d bytes, more than the limit of %d", path, info.Size(), MaxFileBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return b, nil
}

// fileLoader applies one YAML file to the settings.
type fileLoader struct {
	name     string
	anchors  map[string]ast.Node
	problems []Problem
}

// loadFile sets what the YAML in b says and returns what is wrong with it.
func (t *tree) loadFile(path string, b []byte) (problems []Problem) {
	l := &fileLoader{name: filepath.Base(path), anchors: map[string]ast.Node{}}
	defer func() {
		if v := recover(); v != nil { // the parser's mistake must not be ours
			l.problem(0, "", "", fmt.Sprintf("cannot be read as YAML: %v", v))
			problems = l.problems
		}
	}()
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		var ye yaml.Error
		if errors.As(err, &ye) && ye.GetToken() != nil {
			l.problem(ye.GetToken().Position.Line, "", "", "is not YAML: "+ye.GetMessage())
		} else {
			l.problem(0, "", "", "is not YAML: "+err.Error())
		}
		return l.problems
	}
	bodies := 0
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if bodies++; bodies > 1 {
			l.problem(line(doc.Body), "", "", "only one YAML document is read")
			break
		}
		l.apply(t, t.root, doc.Body)
	}
	return l.problems
}

func (l *fileLoader) problem(line int, path, value, rule string) {
	l.problems = append(l.problems, Problem{Path: path, Value: value, Rule: rule, Origin: Origin{l.name, line}})
}

// maxAliases bounds how often one value may refer to another, so that an
// anchor that contains its own alias ends.
const maxAliases = 16

// resolve follows anchors, aliases and tags to the value they stand for.
func (l *fileLoader) resolve(y ast.Node) ast.Node {
	for range maxAliases {
		switch v := y.(type) {
		case *ast.AnchorNode:
			l.anchors[v.Name.GetToken().Value] = v.Value
			y = v.Value
		case *ast.AliasNode:
			target, known := l.anchors[v.Value.GetToken().Value]
			if !known {
				return y
			}
			y = target
		case *ast.TagNode:
			y = v.Value
		default:
			return y
		}
	}
	return y
}

// apply sets section or leaf n from y. The recursion ends with the depth of
// the settings, which a file cannot make deeper.
func (l *fileLoader) apply(t *tree, n *node, y ast.Node) {
	y = l.resolve(y)
	switch {
	case n.leaf != nil:
		l.applyLeaf(n.leaf, y)
		return
	case n.many != nil:
		l.applyMany(t, n, y)
		return
	}
	if y == nil || y.Type() == ast.NullType {
		return // a section with nothing in it, or everything commented out
	}
	m, ok := y.(ast.MapNode)
	if !ok {
		l.problem(line(y), n.path, quote(scalarText(y)), "must be a section with settings in it")
		return
	}
	for it := m.MapRange(); it.Next(); {
		l.applyKey(t, n, it.Key(), it.Value())
	}
}

func (l *fileLoader) applyKey(t *tree, n *node, key ast.MapKeyNode, value ast.Node) {
	if key.IsMergeKey() {
		l.problem(line(key), n.path, "<<", "merge keys are not supported")
		return
	}
	name := key.GetToken().Value
	if c := n.child(name); c != nil {
		l.apply(t, c, value)
		return
	}
	rule := "unknown key"
	var names []string
	for _, c := range n.children {
		names = append(names, lastKey(c.path))
	}
	if near := nearest(name, names); near != "" {
		rule += fmt.Sprintf(", did you mean %s?", near)
	}
	l.problem(line(key), join(n.path, name), "", rule)
	// An unknown section may define anchors that known ones use.
	l.resolve(value)
}

func (l *fileLoader) applyLeaf(f *field, y ast.Node) {
	f.origin = Origin{l.name, line(y)}
	shown, err := l.set(f, y)
	if err == nil {
		return
	}
	f.broken = true
	if f.secret {
		shown = ""
	}
	l.problem(line(y), f.path, shown, err.Error())
}

// set gives f the value y and returns how y reads, for a problem.
func (l *fileLoader) set(f *field, y ast.Node) (string, error) {
	if y == nil || y.Type() == ast.NullType {
		return "", errors.New("has no value; leave the key out to have the default")
	}
	isList := f.value.Kind() == reflect.Slice && !f.value.Addr().Type().Implements(textUnmarshalerType)
	if seq, ok := y.(*ast.SequenceNode); ok {
		if !isList {
			return "", errors.New("must be a single value, not a list")
		}
		parts := make([]string, 0, len(seq.Values))
		for _, item := range seq.Values {
			item = l.resolve(item)
			if !isText(item) {
				return "", errors.New("must be a list of single values")
			}
			parts = append(parts, scalarText(item))
		}
		return "", setList(f.value, parts)
	}
	if _, ok := y.(*ast.AliasNode); ok {
		return y.String(), errors.New("refers to an anchor that no line above defines")
	}
	if !isText(y) {
		return "", errors.New("must be a single value, not a section")
	}
	text := scalarText(y)
	if isList {
		return quote(text), errors.New("must be a list, such as [a, b]")
	}
	return quote(text), setScalar(f.value, text)
}

// isText reports whether y is a single value.
func isText(y ast.Node) bool {
	switch y.(type) {
	case *ast.StringNode, *ast.LiteralNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return true
	}
	return false
}

// scalarText is a single value as it was written, so that a file, a variable
// and a flag are read by the same rules.
func scalarText(y ast.Node) string {
	switch v := y.(type) {
	case *ast.StringNode:
		return v.Value
	case *ast.LiteralNode:
		return v.Value.Value
	case nil:
		return ""
	}
	if isText(y) {
		return y.GetToken().Value
	}
	return ""
}

func line(y ast.Node) int {
	if y == nil || y.GetToken() == nil {
		return 0
	}
	return y.GetToken().Position.Line
}
