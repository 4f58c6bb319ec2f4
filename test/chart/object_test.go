package chart

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// object is one manifest.
type object map[string]any

// set is what a chart makes, by kind and name, such as "Service/postroad-door".
type set map[string]object

// objects reads manifests from YAML documents.
func objects(t testing.TB, text []byte) set {
	t.Helper()
	all := set{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("manifests: %v", err)
		}
		if len(o) == 0 {
			continue
		}
		name := o.id()
		if all[name] != nil {
			t.Fatalf("manifests: %s is there twice", name)
		}
		all[name] = o
	}
}

func (o object) id() string { return fmt.Sprintf("%v/%v", o["kind"], o.at("metadata.name")) }

// at returns what is at a path, in which a number is a place in a list and \.
// a dot of a key; nil where nothing is.
func (o object) at(path string) any { return at(map[string]any(o), path) }

func keys(path string) []string {
	parts := strings.Split(strings.ReplaceAll(path, `\.`, "\x00"), ".")
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], "\x00", ".")
	}
	return parts
}

func at(v any, path string) any {
	for _, key := range keys(path) {
		switch in := v.(type) {
		case object:
			v = in[key]
		case map[string]any:
			v = in[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

// put sets what is at a path, whose sections are there or made; nil removes it.
func (o object) put(t testing.TB, path string, value any) {
	t.Helper()
	parts := keys(path)
	last := parts[len(parts)-1]
	var in any = map[string]any(o)
	for i, key := range parts[:len(parts)-1] {
		next := at(in, strings.ReplaceAll(key, ".", `\.`))
		if next == nil {
			m, ok := in.(map[string]any)
			if !ok {
				t.Fatalf("%s has nothing at %v", o.id(), parts[:i+1])
			}
			next = map[string]any{}
			m[key] = next
		}
		in = next
	}
	switch in := in.(type) {
	case map[string]any:
		if value == nil {
			if _, there := in[last]; !there {
				t.Fatalf("%s has no %s to take away", o.id(), path)
			}
			delete(in, last)
			return
		}
		in[last] = value
	case []any:
		i, err := strconv.Atoi(last)
		if err != nil || i >= len(in) {
			t.Fatalf("%s has no %s", o.id(), path)
		}
		in[i] = value
	default:
		t.Fatalf("%s has nothing that could hold %s", o.id(), path)
	}
}

func (o object) text(path string) string {
	if v := o.at(path); v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

func (o object) list(path string) []object { return list(o.at(path)) }

// list returns the tables of a list.
func list(v any) []object {
	items, _ := v.([]any)
	var all []object
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			all = append(all, m)
		}
	}
	return all
}

// texts returns a list of texts.
func texts(v any) []string {
	items, _ := v.([]any)
	var all []string
	for _, item := range items {
		all = append(all, fmt.Sprint(item))
	}
	return all
}

// number is a number of a manifest, however it was read; -1 where it is none.
func number(v any) int {
	n, err := strconv.Atoi(fmt.Sprint(v))
	if err != nil {
		return -1
	}
	return n
}

// of returns all objects of a kind, in the order of their names.
func (s set) of(kind string) []object {
	var names []string
	for name := range s {
		if strings.HasPrefix(name, kind+"/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var all []object
	for _, name := range names {
		all = append(all, s[name])
	}
	return all
}

// named returns an object; a ConfigMap may be named without the sum at its end.
func (s set) named(name string) object {
	if o := s[name]; o != nil || !strings.HasPrefix(name, "ConfigMap/") {
		return o
	}
	for id, o := range s {
		if rest, ok := strings.CutPrefix(id, name+"-"); ok && len(rest) == 10 {
			return o
		}
	}
	return nil
}

// settingsOf returns the ConfigMap that a Deployment mounts as its settings, and
// the file in it that the program is given.
func (s set) settingsOf(d object) (object, string) {
	args := texts(d.at(container + ".args"))
	file := args[len(args)-1][strings.LastIndex(args[len(args)-1], "/")+1:]
	for _, v := range d.list(pod + ".volumes") {
		if v.text("name") == "config" {
			return s["ConfigMap/"+v.text("configMap.name")], file
		}
	}
	return nil, file
}

// component of a Deployment.
func component(d object) string {
	return d.text(`metadata.labels.app\.kubernetes\.io/component`)
}

// matches tells whether labels have all that a selector names.
func matches(selector, labels any) bool {
	s, _ := selector.(map[string]any)
	l, _ := labels.(map[string]any)
	for key, value := range s {
		if l[key] != value {
			return false
		}
	}
	return len(s) > 0
}

const (
	podLabels = "spec.template.metadata.labels"
	pod       = "spec.template.spec"
	container = pod + ".containers.0"
)

// selectsPods returns the Deployments whose pods a selector matches.
func (s set) selectsPods(selector any) []object {
	return slices.DeleteFunc(s.of("Deployment"), func(d object) bool { return !matches(selector, d.at(podLabels)) })
}

// scaler returns what sets the number of a Deployment's pods; nil where nothing
// does.
func (s set) scalers(d object) []object {
	var all []object
	for _, kind := range []string{"HorizontalPodAutoscaler", "ScaledObject"} {
		for _, o := range s.of(kind) {
			if o.text("spec.scaleTargetRef.name") == d.text("metadata.name") {
				all = append(all, o)
			}
		}
	}
	return all
}

// fewest is the least number of pods of a Deployment.
func (s set) fewest(d object) int {
	for _, o := range s.scalers(d) {
		for _, path := range []string{"spec.minReplicas", "spec.minReplicaCount"} {
			if v := o.at(path); v != nil {
				return number(v)
			}
		}
	}
	return number(d.at("spec.replicas"))
}
