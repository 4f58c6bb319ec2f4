package workflows

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	blue   = "deploy/gitops/apps/cloud-blue/values.yaml"
	one    = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	two    = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
	commit = "0123456789abcdef0123456789abcdef01234567"
)

// script runs a script of .github/scripts in dir, with programs replaced by shell
// functions, and returns what it printed on either output.
func script(t *testing.T, dir, functions, name string, args []string, env ...string) (stdout, stderr string, err error) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../.github/scripts", name))
	if err != nil {
		t.Fatal(err)
	}
	fakes := filepath.Join(t.TempDir(), "fakes")
	if err := os.WriteFile(fakes, []byte(functions), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{path}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append(env, "BASH_ENV="+fakes, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")...)
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	err = cmd.Run()
	return out.String(), problems.String(), err
}

// repository makes an origin with one commit on main, and a clone of it.
func repository(t *testing.T, values string) string {
	t.Helper()
	root := t.TempDir()
	clone := filepath.Join(root, "clone")
	apps := filepath.Join(clone, "deploy/gitops/apps/cloud-blue")
	if err := os.MkdirAll(apps, 0o700); err != nil {
		t.Fatal(err)
	}
	rendered := filepath.Join(clone, "deploy/rendered/cloud-blue")
	if err := os.MkdirAll(rendered, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{apps, rendered} {
		if err := os.WriteFile(filepath.Join(dir, "values.yaml"), []byte(values), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The repository's own, run by bash, for a folder of tests may forbid programs.
	real, err := os.ReadFile("../../deploy/gitops/promote")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(clone, "deploy/gitops/promote"), real, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--initial-branch=main", filepath.Join(root, "origin")},
		{"init", "--quiet", "--initial-branch=main", clone},
		{"-C", clone, "add", "."},
		{"-C", clone, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message=first"},
		{"-C", clone, "remote", "add", "origin", filepath.Join(root, "origin")},
		{"-C", clone, "push", "--quiet", "origin", "main"},
	} {
		if out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	return clone
}

// merging is gh as far as it is asked, and the checks of a repository. Pull requests
// that are open are lines of a file: a second one from the same branch is refused.
const merging = `
deploy/gitops/promote() { bash ./deploy/gitops/promote "$@"; }
sleep() { :; }
gh() {
    echo "gh $*" >&2
    case "$1 $2" in
    "pr list") cat ../open 2>/dev/null || : ;;
    "pr create") [ ! -s ../open ] && echo 7 >../open ;;
    "pr merge") [ -s ../open ] && git push --quiet origin HEAD:main && : >../open ;;
    esac
}
make() { [ "$*" = "render STAMP=cloud-blue" ] && cp deploy/gitops/apps/cloud-blue/values.yaml deploy/rendered/cloud-blue/; }
go() { [ "$1" = test ]; }
`

func valuesOf(digest string) string {
	return "image:\n  digest: \"" + digest + "\"\nstamp: {name: a}\n"
}

func TestPromote(t *testing.T) {
	for _, row := range []struct {
		name, fakes string
		open        bool // a pull request of an earlier run
		created     int
	}{
		{"at once", merging, false, 1},
		{"an earlier run was stopped before its merge", merging, true, 0},
		{"another stamp is merged at the same time", merging + `n=0; eval "merge_$(declare -f gh)"; gh() { if [ "$1 $2" = "pr merge" ] && ((n++ < 2)); then return 1; fi; merge_gh "$@"; }`, false, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := repository(t, valuesOf(one))
			if row.open {
				if err := os.WriteFile(filepath.Join(dir, "../open"), []byte("6\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			stdout, stderr, err := script(t, dir, row.fakes, "promote", []string{"cloud-blue", two})
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, stdout, stderr)
			}
			if want := "commit=" + git(t, dir, "rev-parse", "origin/main") + "\n"; stdout != want {
				t.Errorf("printed %q, want %q", stdout, want)
			}
			for _, file := range []string{blue, "deploy/rendered/cloud-blue/values.yaml"} {
				if got := git(t, dir, "show", "origin/main:"+file) + "\n"; got != valuesOf(two) {
					t.Errorf("%s is %q", file, got)
				}
			}
			if got := strings.Count(stderr, "gh pr create"); got != row.created {
				t.Errorf("%d pull requests:\n%s", got, stderr)
			}
			// Again there is nothing to do, and nothing is merged.
			stdout, stderr, err = script(t, dir, merging, "promote", []string{"cloud-blue", two})
			if err != nil || strings.Contains(stderr, "gh pr") {
				t.Errorf("again: %v\n%s\n%s", err, stdout, stderr)
			}
		})
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...).Output()
	if err != nil {
		t.Fatalf("git %q: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// A run that ends at any point, also after its merge, leaves what it takes to go back:
// what ran was asked before, and to go back where nothing was changed changes nothing.
func TestPromoteIsTakenBack(t *testing.T) {
	for _, row := range []struct{ name, fakes string }{
		{"before the checks", `make() { return 1; }`},
		{"before the pull request", `eval "good_$(declare -f gh)"; gh() { [ "$1 $2" != "pr create" ] && good_gh "$@"; }`},
		{"before the merge", `eval "good_$(declare -f gh)"; gh() { [ "$1 $2" != "pr merge" ] && good_gh "$@"; }`},
		{"after the merge", `git() { if [ "$1" = fetch ] && [ -e ../open ]; then return 1; fi; command git "$@"; }`},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := repository(t, valuesOf(one))
			was := git(t, dir, "rev-parse", "HEAD")
			before, stderr, err := script(t, dir, "", "running", []string{"cloud-blue"})
			if err != nil || before != "commit="+was+"\n" {
				t.Fatalf("%v: %q\n%s", err, before, stderr)
			}
			if stdout, _, err := script(t, dir, merging+row.fakes, "promote", []string{"cloud-blue", two}); err == nil {
				t.Fatalf("it came through: %s", stdout)
			}
			merged := strings.Contains(git(t, dir, "show", "origin/main:"+blue), two)
			if merged != (row.name == "after the merge") {
				t.Errorf("merged is %v", merged)
			}
			if _, stderr, err := script(t, dir, merging+"go() { return 1; }\nmake() { return 1; }\n", "promote", []string{"cloud-blue", "--back", was}); err != nil {
				t.Fatalf("%v\n%s", err, stderr)
			}
			if diff := git(t, dir, "diff", was, "origin/main"); diff != "" {
				t.Errorf("it is not what it was: %s", diff)
			}
			// And the next release goes through.
			if _, stderr, err := script(t, dir, merging, "promote", []string{"cloud-blue", two}); err != nil {
				t.Errorf("%v\n%s", err, stderr)
			}
		})
	}
}

func TestRunning(t *testing.T) {
	for _, row := range []struct {
		name, values, stamp, want, problem string
	}{
		{"a digest", valuesOf(one), "cloud-blue", "commit=", ""},
		{"nothing yet", valuesOf("sha256:" + strings.Repeat("0", 64)), "cloud-blue", "", ""},
		{"no digest", "a: 1\n", "cloud-blue", "", "names no digest"},
		{"no such stamp", valuesOf(one), "cloud-red", "", "there is no"},
		{"no stamp", valuesOf(one), "../cloud-blue", "", "is needed"},
	} {
		dir := repository(t, row.values)
		stdout, stderr, err := script(t, dir, "", "running", []string{row.stamp})
		if row.want != "" {
			row.want += git(t, dir, "rev-parse", "HEAD") + "\n"
		}
		if stdout != row.want || (err == nil) != (row.problem == "") || !strings.Contains(stderr, row.problem) {
			t.Errorf("%s: %v, %q, %q", row.name, err, stdout, stderr)
		}
	}
}

func TestPromoteRefuses(t *testing.T) {
	for _, row := range []struct {
		name, values, fakes string
		args                []string
		problem             string
	}{
		{"no digest", "a: 1\n", merging, []string{"cloud-blue", "latest"}, "are needed"},
		{"no commit", "a: 1\n", merging, []string{"cloud-blue", "--back", "main"}, "are needed"},
		{"an unknown commit", "a: 1\n", merging, []string{"cloud-blue", "--back", strings.Repeat("1", 40)}, "no commit"},
		{"no stamp", "a: 1\n", merging, []string{"../x", two}, "is needed"},
		{"an unknown stamp", "a: 1\n", merging, []string{"cloud-red", two}, "there is no"},
		{"checks that fail", valuesOf(one), merging + "go() { return 1; }\n", []string{"cloud-blue", two}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := repository(t, row.values)
			stdout, stderr, err := script(t, dir, row.fakes, "promote", row.args)
			if err == nil || !strings.Contains(stderr, row.problem) || strings.Contains(stderr, "pr merge") {
				t.Errorf("%v\n%s\n%s", err, stdout, stderr)
			}
		})
	}
}

func TestNotes(t *testing.T) {
	dir := t.TempDir()
	changes := "# Changelog\n\n## [Unreleased]\n\n- later\n\n## [1.2.0] - 2026-11-01\n\n- this\n\n## [1.1.0]\n\n- before\n\n## [1.0.0]\n"
	if err := os.WriteFile(filepath.Join(dir, "CHANGELOG.md"), []byte(changes), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, err := script(t, dir, "", "notes", []string{"v1.2.0", one})
	if err != nil || !strings.Contains(stdout, "- this") || !strings.Contains(stdout, one) || strings.Contains(stdout, "later") || strings.Contains(stdout, "before") {
		t.Errorf("%v\n%s\n%s", err, stdout, stderr)
	}
	for _, version := range []string{"v1.3.0", "v1.0.0"} {
		if stdout, _, err := script(t, dir, "", "notes", []string{version, one}); err == nil {
			t.Errorf("%s: %s", version, stdout)
		}
	}
}

func TestStages(t *testing.T) {
	const list = `go() { printf 'building x\nproof a TestProofX\nproof c TestProofCluster\nfuzz b FuzzY\n'; }`
	stdout, stderr, err := script(t, t.TempDir(), list, "stages", []string{"."})
	if err != nil || stdout != `names=["proof a TestProofX","fuzz b FuzzY"]`+"\n" || !strings.Contains(stderr, "::warning::proof c TestProofCluster: left out") {
		t.Errorf("%v\n%s\n%s", err, stdout, stderr)
	}
	stdout, stderr, err = script(t, t.TempDir(), list, "stages", []string{"."}, "CLUSTER_RUNNER=big")
	if err != nil || stdout != `names=["proof a TestProofX","proof c TestProofCluster","fuzz b FuzzY"]`+"\n" || stderr != "" {
		t.Errorf("%v\n%s\n%s", err, stdout, stderr)
	}
	if stdout, _, err := script(t, t.TempDir(), `go() { seq -f 'proof a TestProof%g' 257; }`, "stages", nil); err == nil {
		t.Errorf("257 stages: %s", stdout)
	}
	if stdout, _, err := script(t, t.TempDir(), `go() { return 1; }`, "stages", nil); err == nil {
		t.Errorf("no list: %s", stdout)
	}
}

// What is pushed is signed by its digest, image and chart, and nothing else is
// printed than what the next job reads.
func TestPublish(t *testing.T) {
	const fakes = `
make() { mkdir -p bin/image/sbom && echo "made $*" >>log && echo '  "name": "sbom-` + one + `",' >bin/image/sbom/index.json && echo '  "name": "sbom-` + two + `",' >bin/image/sbom/amd64.json && echo "r.example/postroad@` + one + `" >bin/image.ref; }
cosign() { echo "cosign $*" >>log; }
go() {
    if [ "$1" = test ]; then echo "looked at $*" >>log; return; fi
    shift 3
    if [ "$1 $2" = "crane digest" ]; then printf 'building crane\n%s\n' "` + one + `"; return; fi
    shift
    case "$1" in package) touch bin/release/postroad-1.2.0.tgz ;; push) echo "Digest: ` + two + `" ;; esac
    echo noise
}
`
	dir := t.TempDir()
	stdout, stderr, err := script(t, dir, fakes, "publish", []string{"v1.2.0", "r.example"})
	if err != nil || stdout != "digest="+one+"\n" {
		t.Fatalf("%v\n%s\n%s", err, stdout, stderr)
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"cosign sign r.example/postroad@" + one, "cosign attest --type spdxjson --predicate bin/image/sbom/index.json r.example/postroad@" + one,
		"cosign attest --type spdxjson --predicate bin/image/sbom/amd64.json r.example/postroad@" + two,
		"cosign sign r.example/charts/postroad@" + two,
		"looked at test -count=1 ./test/image -run ^TestImage$ -args -built " + dir + "/bin/image -version v1.2.0\ncosign sign",
	} {
		if !strings.Contains(string(log), want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
	for _, file := range []string{"image-digest.txt", "index.json", "postroad-1.2.0.tgz"} {
		if _, err := os.Stat(filepath.Join(dir, "bin/release", file)); err != nil {
			t.Error(err)
		}
	}
	for name, change := range map[string]string{
		"a signature that fails":    "cosign() { return 1; }",
		"an image that is no good":  `eval "good_$(declare -f go)"; go() { [ "$1" != test ] && good_go "$@"; }`,
		"another one was pushed":    `eval "good_$(declare -f go)"; go() { if [ "$4" = crane ]; then echo "` + two + `"; else good_go "$@"; fi; }`,
		"an SBOM of something else": `eval "good_$(declare -f make)"; make() { good_make "$@" && echo {} >bin/image/sbom/other.json; }`,
		"no SBOM":                   `make() { mkdir -p bin && echo "r.example/postroad@` + one + `" >bin/image.ref; }`,
		"no digest":                 `make() { mkdir -p bin && echo "r.example/postroad:latest" >bin/image.ref; }`,
	} {
		dir := t.TempDir()
		stdout, _, err := script(t, dir, fakes+change, "publish", []string{"v1.2.0", "r.example"})
		if err == nil {
			t.Errorf("%s: %s", name, stdout)
		}
		if log, err := os.ReadFile(filepath.Join(dir, "log")); err == nil && name != "a signature that fails" && strings.Contains(string(log), "cosign") {
			t.Errorf("%s: it is signed all the same:\n%s", name, log)
		}
	}
	if _, _, err := script(t, t.TempDir(), fakes, "publish", []string{"main", "r.example"}); err == nil {
		t.Error("a branch is released")
	}
}
