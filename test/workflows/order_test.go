package workflows

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"postroad/test/tree"
)

func parsed(t *testing.T, source string) workflow {
	t.Helper()
	var w workflow
	if err := yaml.Unmarshal([]byte(source), &w); err != nil {
		t.Fatal(err)
	}
	return w
}

// order says what is wrong with the order in which stamps are changed.
func order(w workflow) []string {
	c := checker{name: "deploy.yml"}
	first, second := w.Jobs["first"], w.Jobs["second"]
	if got := fmt.Sprint(first.Strategy.Matrix["stamp"]); got != `${{ fromJSON(inputs.parallel && '["cloud-blue", "cloud-green"]' || '["cloud-blue"]') }}` {
		c.found("first go %s", got)
	}
	if first.Strategy.FailFast == nil || !*first.Strategy.FailFast {
		c.found("a stamp that failed does not stop the other")
	}
	if second.Needs != "first" || second.If != "${{ !inputs.parallel }}" {
		c.found("the second stamp needs %v, if %q", second.Needs, second.If)
	}
	for id, want := range map[string]string{"first": "${{ matrix.stamp }}", "second": "cloud-green"} {
		j := w.Jobs[id]
		if j.Uses != "./.github/workflows/stamp.yml" || j.With["stamp"] != want || j.With["digest"] != "${{ inputs.digest }}" {
			c.found("%s is %s with %v", id, j.Uses, j.With)
		}
	}
	if len(w.Jobs) != 2 {
		c.found("%d jobs", len(w.Jobs))
	}
	for _, event := range []string{"workflow_dispatch", "workflow_call"} {
		on, _ := w.On[event].(map[string]any)
		inputs, _ := on["inputs"].(map[string]any)
		parallel, _ := inputs["parallel"].(map[string]any)
		if parallel["default"] != false {
			c.found("%s goes to both at once unless told otherwise", event)
		}
	}
	return c.problems
}

// way says what is wrong with what is done to a stamp.
func way(w workflow) []string {
	c := checker{name: "stamp.yml"}
	j := w.Jobs["stamp"]
	if j.Environment != "${{ inputs.stamp }}" {
		c.found("a stamp cannot ask for approval")
	}
	if w.Concurrency.Group != "stamp-${{ inputs.stamp }}" {
		c.found("two may change one stamp")
	}
	last := -1
	for _, part := range []string{"cosign verify", `running "$STAMP"`, `promote "$STAMP" "$DIGEST"`, "scripts/gate", `promote "$STAMP" --back "$BEFORE"`} {
		at := slices.IndexFunc(j.Steps, func(s step) bool { return strings.Contains(s.Run, part) })
		if at <= last {
			c.found("%q is not done, or too early", part)
			return c.problems
		}
		last = at
	}
	back := j.Steps[last]
	if back.If != "(failure() || cancelled()) && steps.before.outputs.commit != ''" || back.Env["BEFORE"] != "${{ steps.before.outputs.commit }}" {
		c.found("a stamp that failed or was stopped does not go back: %q, %v", back.If, back.Env)
	}
	for _, s := range j.Steps {
		if strings.Contains(s.Run, "running") && s.ID != "before" || strings.Contains(s.Run, "$DIGEST\" >>") && s.ID != "promote" {
			c.found("%q is called %q", s.Run, s.ID)
		}
		if strings.Contains(s.Run, "gate") && s.Env["COMMIT"] != "${{ steps.promote.outputs.commit }}" {
			c.found("the gate waits for %q", s.Env["COMMIT"])
		}
	}
	return c.problems
}

