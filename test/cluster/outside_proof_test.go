//go:build proof

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"postroad/test/binary"
	"postroad/test/kafkatest"
	"postroad/test/tree"
)

// kitEnv names the file with the kit, in the process that runs inside the LAN.
const kitEnv = "CLUSTER_KIT"

// kit is what was built outside, since inside nothing can be fetched.
type kit struct {
	// Root is the project's, Home the folder of the clusters' state.
	Root, Home string
	// Postroad, Kubectl, Helm, Kustomize and Controller are programs.
	Postroad, Kubectl, Helm, Kustomize, Controller string
	// Digests are those of two versions of the image, older first, which the
	// registries of both stamps have.
	Digests [2]string
	// Definitions are files with what kinds of others are.
	Definitions []string
}

var built binary.Built

func TestMain(m *testing.M) { os.Exit(built.Run(m)) }

// buildLimit bounds building Kubernetes, from nothing, on two cores.
const buildLimit = 45 * time.Minute

// TestProofCluster runs its subtests inside the LAN. `-run` picks some of them:
// make test-cluster ARGS='-run TestProofCluster/drain'.
func TestProofCluster(t *testing.T) {
	if path := os.Getenv(kitEnv); path != "" {
		inside(t, path)
		return
	}
	if os.Getuid() != 0 || runtime.GOOS != "linux" {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root on Linux (namespaces, cgroups, mounts)")
		}
		t.Skip("NOT TESTED ON A CLUSTER: needs root on Linux (namespaces, cgroups, mounts)")
	}
	k := outfit(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(k.Root, "test/cluster/down"))
		if t.Failed() {
			cmd.Env = append(os.Environ(), "KEEP=1")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	script(t, k, 2*time.Minute, "down") // what an earlier run left behind
	layouts := images(t, k)
	for _, s := range []struct{ name, nodes string }{{onprem, "3"}, {cloud, "2"}} {
		began := time.Now()
		script(t, k, 5*time.Minute, "up", "STAMP="+s.name, "NODES="+s.nodes)
		script(t, k, 5*time.Minute, "addons", "STAMP="+s.name)
		for i, layout := range layouts {
			k.Digests[i] = script(t, k, 2*time.Minute, "push --layout "+layout+" postroad", "STAMP="+s.name)
		}
		t.Logf("%s is up with %s nodes after %.0f s", s.name, s.nodes, time.Since(began).Seconds())
	}
	again(t, k)
}

// outfit builds and finds what is needed.
func outfit(t *testing.T) kit {
	t.Helper()
	root, err := tree.Root()
	if err != nil {
		t.Fatal(err)
	}
	k := kit{Root: root, Postroad: built.Path(t)}
	script(t, k, buildLimit, "build")
	lines := strings.Fields(bash(t, k, `. test/cluster/lib.sh; echo "$KUBE_HOME" "$BIN"`))
	k.Home = lines[0]
	k.Kubectl, k.Controller = filepath.Join(lines[1], "kubectl"), filepath.Join(lines[1], "kustomize-controller")
	k.Helm, k.Kustomize = tool(t, k, "helm"), tool(t, k, "kustomize")
	kafkatest.Java(t) // fetches Kafka
	for module, pattern := range definitions {
		files, err := filepath.Glob(filepath.Join(fetched(t, module), filepath.FromSlash(pattern)))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no %s: %v", module, pattern, err)
		}
		k.Definitions = append(k.Definitions, files...)
	}
	return k
}

// definitions are the kinds that the manifests use and Kubernetes does not have,
// by module. Flux's controller wants to know all that it could read from.
var definitions = map[string]string{
	"github.com/fluxcd/kustomize-controller@v1.9.5":              "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",
	"github.com/fluxcd/source-controller@v1.9.5":                 "config/crd/bases/*.yaml",
	"sigs.k8s.io/gateway-api@v1.6.3":                             "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
	"sigs.k8s.io/secrets-store-csi-driver@v1.6.0":                "config/crd/bases/secrets-store.csi.x-k8s.io_secretproviderclasses.yaml",
	"github.com/kedacore/keda/v2@v2.20.2":                        "config/crd/bases/keda.sh_scaledobjects.yaml",
	"github.com/prometheus-operator/prometheus-operator@v0.85.0": "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
}

// fetched is the folder of a module in Go's cache.
func fetched(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module).Output()
	var m struct{ Dir string }
	if err := errors.Join(err, json.Unmarshal(out, &m)); err != nil {
		t.Fatalf("fetch %s: %v", module, err)
	}
	return m.Dir
}

// tool is the path of a program that is pinned below tools/.
func tool(t *testing.T, k kit, name string) string {
	t.Helper()
	words := strings.Fields(bash(t, k, "go run ./test/verify tool -path "+name))
	return words[len(words)-1]
}

// images builds the image twice, as two versions, for both architectures.
func images(t *testing.T, k kit) []string {
	t.Helper()
	var layouts []string
	dir := t.TempDir()
	for i := range k.Digests {
		out := filepath.Join(dir, fmt.Sprint(i))
		bash(t, k, "bash deploy/images/build", fmt.Sprintf("VERSION=0.0.%d-cluster", i+1), "OUT="+out)
		layouts = append(layouts, filepath.Join(out, "layout"))
	}
	return layouts
}

// script runs one of the scripts beside this file and returns the last line it
// printed.
func script(t *testing.T, k kit, limit time.Duration, line string, env ...string) string {
	t.Helper()
	out := limited(t, k, limit, "test/cluster/"+line, env...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

func bash(t *testing.T, k kit, line string, env ...string) string {
	t.Helper()
	return limited(t, k, 15*time.Minute, line, env...)
}

func limited(t *testing.T, k kit, limit time.Duration, line string, env ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	var stderr strings.Builder
	cmd.Dir, cmd.Stderr, cmd.Env = k.Root, &stderr, append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s\n%s", strings.Join(env, " "), line, err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// again runs this test inside the LAN.
func again(t *testing.T, k kit) {
	t.Helper()
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kit.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	pattern := "^TestProofCluster$"
	if asked := flag.Lookup("test.run").Value.String(); strings.Contains(asked, "/") {
		pattern = asked
	}
	cmd := exec.CommandContext(t.Context(), "test/cluster/in-lan", os.Args[0], "-test.run="+pattern, "-test.v", "-test.timeout=50m", "-test.failfast="+flag.Lookup("test.failfast").Value.String())
	cmd.Dir, cmd.Stdout, cmd.Stderr = k.Root, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), kitEnv+"="+file)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	if err := cmd.Run(); err != nil {
		t.Errorf("inside the LAN: %v", err)
	}
}
