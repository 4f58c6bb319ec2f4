package chart

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// made says of the manifests of a stamp what they were made of,
// as sums: it heads their kustomization.yaml. A stamp has the chart that it was given
// last, which need not be the newest one: so that a change of the chart reaches one
// stamp after the other, as images do.
type made struct{ chart, values string }

const listing = "kustomization.yaml"

// The manifests in deploy/rendered are those that the chart makes; where the chart
// was changed since, those that it made then, unchanged.
func TestRendered(t *testing.T) {
	for _, stamp := range slices.Sorted(maps.Keys(stamps)) {
		if *update && *only != "" && *only != stamp {
			continue
		}
		dir := filepath.Join(root(t), filepath.FromSlash(renderedDir), stamp)
		want, now := files(t, stamp), sums(t, stamp)
		if *update {
			write(t, dir, want, now)
		}
		for _, problem := range stale(t, dir, want, now) {
			t.Errorf("%s: %s: make render STAMP=%s", stamp, problem, stamp)
		}
	}
}

// files are the manifests of a stamp, one each, with keys in order: so that a change
// is a small difference.
func files(t *testing.T, stamp string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for name, o := range rendered(t, stamp) {
		b, err := yaml.MarshalWithOptions(o, yaml.IndentSequence(true), yaml.UseLiteralStyleIfMultiline(true))
		if err != nil {
			t.Fatal(err)
		}
		all[strings.ToLower(strings.ReplaceAll(name, "/", "-"))+".yaml"] = b
	}
	return all
}

// sums are those of today's chart and values.
func sums(t *testing.T, stamp string) made {
	t.Helper()
	chart := map[string][]byte{}
	dir := filepath.Join(root(t), filepath.FromSlash(chartDir))
	for _, part := range []string{"Chart.yaml", "values.yaml", "profiles/" + stamps[stamp] + ".yaml", "templates"} {
		err := filepath.WalkDir(filepath.Join(dir, part), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(dir, path)
			if err == nil {
				chart[filepath.ToSlash(name)], err = os.ReadFile(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return made{chart: sumOf(chart), values: sumOf(map[string][]byte{"values.yaml": read(t, appsDir+"/"+stamp+"/values.yaml")})}
}

func sumOf(files map[string][]byte) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s %x\n", name, sha256.Sum256(files[name]))
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil))
}

// kustomization lists manifests, and says what they were made of.
func kustomization(files map[string][]byte, of made) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Made by make render; not to be changed by hand.\n# chart: %s\n# values: %s\n# manifests: %s\n", of.chart, of.values, sumOf(files))
	b.WriteString("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n")
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b.WriteString("  - " + name + "\n")
	}
	return b.Bytes()
}

// write puts manifests into a folder of their own.
func write(t *testing.T, dir string, files map[string][]byte, of made) {
	t.Helper()
	if err := cmp.Or(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	all := maps.Clone(files)
	all[listing] = kustomization(files, of)
	for name, b := range all {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// stale says what is wrong with the manifests in a folder, where want is what today's
// chart makes.
func stale(t *testing.T, dir string, want map[string][]byte, now made) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	there := map[string][]byte{}
	for _, e := range entries {
		if there[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	head := there[listing]
	delete(there, listing)
	of := made{chart: said(head, "chart"), values: said(head, "values")}
	var found []string
	if of.values != now.values {
		found = append(found, "its values were changed since")
	}
	if !bytes.Equal(head, kustomization(there, of)) {
		found = append(found, "was changed by hand")
	}
	if of.chart != now.chart {
		t.Logf("%s is of an earlier chart", dir)
		return found
	}
	for name := range want {
		if !bytes.Equal(want[name], there[name]) {
			found = append(found, name+" is not what the chart makes")
		}
	}
	for name := range there {
		if want[name] == nil {
			found = append(found, name+" is not made by the chart")
		}
	}
	return found
}

// said reads a sum of the head of a list.
func said(head []byte, what string) string {
	for line := range strings.Lines(string(head)) {
		if sum, ok := strings.CutPrefix(line, "# "+what+": "); ok {
			return strings.TrimSpace(sum)
		}
	}
	return ""
}

// A chart that was changed leaves the stamps as they are, until each is rendered by
// itself; nothing else may differ.
func TestStaleManifestsAreFound(t *testing.T) {
	files := map[string][]byte{"a.yaml": []byte("a: 1\n"), "b.yaml": []byte("b: 1\n")}
	other := map[string][]byte{"a.yaml": []byte("a: 2\n"), "b.yaml": []byte("b: 1\n")}
	of := made{chart: "sha256:1", values: "sha256:2"}
	newer := made{chart: "sha256:3", values: "sha256:2"}
	for _, row := range []struct {
		name   string
		want   map[string][]byte
		now    made
		change map[string]string // of files, after they were written
		bad    bool
	}{
		{"as it was made", files, of, nil, false},
		{"the chart was changed since", other, newer, nil, false},
		{"and the manifests by hand", other, newer, map[string]string{"a.yaml": "a: 3\n"}, true},
		{"and one was added", other, newer, map[string]string{"c.yaml": "c: 1\n"}, true},
		{"and one left out of the list", other, newer, map[string]string{listing: strings.Replace(string(kustomization(files, of)), "  - b.yaml\n", "", 1)}, true},
		{"the values were changed since", files, made{chart: "sha256:1", values: "sha256:4"}, nil, true},
		{"and the chart as well", other, made{chart: "sha256:3", values: "sha256:4"}, nil, true},
		{"the chart makes something else", other, of, nil, true},
		{"and the sums were made to fit", files, of, map[string]string{"a.yaml": "a: 2\n", listing: string(kustomization(other, of))}, true},
		{"nothing says what it was made of", files, of, map[string]string{listing: "resources: [a.yaml, b.yaml]\n"}, true},
	} {
		dir := filepath.Join(t.TempDir(), "stamp")
		write(t, dir, files, of)
		for name, text := range row.change {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if found := stale(t, dir, row.want, row.now); (len(found) > 0) != row.bad {
			t.Errorf("%s: %v", row.name, found)
		}
	}
	if found := stale(t, filepath.Join(t.TempDir(), "nothing"), files, of); len(found) == 0 {
		t.Error("a stamp without manifests is well")
	}
}
