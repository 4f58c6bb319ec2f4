package workflows

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

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
