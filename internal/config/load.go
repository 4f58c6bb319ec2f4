package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// LoadOptions say where settings are read from.
type LoadOptions struct {
	// File is the path of a YAML file; empty reads none.
	File string
	// Env is the environment as os.Environ gives it.
	Env []string
	// IgnoreEnv names variables that begin with POSTROAD_ and are no
	// settings.
	IgnoreEnv []string
	// Set are settings of the command line, each path=value, the last of a
	// path winning.
	Set []string
}

// Loaded is a settings struct that was filled, with where each value came
// from.
type Loaded struct {
	tree *tree
}

// Load fills target, a pointer to a struct that holds the defaults, and
// validates it. What is wrong with the settings comes back as an *Error that
// lists every problem; any other error is of reading the file.
func Load(target any, opts LoadOptions) (*Loaded, error) {
	t, err := newTree(target)
	if err != nil {
		return nil, err
	}
	var problems []Problem
	if opts.File != "" {
		b, err := readFile(opts.File)
		if err != nil {
			return nil, err
		}
		problems = t.loadFile(opts.File, b)
	}
	problems = append(problems, t.loadEnv(opts.Env, opts.IgnoreEnv)...)
	problems = append(problems, t.loadSet(opts.Set)...)
	store(t.root)
	problems = append(problems, t.validate()...)
	if len(problems) > 0 {
		return nil, &Error{Problems: problems}
	}
	return &Loaded{tree: t}, nil
}

// serviceLink matches the variables that a cluster adds for each Service of a
// namespace: a Service named postroad-gateway makes
// POSTROAD_GATEWAY_SERVICE_HOST and POSTROAD_GATEWAY_PORT_80_TCP_ADDR.
var serviceLink = regexp.MustCompile(`_(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

func (t *tree) loadEnv(environ, ignore []string) []Problem {
	var problems []Problem
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, EnvPrefix) || slices.Contains(ignore, name) {
			continue
		}
		f, known := t.byEnv[name]
		if !known {
			if !serviceLink.MatchString(name) {
				problems = append(problems, Problem{Rule: t.unknownEnv(name), Origin: Origin{Name: name}})
			}
			continue
		}
		problems = append(problems, f.setFrom(text, Origin{Name: name})...)
	}
	return problems
}

func (t *tree) unknownEnv(name string) string {
	var names []string
	for _, f := range t.leaves {
		if f.env == "" {
			continue
		}
		names = append(names, strings.TrimPrefix(f.env, EnvPrefix))
	}
	if near := nearest(strings.TrimPrefix(name, EnvPrefix), names); near != "" {
		return fmt.Sprintf("unknown setting, did you mean %s?", EnvPrefix+near)
	}
	return "unknown setting"
}

// SetOrigin is the origin of values that LoadOptions.Set gave.
const SetOrigin = "--set"

func (t *tree) loadSet(set []string) []Problem {
	var problems []Problem
	origin := Origin{Name: SetOrigin}
	for _, entry := range set {
		path, text, ok := strings.Cut(entry, "=")
		f, known := t.byPath[path]
		switch {
		case !ok:
			problems = append(problems, Problem{Value: quote(entry), Rule: "must be path=value", Origin: origin})
		case !known:
			problems = append(problems, Problem{Path: path, Rule: t.unknownPath(path), Origin: origin})
		case f.secret:
			problems = append(problems, Problem{
				Path: path, Origin: origin,
				Rule: "is a secret, which other users of the machine could read from the command line; set it in the file or as " + f.env,
			})
		default:
			problems = append(problems, f.setFrom(text, origin)...)
		}
	}
	return problems
}

func (t *tree) unknownPath(path string) string {
	var paths []string
	for _, f := range t.leaves {
		if strings.HasPrefix(f.path, path+".") {
			return "is a section; name a setting in it"
		}
		paths = append(paths, f.path)
	}
	if near := nearest(path, paths); near != "" {
		return fmt.Sprintf("unknown setting, did you mean %s?", near)
	}
	return "unknown setting"
}

// setFrom gives a setting the text of a variable or flag. A good value heals
// what a source of less precedence broke: that problem stays reported.
func (f *field) setFrom(text string, origin Origin) []Problem {
	f.origin = origin
	err := setText(f.value, text)
	f.broken = err != nil
	if err == nil {
		return nil
	}
	p := Problem{Path: f.path, Rule: err.Error(), Origin: origin}
	if !f.secret {
		p.Value = quote(text)
	}
	return []Problem{p}
}

// validator is what Options are asked.
type validator interface{ Validate() error }

// validate asks the root, then each section, but not what is within a section
// that validates itself, for that section answers for its parts.
func (t *tree) validate() []Problem {
	var problems []Problem
	if v, ok := t.root.value.Interface().(validator); ok {
		problems = t.problemsOf("", v.Validate())
	}
	for _, c := range t.root.children {
		problems = append(problems, t.validateSection(c)...)
	}
	return problems
}

func (t *tree) validateSection(n *node) []Problem {
	if n.leaf != nil {
		return nil
	}
	if v, ok := n.value.Interface().(validator); ok {
		return t.problemsOf(n.path, v.Validate())
	}
	var problems []Problem
	for _, c := range n.children {
		problems = append(problems, t.validateSection(c)...)
	}
	return problems
}

// problemsOf takes a Validate's answer apart, each error "path: value: rule"
// with the path relative to the section.
func (t *tree) problemsOf(section string, err error) []Problem {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var problems []Problem
		for _, e := range joined.Unwrap() {
			problems = append(problems, t.problemsOf(section, e)...)
		}
		return problems
	}
	name, rule, ok := strings.Cut(err.Error(), ": ")
	path := join(section, name)
	f, known := t.byPath[path]
	if whole, _, ok := cutLast(path, "["); !known && ok { // brokers[0] is of the setting brokers
		f, known = t.byPath[whole]
	}
	switch {
	case !ok || strings.ContainsAny(name, " \n"):
		return []Problem{{Path: section, Rule: err.Error()}}
	case !known:
		return []Problem{{Path: path, Rule: rule, Origin: t.originOf(path)}}
	case f.broken:
		return nil // reported already, with the value that was given
	}
	if f.secret {
		rule = withoutSecret(rule, f.value)
	}
	return []Problem{{Path: path, Rule: rule, Origin: f.origin}}
}

// withoutSecret takes a secret's value out of a rule, should one quote it.
func withoutSecret(rule string, v reflect.Value) string {
	if s := text(v); s != "" {
		rule = strings.ReplaceAll(rule, s, "***")
	}
	return rule
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// originOf is where the item or the list of a path came from; zero where the path
// is of neither.
func (t *tree) originOf(path string) Origin {
	var find func(n *node) Origin
	find = func(n *node) Origin {
		for _, c := range n.children {
			if c.path == path {
				return c.origin
			}
			if strings.HasPrefix(path, c.path) {
				if o := find(c); o != (Origin{}) {
					return o
				}
			}
		}
		return Origin{}
	}
	return find(t.root)
}
