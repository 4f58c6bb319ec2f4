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
	Env  map[string]string
	Jobs map[string]job
}

type job struct {
	Uses        string
	If          string
	With        map[string]any
	Secrets     any
	Env         map[string]string
	Permissions map[string]string
	Minutes     int `yaml:"timeout-minutes"`
	Environment string
	Needs       any
	Strategy    struct {
		FailFast *bool `yaml:"fail-fast"`
		Matrix   map[string]any
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
	"deploy.yml/first":   {"contents", "id-token", "pull-requests"},
	"deploy.yml/second":  {"contents", "id-token", "pull-requests"},
	"stamp.yml/stamp":    {"contents", "id-token", "pull-requests"},
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
	if strings.Contains(source, "secrets.") || strings.Contains(source, "secrets[") || strings.Contains(source, "secrets: inherit") {
		c.found("a secret, where an identity should do")
	}
	c.token("every job", w.Env)
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
	c.token(id+" in every step", j.Env)
	if j.Uses != "" {
		return
	}
	if j.Minutes == 0 || j.Minutes > 90 {
		c.found("%s may run for %d minutes", id, j.Minutes)
	}
	identity := false
	for _, s := range j.Steps {
		c.step(id, s)
		identity = identity || strings.HasPrefix(s.Uses, "azure/login@") || strings.HasPrefix(s.Uses, "sigstore/")
	}
	if identity != (j.Permissions["id-token"] == "write") {
		c.found("%s has an identity without a use, or a use without one", id)
	}
}

// token says that a token is where more than one step sees it.
func (c *checker) token(whose string, env map[string]string) {
	for name, value := range env {
		if strings.Contains(value, "github.token") {
			c.found("%s holds the token of %s", name, whose)
		}
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
	script, _ := s.With["script"].(string)
	if outside.MatchString(s.Run) || outside.MatchString(script) {
		c.found("%s puts an expression into a script: %q", id, s.Run+script)
	}
	// The main module's sums are not all: tools have theirs.
	if strings.HasPrefix(s.Uses, "actions/setup-go@") && s.With["cache"] != false && s.With["cache-dependency-path"] != "**/go.sum" {
		c.found("%s keeps what the main module needs, and not what tools do", id)
	}
	if c.name == "release.yml" && (strings.HasPrefix(s.Uses, "actions/cache") || strings.HasPrefix(s.Uses, "actions/setup-go@") && s.With["cache"] != false) {
		c.found("%s builds a release from what an earlier run left", id)
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
		{"release.yml", "${{ github.token }}", "${{ secrets['TOKEN'] }}", "a secret"},
		{"release.yml", "          cache: false\n", "", "from what an earlier run left"},
		{"release.yml", "- uses: azure/login@", "- uses: actions/cache@27d5ce7f107fe9357f9df03efb73ab90386fccae # v5.0.5\n      - uses: azure/login@", "from what an earlier run left"},
		{"release.yml", "      id-token: write # Azure, and the signature\n", "", "a use without one"},
		{"release.yml", "      contents: write # the release\n", "      contents: write # the release\n      id-token: write\n", "id-token"},
		{"release.yml", "    permissions:\n      contents: write # the release\n", "    permissions: write-all\n", "write-all"},
		{"release.yml", "group: release-${{ github.ref }}", "", "two runs at once"},
		{"deploy.yml", "      pull-requests: write", "      actions: write", "may write actions"},
		{"deploy.yml", "    with:\n      stamp: cloud-green", "    secrets: inherit\n    with:\n      stamp: cloud-green", "a secret"},
		{"stamp.yml", "      STAMP: ${{ inputs.stamp }}\n", "      STAMP: ${{ inputs.stamp }}\n      GH_TOKEN: ${{ github.token }}\n", "in every step"},
		{"stamp.yml", "permissions:\n  contents: read", "env: {GH_TOKEN: \"${{ github.token }}\"}\npermissions:\n  contents: read", "every job"},
		{"stamp.yml", "\"$STAMP\" \"$DIGEST\"", "\"${{ inputs.stamp }}\" \"$DIGEST\"", "puts an expression"},
		{"stamp.yml", "          cache-dependency-path: \"**/go.sum\"\n", "", "not what tools do"},
		{"ci.yml", "        run: bash .ci/run", "        uses: actions/github-script@27d5ce7f107fe9357f9df03efb73ab90386fccae # v8.0.0\n        with:\n          script: log(${{ github.event.pull_request.title }})", "puts an expression"},
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
