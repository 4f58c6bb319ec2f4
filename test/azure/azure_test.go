package azure

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// deploy is what is looked at.
const deploy = "../../deploy/azure"

// testFiles are those below a folder.
func testFiles(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"*/tests/*.tftest.hcl", "*/*/tests/*.tftest.hcl"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, names...)
	}
	if len(found) < 5 {
		t.Fatalf("only %d test files below %s", len(found), dir)
	}
	return found
}

// flips are all of them, of test files that have nothing wrong.
func flips(t *testing.T, dir string) []flip {
	t.Helper()
	var all []flip
	for _, name := range testFiles(t, dir) {
		r, err := read(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.problems {
			t.Error(p)
		}
		all = append(all, r.flips...)
	}
	return all
}

// Each assertion, and each refusal, names a change that makes it fail, and the
// change can be made.
func TestFlips(t *testing.T) {
	all := flips(t, deploy)
	if len(all) < 200 {
		t.Errorf("only %d changes", len(all))
	}
	for _, f := range all {
		source, err := os.ReadFile(filepath.Join(f.module, f.file))
		if err != nil {
			t.Errorf("%s:%d: %v", f.test, f.line, err)
			continue
		}
		if _, err := f.change(string(source)); err != nil {
			t.Errorf("%s:%d: %v", f.test, f.line, err)
		}
	}
}

// Each folder with code has tests, and each variable and output says what it is.
func TestModules(t *testing.T) {
	tested := make(map[string]bool)
	for _, name := range testFiles(t, deploy) {
		tested[filepath.Dir(filepath.Dir(name))] = true
	}
	block := regexp.MustCompile(`(?ms)^(variable|output) "(\w+)" \{\n(.*?)^\}`)
	read := 0
	err := filepath.WalkDir(deploy, func(path string, d os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".tf" {
			return err
		}
		if !tested[filepath.Dir(path)] {
			t.Errorf("%s: no tests beside it", path)
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range block.FindAllStringSubmatch(string(source), -1) {
			read++
			if !regexp.MustCompile(`(?m)^  description\s*=`).MatchString(m[3]) {
				t.Errorf("%s: %s %s has no description", path, m[1], m[2])
			}
			if m[1] == "variable" && !regexp.MustCompile(`(?m)^  type\s*=`).MatchString(m[3]) {
				t.Errorf("%s: variable %s has no type", path, m[2])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if read < 60 {
		t.Errorf("only %d variables and outputs were found", read)
	}
}

// Test files of one folder begin alike: with the same mocks and variables.
func TestHeads(t *testing.T) {
	heads := make(map[string]flip)
	for _, f := range flips(t, deploy) {
		first, ok := heads[f.module]
		if !ok {
			heads[f.module] = f
		} else if f.head != first.head {
			t.Fatalf("%s and %s do not begin alike", first.test, f.test)
		}
	}
}

// What is wrong with a test file is found.
func TestReadFindsWhatIsWrong(t *testing.T) {
	const good = `variables {}

run "a" {
  command = plan

  assert {
    # flip main.tf | a = 1 | a = 2
    condition     = x == 1
    error_message = "a is 1"
  }
}

# flip main.tf | b = 1 | b = 2
run "b" {
  expect_failures = [var.b]
}
`
	for _, row := range []struct{ name, was, is, problem string }{
		{"nothing", "", "", ""},
		{"an assertion without a change", "    # flip main.tf | a = 1 | a = 2\n", "", `"a is 1" has no change`},
		{"a refusal without a change", "# flip main.tf | b = 1 | b = 2\n", "", `"Missing expected failure" has no change`},
		{"a change of nothing", "a = 1 | a = 2", "a = 1 | a = 1", "changes nothing"},
		{"half a change", "a = 1 | a = 2", "a = 1", "a flip is"},
		{"a run that asserts nothing", "  expect_failures = [var.b]\n", "", "run b asserts nothing"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tests")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "a.tftest.hcl")
			if err := os.WriteFile(path, []byte(strings.Replace(good, row.was, row.is, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := read(path)
			if err != nil {
				t.Fatal(err)
			}
			found := strings.Join(got.problems, "\n")
			if (row.problem == "") != (found == "") || !strings.Contains(found, row.problem) {
				t.Errorf("problems %q, want %q", found, row.problem)
			}
			if row.problem == "" && (len(got.flips) != 2 || got.flips[0].says != "a is 1" || got.flips[1].says != missingFailure || got.flips[1].run != "b") {
				t.Errorf("flips %+v", got.flips)
			}
			if row.problem == "" && (got.flips[1].head != "variables {}\n\n" || got.flips[1].body != "  expect_failures = [var.b]\n}\n") {
				t.Errorf("by itself the second is %q and %q", got.flips[1].head, got.flips[1].body)
			}
		})
	}
}

func TestChange(t *testing.T) {
	const source = "a   = 1\nbb  = 1\naa = 1\nb {\n  a = 1\n}\n"
	for _, row := range []struct{ text, want, problem string }{
		{"f | bb = 1 | bb = 2", "a   = 1\nbb = 2\naa = 1\nb {\n  a = 1\n}\n", ""},
		{"f | a = 1 | a = 2 | 1", "a = 2\nbb  = 1\naa = 1\nb {\n  a = 1\n}\n", ""},
		{`f | a = 1 | a = 2\nc = 3 | 2`, "a   = 1\nbb  = 1\naa = 1\nb {\n  a = 2\nc = 3\n}\n", ""},
		{"f | a = 1 | a = 2", "", "2 times: say which"},
		{"f | a = 1 | a = 2 | 3", "", "no sense in occurrence 3"},
		{"f | bb = 1 | bb = 2 | 1", "", "no sense in occurrence 1"},
		{"f | c = 1 | c = 2", "", `has no "c = 1"`},
	} {
		f, err := parse(row.text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.change(source)
		if row.problem == "" && (err != nil || got != row.want) {
			t.Errorf("%s: %q, %v", row.text, got, err)
		}
		if row.problem != "" && (err == nil || !strings.Contains(err.Error(), row.problem)) {
			t.Errorf("%s: %v, want %q", row.text, err, row.problem)
		}
	}
}

// rendered are the manifests of stamps in the cloud.
const rendered = "../../deploy/rendered"

// What the code says of a stamp is what its manifests say: the service accounts
// that have identities, the share's name, the stamps' names and regions, the folders
// that Flux applies, the path that probes ask for.
func TestAgainstManifests(t *testing.T) {
	stamp, prod := text(t, deploy, "modules/stamp/variables.tf"), text(t, deploy, "envs/prod/main.tf")
	accounts := captures(stamp, `service_account = "([^"]+)"`)
	stamps := captures(prod, `name = "(cloud-\w+)", location = "\w+"`)
	folders, err := filepath.Glob(filepath.Join(rendered, "cloud-*"))
	if err != nil || len(folders) == 0 || len(stamps) != len(folders) {
		t.Fatalf("stamps %q, manifests in %q: %v", stamps, folders, err)
	}
	for _, name := range stamps {
		dir := filepath.Join(rendered, name)
		var found []string
		for _, file := range files(t, dir, "serviceaccount-*.yaml") {
			if strings.Contains(file, "azure.workload.identity/client-id:") {
				found = append(found, captures(file, `(?m)^  name: (\S+)$`)...)
			}
		}
		if !slices.Equal(found, accounts) {
			t.Errorf("%s has the service accounts %q, identities are for %q", name, found, accounts)
		}
		share := captures(text(t, deploy, "modules/stamp/share.tf"), `resource "azurerm_storage_share" "queue" \{\n  name\s+= "(\w+)"`)
		if volume := strings.Join(files(t, dir, "persistentvolume-*.yaml"), ""); len(share) != 1 || !slices.Equal(captures(volume, `shareName: (\S+)`), share) {
			t.Errorf("%s mounts %q, the share is %q", name, captures(volume, `shareName: (\S+)`), share)
		}
		region := captures(prod, `name = "`+name+`", location = "(\w+)"`)
		config := strings.Join(files(t, dir, "configmap-*.yaml"), "")
		if len(region) != 1 || !regexp.MustCompile(`region: "?`+region[0]+`"?\n`).MatchString(config) || !regexp.MustCompile(`name: "?`+name+`"?\n`).MatchString(config) {
			t.Errorf("%s in %q does not configure itself so", name, region)
		}
		if _, err := os.Stat(filepath.Join("../../deploy/gitops/clusters", name)); err != nil {
			t.Error(err)
		}
		probe := captures(text(t, deploy, "global/variables.tf"), `path\s+= optional\(string, "([^"]+)"\)`)
		ingress := strings.Join(files(t, dir, "ingress-*.yaml"), "")
		if len(probe) != 1 || !slices.Equal(captures(ingress, `health-probe-path: (\S+)`), probe) {
			t.Errorf("%s is asked for %q, the front door asks for %q", name, captures(ingress, `health-probe-path: (\S+)`), probe)
		}
	}
}

// captures are the first groups of what a pattern finds.
func captures(source, pattern string) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(source, -1) {
		found = append(found, m[1])
	}
	return found
}

func text(t *testing.T, parts ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// files are the contents of the files of a folder that match.
func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: no %s: %v", dir, pattern, err)
	}
	var found []string
	for _, name := range names {
		found = append(found, text(t, name))
	}
	return found
}
