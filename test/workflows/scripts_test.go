package workflows

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
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

// gateEnv is what the gate is always told.
var gateEnv = []string{
	"CLUSTER_ID=/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c", "COMMIT=" + commit, "FRONTDOOR_ID=/f", "ORIGIN=green.example.com",
	"GATE_TIMEOUT=0",
}

func TestGate(t *testing.T) {
	// A sleep is a thousand seconds, so that it is the looks that count, however busy
	// the machine is.
	const good = `
sleep() { SECONDS=$((SECONDS + 1000)); }
az() { case "$*" in "aks command invoke --resource-group g --name c "*" --command kubectl -n flux-system get kustomization postroad -o jsonpath='{.status.conditions[?(@.type==\"Ready\")].status} {.status.lastAppliedRevision}'"|"monitor metrics list --resource /f "*"--filter Origin eq 'green.example.com' "*) ;; *) return 1 ;; esac; case "$1" in aks) printf 'True main@sha1:` + commit + `\n' ;; monitor) echo 100.0 ;; esac; }
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
			stdout, stderr, err := script(t, t.TempDir(), good+row.change, "gate", nil, append(gateEnv, "GATE_SOAK=3000")...)
			if (err == nil) != (row.problem == "") || !strings.Contains(stderr, row.problem) {
				t.Errorf("%v\n%s\n%s", err, stdout, stderr)
			}
		})
	}
}

// What the gate asks Flux for is there, in each cluster.
func TestGateAsksForWhatIsThere(t *testing.T) {
	for _, stamp := range []string{"cloud-blue", "cloud-green"} {
		if text := all(t, "deploy/gitops/clusters/"+stamp+"/apps.yaml"); !strings.Contains(text, "kind: Kustomization\nmetadata:\n  name: postroad\n  namespace: flux-system\n") || !strings.Contains(text, "\n  wait: true\n") {
			t.Errorf("%s has no such Kustomization, or one that is ready before its pods are", stamp)
		}
	}
	if gate := all(t, ".github/scripts/gate"); !strings.Contains(gate, "kubectl -n flux-system get kustomization postroad ") {
		t.Error("the gate asks for another one")
	}
}

// The gate sends messages to a server that answers, and judges by what it answers.
func TestGateSends(t *testing.T) {
	const cloud = `
sleep() { SECONDS=$((SECONDS + 1000)); }
az() { case "$1" in aks) printf 'True main@sha1:` + commit + `\n' ;; monitor) echo 100.0 ;; esac; }
git() { :; }
`
	for _, row := range []struct {
		name     string
		statuses []int // the last one stays
		problem  string
	}{
		{"in the hub", []int{200}, ""},
		{"one met a pod that ended", []int{200, 503, 200}, ""},
		{"kept, and not forwarded", []int{202}, "are not in the hub: 202"},
		{"fails", []int{500}, "are not in the hub: 500"},
		{"fails after a while", []int{200, 200, 500}, "are not in the hub: 500"},
		{"fails in the end", []int{200, 200, 200, 503}, "no judgement"},
		{"knows nobody", []int{401}, "are not in the hub: 401"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var asked atomic.Int64
			stamp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.URL.String() != "/v1/topics/check/messages?key=gate" || r.Header.Get("Prefer") != "wait=5" || r.Header.Get("Authorization") != "Bearer t0k" {
					t.Errorf("%s %s with %v", r.Method, r.URL, r.Header)
				}
				w.WriteHeader(row.statuses[min(int(asked.Add(1)), len(row.statuses))-1])
			}))
			defer stamp.Close()
			platform := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("audience") != "post road" || r.URL.Query().Get("api-version") != "2.0" || r.Header.Get("Authorization") != "Bearer job" {
					t.Errorf("%s with %v", r.URL, r.Header)
				}
				fmt.Fprint(w, `{"count":1,"value":"t0k"}`)
			}))
			defer platform.Close()
			stdout, stderr, err := script(t, t.TempDir(), cloud, "gate", nil, append(gateEnv, "GATE_SOAK=4000", "CHECK_URL="+stamp.URL, "CHECK_TOPIC=check", "CHECK_AUDIENCE=post road",
				"ACTIONS_ID_TOKEN_REQUEST_URL="+platform.URL+"/token?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=job", "no_proxy=*")...)
			if (err == nil) != (row.problem == "") || !strings.Contains(stderr, row.problem) || asked.Load() == 0 {
				t.Errorf("%v after %d messages\n%s\n%s", err, asked.Load(), stdout, stderr)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		_, stderr, err := script(t, t.TempDir(), cloud, "gate", nil, append(gateEnv, "GATE_SOAK=4000", "CHECK_URL=http://127.0.0.1:1")...)
		if err == nil || !strings.Contains(stderr, "are not in the hub: ") {
			t.Errorf("%v\n%s", err, stderr)
		}
	})
	t.Run("no token", func(t *testing.T) {
		_, stderr, err := script(t, t.TempDir(), cloud, "gate", nil, append(gateEnv, "GATE_SOAK=4000", "CHECK_URL=http://127.0.0.1:1", "CHECK_AUDIENCE=a", "ACTIONS_ID_TOKEN_REQUEST_URL=http://127.0.0.1:1", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=job")...)
		if err == nil || !strings.Contains(stderr, "no token") {
			t.Errorf("%v\n%s", err, stderr)
		}
	})
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
