package workflows

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
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

func TestGate(t *testing.T) {
	// A sleep is a thousand seconds, so that it is the looks that count, however busy
	// the machine is.
	const good = `
sleep() { SECONDS=$((SECONDS + 1000)); }
az() { case "$*" in "aks command invoke --resource-group g --name c "*|"monitor metrics list --resource /f "*) ;; *) return 1 ;; esac; case "$1" in aks) printf 'True main@sha1:` + commit + `\n' ;; monitor) echo 100.0 ;; esac; }
git() { [ "$1" = fetch ] || [ "$*" = "merge-base --is-ancestor ` + commit + ` ` + commit + `" ]; }
`
	for _, row := range []struct{ name, change, problem string }{
		{"well", "", ""},
		{"a later commit is applied", `git() { :; }`, ""},
		{"a look that fails", `git() { :; }; n=0; az() { case "$1" in aks) printf 'True main@sha1:` + commit + `\n' ;; monitor) [ -e seen ] && echo 100; touch seen ;; esac; }`, ""},
		{"Flux is not content", `az() { printf 'Unknown main@sha1:` + commit + `\n'; }`, "is not applied"},
		{"an earlier commit is applied", `git() { [ "$1" = fetch ]; }`, "is not applied"},
		{"no answer", `az() { return 1; }`, "is not applied"},
		{"probes fail", `az() { case "$1" in aks) printf 'True main@sha1:` + commit + `\n' ;; monitor) echo 40.5 ;; esac; }`, "unwell: 40.5 %"},
		{"probes are silent", `az() { case "$1" in aks) printf 'True main@sha1:` + commit + `\n' ;; esac; }`, "says nothing"},
		{"it fails afterwards", `az() { case "$1" in aks) if [ -e seen ]; then printf 'False main@sha1:` + commit + `\n'; else printf 'True main@sha1:` + commit + `\n'; fi; touch seen ;; monitor) echo 100 ;; esac; }`, "no longer well"},
	} {
		t.Run(row.name, func(t *testing.T) {
			stdout, stderr, err := script(t, t.TempDir(), good+row.change, "gate", nil,
				"CLUSTER_ID=/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c", "COMMIT="+commit, "FRONTDOOR_ID=/f", "ORIGIN=green.example.com",
				"GATE_TIMEOUT=0", "GATE_SOAK=3000")
			if (err == nil) != (row.problem == "") || !strings.Contains(stderr, row.problem) {
				t.Errorf("%v\n%s\n%s", err, stdout, stderr)
			}
		})
	}
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
	if err := os.WriteFile(filepath.Join(apps, "values.yaml"), []byte(values), 0o600); err != nil {
		t.Fatal(err)
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

// merging is gh as far as it is asked, and the checks of a repository.
const merging = `
deploy/gitops/promote() { bash ./deploy/gitops/promote "$@"; }
gh() { echo "gh $*"; case "$1 $2" in "pr merge") git push --quiet origin HEAD:main ;; esac; }
make() { [ "$1" = render ] && mkdir -p deploy/rendered && cp deploy/gitops/apps/cloud-blue/values.yaml deploy/rendered/; }
go() { [ "$1" = test ]; }
`

func TestPromote(t *testing.T) {
	const zeros = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	values := func(digest string) string { return "image:\n  digest: \"" + digest + "\"\nstamp: {name: a}\n" }
	for _, row := range []struct{ name, values, want, before string }{
		{"first", values(zeros), values(two), ""},
		{"next", values(one), values(two), "before=" + one + "\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := repository(t, row.values)
			stdout, stderr, err := script(t, dir, merging, "promote", []string{"cloud-blue", two})
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, stdout, stderr)
			}
			head, err := exec.CommandContext(t.Context(), "git", "-C", dir, "rev-parse", "origin/main").Output()
			if err != nil {
				t.Fatal(err)
			}
			if want := "commit=" + strings.TrimSpace(string(head)) + "\n" + row.before; stdout != want {
				t.Errorf("printed %q, want %q", stdout, want)
			}
			for _, file := range []string{"deploy/gitops/apps/cloud-blue/values.yaml", "deploy/rendered/values.yaml"} {
				got, err := exec.CommandContext(t.Context(), "git", "-C", dir, "show", "origin/main:"+file).Output()
				if err != nil || string(got) != row.want {
					t.Errorf("%s is %q, %v, want %q", file, got, err, row.want)
				}
			}
			if !strings.Contains(stderr, "gh pr create") {
				t.Errorf("no pull request:\n%s", stderr)
			}
			// Again there is nothing to do, and nothing is merged.
			stdout, stderr, err = script(t, dir, merging, "promote", []string{"cloud-blue", two})
			if err != nil || strings.Contains(stdout, "before=") || strings.Contains(stderr, "gh pr") {
				t.Errorf("again: %v\n%s\n%s", err, stdout, stderr)
			}
		})
	}
}

func TestPromoteRefuses(t *testing.T) {
	for _, row := range []struct {
		name, values, fakes string
		args                []string
		problem             string
	}{
		{"no digest", "a: 1\n", merging, []string{"cloud-blue", "latest"}, "are needed"},
		{"no stamp", "a: 1\n", merging, []string{"../x", two}, "are needed"},
		{"an unknown stamp", "a: 1\n", merging, []string{"cloud-red", two}, "there is no"},
		{"checks that fail", "image:\n  digest: \"" + one + "\"\n", merging + "go() { return 1; }\n", []string{"cloud-blue", two}, ""},
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
	stdout, stderr, err := script(t, t.TempDir(), `go() { printf 'proof a TestProofX\nfuzz b FuzzY\n'; }`, "stages", []string{"."})
	if err != nil || stdout != `names=["proof a TestProofX","fuzz b FuzzY"]`+"\n" {
		t.Errorf("%v\n%s\n%s", err, stdout, stderr)
	}
	if stdout, _, err := script(t, t.TempDir(), `go() { seq 257; }`, "stages", nil); err == nil {
		t.Errorf("257 stages: %s", stdout)
	}
}

// What is pushed is signed by its digest, image and chart, and nothing else is
// printed than what the next job reads.
func TestPublish(t *testing.T) {
	const fakes = `
make() { mkdir -p bin/image/sbom && echo "made $*" >>log && echo {} >bin/image/sbom/index.json && echo "r.example/postroad@` + one + `" >bin/image.ref; }
cosign() { echo "cosign $*" >>log; }
go() { shift 4; case "$1" in package) touch bin/release/postroad-1.2.0.tgz ;; push) echo "Digest: ` + two + `" ;; esac; echo noise; }
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
		"cosign sign r.example/charts/postroad@" + two,
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
		"a signature that fails": "cosign() { return 1; }",
		"no SBOM":                `make() { mkdir -p bin && echo "r.example/postroad@` + one + `" >bin/image.ref; }`,
		"no digest":              `make() { mkdir -p bin && echo "r.example/postroad:latest" >bin/image.ref; }`,
	} {
		if stdout, _, err := script(t, t.TempDir(), fakes+change, "publish", []string{"v1.2.0", "r.example"}); err == nil {
			t.Errorf("%s: %s", name, stdout)
		}
	}
	if _, _, err := script(t, t.TempDir(), fakes, "publish", []string{"main", "r.example"}); err == nil {
		t.Error("a branch is released")
	}
}