func TestDeployGoesBlueGateGreen(t *testing.T) {
	for _, set := range []struct {
		name    string
		check   func(workflow) []string
		changes [][2]string
	}{
		{"deploy.yml", order, [][2]string{
			{`'["cloud-blue"]'`, `'["cloud-green"]'`},
			{`'["cloud-blue", "cloud-green"]'`, `'["cloud-blue"]'`},
			{"fail-fast: true", "fail-fast: false"},
			{"    needs: first\n", ""},
			{"if: ${{ !inputs.parallel }}", "if: always() && !inputs.parallel"},
			{"stamp: cloud-green", "stamp: cloud-blue"},
			{"workflows/stamp.yml", "workflows/other.yml"},
			{"      parallel:\n        description: \"Both stamps at once\"\n        default: false", "      parallel:\n        default: true"},
			{"required: true\n        type: string\n      parallel:\n        default: false", "required: true\n        default: false\n      parallel:\n        default: true"},
		}},
		{"stamp.yml", way, [][2]string{
			{"environment: ${{ inputs.stamp }}", "environment: production"},
			{"group: stamp-${{ inputs.stamp }}", "group: stamp"},
			{"run: .github/scripts/gate", "run: echo"},
			{"cosign verify", "cosign triangulate"},
			{"run: .github/scripts/running", "run: echo"},
			{"id: before", "id: after"},
			{"--back \"$BEFORE\"", "\"$BEFORE\""},
			{"outputs.commit }}\n        run: .github/scripts/promote", "outputs.digest }}\n        run: .github/scripts/promote"},
			{"id: promote", "id: promoted"},
			{"(failure() || cancelled()) && ", "failure() && "},
			{"COMMIT: ${{ steps.promote.outputs.commit }}", "COMMIT: main"},
			{"      - name: Wait until", "      - run: .github/scripts/promote \"$STAMP\" --back \"$BEFORE\"\n      - name: Wait until"},
		}},
	} {
		source := read(t, set.name)
		for _, p := range set.check(parsed(t, source)) {
			t.Error(p)
		}
		for _, row := range set.changes {
			changed := strings.ReplaceAll(source, row[0], row[1])
			if changed == source {
				t.Errorf("%s has no %q", set.name, row[0])
			} else if len(set.check(parsed(t, changed))) == 0 {
				t.Errorf("nothing is wrong with %q", row[1])
			}
		}
	}
}

// released says what is wrong with a release: what it needs before, in which order it
// is done, and what is not brought to stamps by itself.
func released(w workflow) []string {
	c := checker{name: "release.yml"}
	if w.Jobs["test"].Uses != "./.github/workflows/ci.yml" || w.Jobs["build"].Needs != "test" || w.Jobs["notes"].Needs != "build" {
		c.found("not: test, build, notes")
	}
	d := w.Jobs["deploy"]
	if fmt.Sprint(d.Needs) != "[build notes]" || d.With["parallel"] != false || d.With["digest"] != "${{ needs.build.outputs.digest }}" {
		c.found("deployed is %v after %v", d.With, d.Needs)
	}
	if d.If != "vars.DEPLOY_ON_RELEASE == 'true' && !contains(github.ref_name, '-')" {
		c.found("deployed if %q", d.If)
	}
	if w.Concurrency.Group != "release-${{ github.ref }}" {
		c.found("of tags that wait only the last is released")
	}
	built := 0
	for _, j := range w.Jobs {
		for _, s := range j.Steps {
			built += strings.Count(s.Run, "scripts/publish")
		}
	}
	if built != 1 {
		c.found("built %d times", built)
	}
	return c.problems
}

func TestRelease(t *testing.T) {
	source := read(t, "release.yml")
	for _, p := range released(parsed(t, source)) {
		t.Error(p)
	}
	for _, row := range [][2]string{
		{"needs: test", "needs: []"},
		{"needs: build", "needs: test"},
		{"needs: [build, notes]", "needs: [build]"},
		{"workflows/ci.yml", "workflows/proof.yml"},
		{"parallel: false", "parallel: true"},
		{" && !contains(github.ref_name, '-')", ""},
		{"vars.DEPLOY_ON_RELEASE == 'true' && ", "true && "},
		{"release-${{ github.ref }}", "release"},
		{"          .github/scripts/notes", "          .github/scripts/publish \"$VERSION\" \"$REGISTRY\"\n          .github/scripts/notes"},
	} {
		changed := strings.ReplaceAll(source, row[0], row[1])
		if changed == source {
			t.Errorf("no %q", row[0])
		} else if len(released(parsed(t, changed))) == 0 {
			t.Errorf("nothing is wrong with %q", row[1])
		}
	}
}

// Each module of Go is one whose dependencies are kept up to date.
func TestDependabotKnowsEachModule(t *testing.T) {
	data, err := os.ReadFile("../../.github/dependabot.yml")
	if err != nil {
		t.Fatal(err)
	}
	type update struct {
		Ecosystem   string `yaml:"package-ecosystem"`
		Directories []string
	}
	var d struct{ Updates []update }
	if err := yaml.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(d.Updates, func(u update) bool { return u.Ecosystem == "gomod" })
	if at < 0 {
		t.Fatal("no modules at all")
	}
	names, err := tree.Files("../..")
	if err != nil {
		t.Fatal(err)
	}
	modules := 0
	for _, name := range names {
		if filepath.Base(name) != "go.mod" || strings.Contains(name, "testdata") {
			continue
		}
		modules++
		dir := "/" + strings.TrimPrefix(filepath.ToSlash(filepath.Dir(name)), ".")
		if !slices.ContainsFunc(d.Updates[at].Directories, func(pattern string) bool {
			ok, err := filepath.Match(pattern, dir)
			return ok && err == nil
		}) {
			t.Errorf("%s is left as it is", dir)
		}
	}
	if modules < 5 {
		t.Errorf("only %d modules", modules)
	}
}
