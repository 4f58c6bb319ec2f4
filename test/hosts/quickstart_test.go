package hosts

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"postroad/test/tree"
)

// manifest is as much of one as the quickstart speaks of.
type manifest struct {
	Kind string
	Data map[string]string
}

// helm renders the chart for a site with these values.
func helm(t *testing.T, values string) string {
	t.Helper()
	root, err := tree.Root()
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			if e, ok := errors.AsType[*exec.ExitError](err); ok {
				t.Logf("%s", e.Stderr)
			}
			t.Fatalf("%s %q: %v", name, args, err)
		}
		return string(out)
	}
	lines := strings.Split(strings.TrimSpace(run("go", "run", "./test/verify", "tool", "-path", "helm")), "\n")
	return run(lines[len(lines)-1], "template", "postroad", "deploy/charts/postroad", "-n", "postroad",
		"-f", "deploy/charts/postroad/profiles/onprem.yaml", "-f", written(t, "my-stamp.yaml", values))
}

// Whoever follows the quickstart gets manifests with settings that are good ones, and
// makes all Secrets that their pods ask for, and no others.
func TestQuickstart(t *testing.T) {
	data, err := os.ReadFile("../../docs/deploy/quickstart.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	block := regexp.MustCompile("(?s)```yaml\n# my-stamp.yaml\n(.*?)```").FindStringSubmatch(page)
	if block == nil {
		t.Fatal("the page has no my-stamp.yaml")
	}
	out := helm(t, strings.NewReplacer("sha256:…", "sha256:"+strings.Repeat("1", 64), "REGISTRY", "registry.example").Replace(block[1]))
	checked := 0
	for d := yaml.NewDecoder(strings.NewReader(out)); ; {
		var m manifest
		if err := d.Decode(&m); err == io.EOF { //nolint:errorlint // as the decoder returns it
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for name, text := range m.Data {
			if m.Kind == "ConfigMap" {
				settings(t, written(t, filepath.Base(name), text))
				checked++
			}
		}
	}
	if checked != 2 {
		t.Errorf("%d ConfigMaps, and the page speaks of two", checked)
	}
	for _, p := range secretProblems(page, out) {
		t.Error(p)
	}
	for _, was := range []string{"| `postroad-hub-read` |", "| `postroad-readers` |", "secret generic postroad-publish", "secret docker-registry postroad-registry"} {
		if changed := strings.Replace(page, was, "", 1); changed == page || len(secretProblems(changed, out)) == 0 {
			t.Errorf("nothing is wrong without %q", was)
		}
	}
	if twice := "\nkubectl create secret generic postroad-readers\n"; len(secretProblems(page+twice, out)) == 0 {
		t.Error("nothing is wrong with a Secret that is made twice")
	}
	if len(secretProblems(page+"\n| `postroad-other` | `a` | b |\n", out)) == 0 {
		t.Error("nothing is wrong with a Secret that nobody asks for")
	}
}

// secretProblems compares the Secrets of the page's table, and those that it makes,
// with those that pods ask for.
func secretProblems(page, manifests string) []string {
	all := func(pattern, text string) []string {
		var found []string
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
		slices.Sort(found)
		return found
	}
	wanted := slices.Compact(all(`(?:secretName|imagePullSecrets:\s+- name): (postroad-[\w-]+)`, manifests))
	var found []string
	for what, named := range map[string][]string{
		"the table has": all("(?m)^\\| `(postroad-[\\w-]+)` \\|", page),
		"made are":      all(`create secret [\w-]+ (postroad-[\w-]+)`, page),
	} {
		if !slices.Equal(wanted, named) {
			found = append(found, fmt.Sprintf("%s %q, and pods ask for %q", what, named, wanted))
		}
	}
	return found
}
