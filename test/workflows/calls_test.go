package workflows

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// code is a file without what stands behind a # at the beginning of a line.
func code(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^\s*#.*$`).ReplaceAllString(string(data), "")
}

// all joins the files that patterns, from the root, name.
func all(t *testing.T, patterns ...string) string {
	t.Helper()
	var text strings.Builder
	for _, pattern := range patterns {
		names, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			text.WriteString(code(t, name) + "\n")
		}
	}
	return text.String()
}

// What workflows and scripts call is there: targets of the Makefile, pinned tools,
// scripts that may be run, proofs. A name that changes elsewhere is found here.
func TestCallsLeadSomewhere(t *testing.T) {
	calls := all(t, ".github/workflows/*.yml", ".github/scripts/*")
	for _, row := range []struct {
		kind, call, in, is string
	}{
		{"target", `\bmake ([a-z]+)\b`, all(t, "Makefile"), `(?m)^%s:`},
		{"tool", `test/verify tool ([a-z-]+)\b`, all(t, "tools/go.mod", "tools/*/go.mod"), `(?m)^\s+\S*/%s(/v\d+)?$`},
		{"proof", `-run '(TestProof\w+)\$'`, all(t, "test/azure/*_test.go"), `(?m)^func %s\(`},
		{"version of OpenTofu", `tofu_version: ([\d.]+)`, all(t, "test/azure/*_test.go"), `calls: "%s"`},
		{"variable of a test", `\b(POSTROAD_TOFU): `, all(t, "test/azure/*_test.go"), `Getenv\("%s"\)`},
		{"proof with a machine or program of its own", `contains\(matrix\.name, '(TestProof\w+)'\)`, all(t, "test/azure/*_test.go", "test/cluster/*_test.go"), `(?m)^func %s`},
		{"test of the image", `-run '\^(Test\w+)\$' -args -built`, all(t, "test/image/*_test.go"), `(?m)^func %s\(`},
		{"flag of it", `-args .*(?:^| )-(version) `, all(t, "test/image/*_test.go"), `flag\.String\("%s"`},
		{"variable of the image", `make image .*\b(IMAGE_\w+)=`, all(t, "deploy/images/build"), `\$\{?%s\b`},
	} {
		found := regexp.MustCompile(row.call).FindAllStringSubmatch(calls, -1)
		if len(found) == 0 {
			t.Errorf("no %s is called: the test tests nothing", row.kind)
		}
		for _, m := range found {
			if !regexp.MustCompile(strings.ReplaceAll(row.is, "%s", regexp.QuoteMeta(m[1]))).MatchString(row.in) {
				t.Errorf("there is no %s %q", row.kind, m[1])
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?:^|[\s{])(\.github/scripts/\w+|\.ci/run|deploy/gitops/promote)\b`).FindAllStringSubmatch(calls, -1) {
		info, err := os.Stat(filepath.Join("../..", m[1]))
		if err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s cannot be run: %v", m[1], err)
		}
	}
}
