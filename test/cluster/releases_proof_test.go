//go:build proof

package cluster

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The chart is installed in both stamps, and one of them is updated and set back
// under load: nothing fails, nothing is lost, and the other stamp does not
// notice.
func releases(t *testing.T, k kit) {
	w := newWorld(t, k, []string{onprem, cloud})
	s, other := w.stamps[onprem], w.stamps[cloud]
	others := other.names(t)
	for _, s := range w.stamps {
		s.runs(t, 0)
		s.spread(t)
	}
	url := s.gateway(t, 1)
	update := w.load(url, 40, func() { s.helm(t, w.hub, "upgrade", newer); s.runs(t, 1) })
	back := w.load(url, 40, func() {
		s.must(t, "", k.Helm, "rollback", release, "--namespace", s.namespace, "--wait", "--timeout", settled.String())
		s.runs(t, 0)
	})
	bad := w.load(url, 40, func() { s.survives(t, w.hub) })
	if update.Failed+back.Failed+bad.Failed > 0 {
		t.Errorf("%d requests failed during the update, %d while it was set back, %d while settings were wrong", update.Failed, back.Failed, bad.Failed)
	}
	s.spread(t)
	if now := other.names(t); !slices.Equal(now, others) {
		t.Errorf("cloud has other pods than before onprem was updated: %q, was %q", now, others)
	}
}

// survives updates to settings that no process can start with. The update stops
// at the first pod; one of the pods from before that is taken away meanwhile
// comes back with the settings it had; the release is set back.
func (s *stamp) survives(t *testing.T, hub string) {
	t.Helper()
	before := s.waitReady(t, "gateway", 2)
	args := append([]string{"upgrade", release, s.chart(), "--wait", "--timeout", "30s", "--set", "config.stamp.queue.dir=/nowhere"}, s.values(hub, 0)...)
	if out, err := s.run(t.Context(), "", s.Helm, args...); err == nil {
		t.Errorf("settings that nothing can start with were rolled out: %s", out)
	}
	s.kubectl(t, "delete", "pod", before[0].Name, "--wait=true", "--timeout=60s")
	until(t, settled, "a pod with the settings of before takes the place of the one that was taken away", func() (bool, error) {
		ready, err := s.ready(t.Context(), "gateway")
		return len(ready) >= 2, err
	})
	s.must(t, "", s.Helm, "rollback", release, "--namespace", s.namespace, "--wait", "--timeout", settled.String())
	s.runs(t, 0)
}

// runs fails the test where a pod is of another image than a version's.
func (s *stamp) runs(t *testing.T, version int) {
	t.Helper()
	for _, component := range []string{"gateway", "stream"} {
		for _, p := range s.waitReady(t, component, 2) {
			if !strings.HasSuffix(p.Image, "@"+s.Digests[version]) {
				t.Errorf("%s: %s runs %s, want %s", s.name, p.Name, p.Image, s.Digests[version])
			}
		}
	}
}

// spread fails the test where pods of a component stand on one node.
func (s *stamp) spread(t *testing.T) {
	t.Helper()
	for _, component := range []string{"gateway", "stream"} {
		pods := s.waitReady(t, component, 2)
		if pods[0].Node == pods[1].Node {
			t.Errorf("%s: both pods of %s stand on %s", s.name, component, pods[0].Node)
		}
	}
}

// names are those of a stamp's pods, which say whether they are still the same.
func (s *stamp) names(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, component := range []string{"gateway", "stream"} {
		pods, err := s.pods(t.Context(), component)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pods {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Each manifest that Flux applies, and what the chart makes of the values that
// its own tests vary, is taken by the API server, which refuses what it does not
// know.
func manifests(t *testing.T, k kit) {
	s := &stamp{kit: k, name: cloud, namespace: "postroad"}
	s.apply(t, namespaces, "--server-side")
	for _, file := range k.Definitions {
		s.must(t, "", k.Kubectl, "apply", "--server-side", "--filename", file)
	}
	s.kubectl(t, "wait", "--for=condition=established", "crd", "--all", "--timeout=60s")
	dry := func(what, manifests string) {
		out, err := s.run(t.Context(), manifests, k.Kubectl, "apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "--filename", "-")
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		t.Logf("%s: %d manifests", what, strings.Count(out, "\n")+1)
	}
	for _, pattern := range []string{"deploy/gitops/clusters/*", "deploy/gitops/infrastructure/*", "deploy/gitops/apps/*"} {
		dirs, err := filepath.Glob(filepath.Join(k.Root, pattern))
		if err != nil || len(dirs) < 2 {
			t.Fatalf("%s: %d folders, %v", pattern, len(dirs), err)
		}
		for _, dir := range dirs {
			name, _ := filepath.Rel(k.Root, dir)
			dry(name, s.must(t, "", k.Kustomize, "build", "--load-restrictor", "LoadRestrictionsNone", dir))
		}
	}
	variants, err := filepath.Glob(filepath.Join(k.Root, "test/chart/testdata/*.yaml"))
	if err != nil || len(variants) < 2 {
		t.Fatalf("%d variants, %v", len(variants), err)
	}
	for _, file := range variants {
		args := []string{"template", release, s.chart(), "--namespace", "postroad"}
		switch name := filepath.Base(file); name {
		case "separate.yaml", "share.yaml": // lie over a stamp
			args = append(args, "--values", filepath.Join(s.chart(), "profiles/cloud.yaml"), "--values", filepath.Join(k.Root, "deploy/gitops/apps/cloud-green/values.yaml"))
		case "single.yaml", "small.yaml":
		default:
			t.Errorf("%s: say here what it lies over", name)
		}
		dry(filepath.Base(file), s.must(t, "", k.Helm, append(args, "--values", file)...))
	}
	rendered, err := os.ReadFile(filepath.Join(k.Root, "deploy/rendered/onprem/deployment-postroad-gateway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	wrong := strings.Replace(string(rendered), "minReadySeconds:", "minimumReadySeconds:", 1)
	if _, err := s.run(t.Context(), wrong, k.Kubectl, "apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", "-"); err == nil || !strings.Contains(err.Error(), "minimumReadySeconds") {
		t.Errorf("a setting that does not exist is taken: %v", err)
	}
}

// namespaces are those that are there before anything of ours is: Flux's own.
const namespaces = `
apiVersion: v1
kind: Namespace
metadata: {name: flux-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: postroad}
`
