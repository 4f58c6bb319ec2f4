package workflows

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const folder = "../../.github/workflows"

type workflow struct {
	On          map[string]any `yaml:"on"`
	Permissions map[string]string
	Concurrency struct {
		Group string
	}
	Jobs map[string]job
}

type job struct {
	Uses        string
	Permissions map[string]string
	Minutes     int `yaml:"timeout-minutes"`
	Environment string
	Needs       any
	Strategy    struct {
		FailFast    *bool `yaml:"fail-fast"`
		MaxParallel any   `yaml:"max-parallel"`
		Matrix      map[string]any
	}
	Steps []step
}

type step struct {
	ID, Uses, Run, If string
	With              map[string]any
	Env               map[string]string
}

var (
	pinned = regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	// named is such a line with the version that the digest was looked up for.
	named = regexp.MustCompile(`uses: [^#\s]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	// outside is what others choose: in a script it would be run.
	outside = regexp.MustCompile(`\$\{\{`)
)

// writes are the permissions to write that a job has with a reason; all else reads.
var writes = map[string][]string{
	"release.yml/build":  {"attestations", "id-token"},
	"release.yml/notes":  {"contents"},
	"release.yml/deploy": {"contents", "id-token", "pull-requests"},
	"deploy.yml/stamp":   {"contents", "id-token", "pull-requests"},
}

// check returns what is wrong with a workflow.
func check(name, source string) []string {
	var w workflow
	if err := yaml.Unmarshal([]byte(source), &w); err != nil {
		return []string{err.Error()}
	}
	c := checker{name: name}
	if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" {
		c.found("without more a job may only read the sources, and the top says %v", w.Permissions)
	}
	if w.Concurrency.Group == "" {
		c.found("no concurrency group: two runs at once")
	}
	if _, ok := w.On["pull_request_target"]; ok {
		c.found("pull_request_target gives a stranger's change our rights")
	}
	if strings.Contains(source, "secrets.") {
		c.found("a secret, where an identity should do")
	}
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "uses: ") && !strings.Contains(line, "uses: ./") && !named.MatchString(line) {
			c.found("%q is not pinned by digest with its version behind it", line)
		}
	}
	for id, j := range w.Jobs {
		c.job(id, j)
	}
	if len(w.Jobs) == 0 {
		c.found("no job")
	}
	return c.problems
}

type checker struct {
	name     string
	problems []string
}

func (c *checker) found(format string, args ...any) {
	c.problems = append(c.problems, c.name+": "+fmt.Sprintf(format, args...))
}

func (c *checker) job(id string, j job) {
	for what, how := range j.Permissions {
		if how != "read" && !slices.Contains(writes[c.name+"/"+id], what) {
			c.found("%s may write %s", id, what)
		}
	}
	if j.Uses != "" {
		return
	}
	if j.Minutes == 0 || j.Minutes > 90 {
		c.found("%s may run for %d minutes", id, j.Minutes)
	}
	for _, s := range j.Steps {
		c.step(id, s)
	}
}

func (c *checker) step(id string, s step) {
	if s.Uses != "" && !pinned.MatchString(s.Uses) {
		c.found("%s uses %s", id, s.Uses)
	}
	if strings.HasPrefix(s.Uses, "actions/checkout@") && s.With["persist-credentials"] != false {
		c.found("%s leaves its token in the sources", id)
	}
	if strings.HasPrefix(s.Uses, "azure/login@") && (s.With["creds"] != nil || s.With["client-id"] == nil) {
		c.found("%s does not log in by federation", id)
	}
	if outside.MatchString(s.Run) {
		c.found("%s puts an expression into a script: %q", id, s.Run)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPolicy(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(folder, "*.yml"))
	if err != nil || len(names) < 4 {
		t.Fatalf("workflows %q, %v", names, err)
	}
	for _, name := range names {
		for _, p := range check(filepath.Base(name), read(t, filepath.Base(name))) {
			t.Error(p)
		}
	}
}

// Each rule finds a workflow that breaks it.
func TestPolicyFindsWhatBreaksIt(t *testing.T) {
	for _, row := range []struct{ name, was, is, problem string }{
		{"ci.yml", "permissions:\n  contents: read", "permissions: {contents: write}", "only read the sources"},
		{"ci.yml", "permissions:\n  contents: read\n", "", "only read the sources"},
		{"ci.yml", "  pull_request:", "  pull_request_target:", "a stranger's change"},
		{"ci.yml", "group: ci", "groop: ci", "two runs at once"},
		{"ci.yml", "checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "checkout@v7", "not pinned"},
		{"ci.yml", "checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "checkout@3d3c42e5aac5ba805825da76410c181273ba90b1", "not pinned"},
		{"ci.yml", "          persist-credentials: false\n", "", "leaves its token"},
		{"ci.yml", "    timeout-minutes: 45\n", "", "may run for 0 minutes"},
		{"ci.yml", "run: bash .ci/run", "run: echo ${{ github.head_ref }}", "puts an expression"},
		{"release.yml", "          client-id: ${{ vars.AZURE_CLIENT_ID }}", "          creds: ${{ vars.AZURE }}", "by federation"},
		{"release.yml", "${{ github.token }}", "${{ secrets.TOKEN }}", "a secret"},
		{"release.yml", "      attestations: write", "      packages: write", "may write packages"},
		{"deploy.yml", "      pull-requests: write", "      actions: write", "may write actions"},
	} {
		source := read(t, row.name)
		if !strings.Contains(source, row.was) {
			t.Errorf("%s has no %q", row.name, row.was)
			continue
		}
		got := check(row.name, strings.Replace(source, row.was, row.is, 1))
		if !slices.ContainsFunc(got, func(p string) bool { return strings.Contains(p, row.problem) }) {
			t.Errorf("%s with %q: %q, want %q", row.name, row.is, got, row.problem)
		}
	}
}

// order says what is wrong with how stamps are changed.
func order(source string) []string {
	var w workflow
	if err := yaml.Unmarshal([]byte(source), &w); err != nil {
		return []string{err.Error()}
	}
	c := checker{name: "deploy.yml"}
	j := w.Jobs["stamp"]
	if got := fmt.Sprint(j.Strategy.Matrix["stamp"]); got != "[cloud-blue cloud-green]" {
		c.found("stamps go in the order %s", got)
	}
	if j.Strategy.MaxParallel != "${{ inputs.parallel && 2 || 1 }}" {
		c.found("as many at once as %v", j.Strategy.MaxParallel)
	}
	if j.Strategy.FailFast == nil || !*j.Strategy.FailFast {
		c.found("a stamp that failed does not stop the other")
	}
	if j.Environment != "${{ matrix.stamp }}" {
		c.found("a stamp cannot ask for approval")
	}
	at := func(part string) int {
		return slices.IndexFunc(j.Steps, func(s step) bool { return strings.Contains(s.Run, part) })
	}
	signed, promoted, gate := at("cosign verify"), at("promote \"$STAMP\" \"$DIGEST\""), at("scripts/gate")
	if signed < 0 || promoted < signed || gate < promoted {
		c.found("not: signature (%d), promotion (%d), gate (%d)", signed, promoted, gate)
	}
	back := at("promote \"$STAMP\" \"$BEFORE\"")
	if back < gate || back < 0 || !strings.Contains(j.Steps[back].If, "failure() || cancelled()") {
		c.found("a stamp that failed or was stopped does not go back")
	}
	for _, event := range []string{"workflow_dispatch", "workflow_call"} {
		inputs := fmt.Sprint(w.On[event])
		if !strings.Contains(inputs, "parallel:map[default:false") && !strings.Contains(inputs, "default:false") {
			c.found("%s goes to both at once unless told otherwise", event)
		}
	}
	return c.problems
}

func TestDeployGoesBlueGateGreen(t *testing.T) {
	source := read(t, "deploy.yml")
	for _, p := range order(source) {
		t.Error(p)
	}
	for _, row := range []struct{ was, is string }{
		{"[cloud-blue, cloud-green]", "[cloud-green, cloud-blue]"},
		{"inputs.parallel && 2 || 1", "2"},
		{"fail-fast: true", "fail-fast: false"},
		{"environment: ${{ matrix.stamp }}", "environment: production"},
		{"run: .github/scripts/gate", "run: echo"},
		{"cosign verify", "cosign triangulate"},
		{"(failure() || cancelled()) && ", "failure() && "},
		{"default: false", "default: true"},
	} {
		changed := strings.ReplaceAll(source, row.was, row.is)
		if changed == source {
			t.Errorf("deploy.yml has no %q", row.was)
		}
		if len(order(changed)) == 0 {
			t.Errorf("nothing is wrong with %q", row.is)
		}
	}
}
