package chart

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const gitopsDir = "deploy/gitops"

// builds lists the folders that Flux, or somebody who begins a cluster, builds.
func builds() []string {
	all := []string{gitopsDir + "/infrastructure/onprem", gitopsDir + "/infrastructure/cloud"}
	for stamp := range stamps {
		all = append(all, gitopsDir+"/clusters/"+stamp, appsDir+"/"+stamp)
	}
	slices.Sort(all)
	return all
}

// build is what kustomize makes of a folder.
func build(t *testing.T, dir string) (string, error) {
	t.Helper()
	return tools.run(t, nil, "kustomize", "build", dir)
}

func overlay(t *testing.T, dir string) set {
	t.Helper()
	out, err := build(t, dir)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	return objects(t, []byte(out))
}

func TestOverlaysBuild(t *testing.T) {
	for _, dir := range builds() {
		out, err := build(t, dir)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		if err := valid(t, out); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if _, err := build(t, gitopsDir+"/nowhere"); err == nil {
		t.Error("a folder that is not there builds")
	}
}

// What a stamp runs is what the chart makes, with its image given by digest.
func TestStampsRunImagesByDigest(t *testing.T) {
	for stamp := range stamps {
		all := overlay(t, appsDir+"/"+stamp)
		for _, problem := range digests(all) {
			t.Errorf("%s: %s", stamp, problem)
		}
		tagged := overlay(t, appsDir+"/"+stamp)
		tagged[streamD].put(t, container+".image", "postroad:0.1.0")
		if len(digests(tagged)) == 0 {
			t.Errorf("%s: a tag is taken for a digest", stamp)
		}
		if fmt.Sprint(all) != fmt.Sprint(committed(t, stamp)) {
			t.Errorf("%s: the overlay applies something else than deploy/rendered has", stamp)
		}
		if said(read(t, renderedDir+"/"+stamp+"/"+listing), "chart") != sums(t, stamp).chart {
			continue // what is asked of today's chart need not hold of an earlier one
		}
		for _, p := range properties() {
			if len(p.only) > 0 && !slices.Contains(p.only, stamp) {
				continue
			}
			for _, problem := range p.find(all) {
				t.Errorf("%s: %s: %s", stamp, p.name, problem)
			}
		}
	}
}

// committed are the manifests in deploy/rendered.
func committed(t *testing.T, stamp string) set {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root(t), filepath.FromSlash(renderedDir), stamp, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	all := set{}
	for _, name := range names {
		if filepath.Base(name) == listing {
			continue
		}
		maps.Copy(all, objects(t, read(t, renderedDir+"/"+stamp+"/"+filepath.Base(name))))
	}
	return all
}

var byDigest = regexp.MustCompile(`^[a-z0-9./:-]*postroad@sha256:[0-9a-f]{64}$`)

func digests(all set) []string {
	var found []string
	for _, d := range all.of("Deployment") {
		if image := d.text(container + ".image"); !byDigest.MatchString(image) {
			found = append(found, d.id()+": "+image)
		}
	}
	return found
}

// fluxProblems looks at what Flux of a cluster is told.
func fluxProblems(all set, exists func(string) bool) []string {
	var found []string
	for _, k := range all.of("Kustomization") {
		bad := want(k, map[string]any{
			"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "metadata.namespace": "flux-system",
			"spec.prune": true, "spec.wait": true, "spec.sourceRef.kind": "GitRepository", "spec.suspend": nil,
			// What cannot be changed in place stays: a claim that was made anew would be empty.
			"spec.force": nil, "spec.deletionPolicy": "Orphan",
		})
		if all["GitRepository/"+k.text("spec.sourceRef.name")] == nil {
			bad = append(bad, "no such source")
		}
		if dir := path.Clean(k.text("spec.path")); !exists(dir) {
			bad = append(bad, "no folder "+dir)
		}
		for _, on := range k.list("spec.dependsOn") {
			if all["Kustomization/"+on.text("name")] == nil {
				bad = append(bad, "depends on nothing")
			}
		}
		for _, b := range bad {
			found = append(found, k.id()+": "+b)
		}
	}
	found = append(found, want(all["Kustomization/postroad"], map[string]any{
		"spec.dependsOn.0.name": "postroad-infrastructure", "spec.interval": "5m", "spec.timeout": "20m",
	})...)
	return append(found, want(all["GitRepository/postroad"], map[string]any{"apiVersion": "source.toolkit.fluxcd.io/v1", "spec.ref.branch": "main"})...)
}

func TestFluxObjectsLeadSomewhere(t *testing.T) {
	exists := func(dir string) bool { return slices.Contains(builds(), dir) }
	for stamp := range stamps {
		all := overlay(t, gitopsDir+"/clusters/"+stamp)
		for _, problem := range fluxProblems(all, exists) {
			t.Errorf("%s: %s", stamp, problem)
		}
		if got, want := all["Kustomization/postroad"].text("spec.path"), "./"+appsDir+"/"+stamp; got != want {
			t.Errorf("%s: applies %s", stamp, got)
		}
	}
	for _, f := range []flip{
		{"onprem", "Kustomization/postroad", "spec.path", "./deploy/gitops/apps/site"},
		{"onprem", "Kustomization/postroad", "spec.prune", false},
		{"onprem", "Kustomization/postroad", "spec.wait", nil},
		{"onprem", "Kustomization/postroad", "spec.suspend", true},
		{"onprem", "Kustomization/postroad", "spec.dependsOn", nil},
		{"onprem", "Kustomization/postroad", "spec.deletionPolicy", nil},
		{"onprem", "Kustomization/postroad", "spec.interval", "10h"},
		{"onprem", "Kustomization/postroad", "apiVersion", "kustomize.toolkit.fluxcd.io/v1beta2"},
		{"onprem", "Kustomization/postroad-infrastructure", "spec.sourceRef.name", "other"},
		{"onprem", "Kustomization/postroad-infrastructure", "spec.deletionPolicy", nil},
		{"onprem", "Kustomization/postroad", "spec.force", true},
		{"onprem", "GitRepository/postroad", "apiVersion", "source.toolkit.fluxcd.io/v1beta2"},
	} {
		all := overlay(t, gitopsDir+"/clusters/"+f.variant)
		all[f.object].put(t, f.path, f.to)
		if len(fluxProblems(all, exists)) == 0 {
			t.Errorf("%s: %s = %v is not noticed", f.object, f.path, f.to)
		}
	}
}

// infrastructureProblems looks at what a stamp is put into.
func infrastructureProblems(all set) []string {
	return slices.Concat(
		want(all["Namespace/postroad"], map[string]any{
			`metadata.labels.pod-security\.kubernetes\.io/enforce`:      "restricted",
			`metadata.annotations.kustomize\.toolkit\.fluxcd\.io/prune`: "disabled",
		}),
		want(all["NetworkPolicy/deny"], map[string]any{"spec.podSelector": map[string]any{}, "spec.policyTypes": []any{"Ingress", "Egress"}, "spec.ingress": nil, "spec.egress": nil}),
		want(all["PriorityClass/postroad"], map[string]any{"value": 1000000}))
}

func TestInfrastructure(t *testing.T) {
	for _, kind := range []string{"onprem", "cloud"} {
		dir := gitopsDir + "/infrastructure/" + kind
		for _, problem := range infrastructureProblems(overlay(t, dir)) {
			t.Errorf("%s: %s", kind, problem)
		}
	}
	for _, f := range []flip{
		{"onprem", "Namespace/postroad", `metadata.labels.pod-security\.kubernetes\.io/enforce`, "baseline"},
		{"onprem", "Namespace/postroad", `metadata.annotations`, nil},
		{"cloud", "NetworkPolicy/deny", "spec.egress", []any{map[string]any{}}},
		{"cloud", "NetworkPolicy/deny", "spec.policyTypes", []any{"Ingress"}},
		{"cloud", "PriorityClass/postroad", "value", 0},
	} {
		all := overlay(t, gitopsDir+"/infrastructure/"+f.variant)
		all[f.object].put(t, f.path, f.to)
		if len(infrastructureProblems(all)) == 0 {
			t.Errorf("%s: %s = %v is not noticed", f.object, f.path, f.to)
		}
	}
}

// git runs it in a folder as somebody, whoever calls the test.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example", "-c", "core.hooksPath=/dev/null"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// promote takes a stamp back to all that it was, and no other stamp with it.
func TestPromoteBack(t *testing.T) {
	dir := t.TempDir()
	git(t, dir, "init", "--quiet")
	put := func(name, text string) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	save := func() string {
		git(t, dir, "add", "--all")
		git(t, dir, "commit", "--quiet", "--message", "x")
		return git(t, dir, "rev-parse", "HEAD")
	}
	values, manifest, other := "deploy/gitops/apps/cloud-blue/values.yaml", "deploy/rendered/cloud-blue/a.yaml", "deploy/rendered/cloud-green/a.yaml"
	put("deploy/gitops/promote", string(read(t, gitopsDir+"/promote")))
	put(values, "one")
	put(manifest, "one")
	put(other, "one")
	first := save()
	put(values, "two")
	put(manifest, "two")
	put(other, "two")
	put("deploy/rendered/cloud-blue/b.yaml", "two")
	save()
	promote := func(args ...string) error {
		out, err := exec.CommandContext(t.Context(), "bash", append([]string{filepath.Join(dir, "deploy/gitops/promote")}, args...)...).CombinedOutput()
		t.Logf("%v: %s", args, out)
		return err
	}
	for _, args := range [][]string{{"cloud-blue", "--back"}, {"cloud-blue", "--back", "nowhere"}, {"nowhere", "--back", first}} {
		if err := promote(args...); err == nil {
			t.Errorf("%v: is done", args)
		}
	}
	if changed := git(t, dir, "status", "--porcelain"); changed != "" {
		t.Errorf("refused, and changed %s", changed)
	}
	if err := promote("cloud-blue", "--back", first); err != nil {
		t.Fatal(err)
	}
	save()
	if was := git(t, dir, "diff", "--name-only", first, "--", "deploy/gitops", "deploy/rendered/cloud-blue"); was != "" {
		t.Errorf("not as it was: %s", was)
	}
	if b, err := os.ReadFile(filepath.Join(dir, other)); err != nil || string(b) != "two" {
		t.Errorf("green: %q, %v", b, err)
	}
}

// promote sets the digest of one stamp, first by name and then from another.
func TestPromote(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root(t), filepath.FromSlash(gitopsDir)))); err != nil {
		t.Fatal(err)
	}
	promote := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "bash", append([]string{filepath.Join(dir, "promote")}, args...)...).CombinedOutput()
		return string(out), err
	}
	has := func(stamp, digest string) bool {
		b, err := os.ReadFile(filepath.Join(dir, "apps", stamp, "values.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), digest) == 1 && strings.Count(string(b), "sha256:") == 1
	}
	one := "sha256:" + strings.Repeat("1f", 32)
	if out, err := promote("cloud-blue", one); err != nil || !has("cloud-blue", one) || has("cloud-green", one) {
		t.Fatalf("blue: %v\n%s", err, out)
	}
	if out, err := promote("cloud-green", "--from", "cloud-blue"); err != nil || !has("cloud-green", one) || has("onprem", one) {
		t.Fatalf("green: %v\n%s", err, out)
	}
	if out, err := promote("cloud-green", "--from", "cloud-blue"); err != nil || !strings.Contains(out, "already") {
		t.Errorf("again: %v\n%s", err, out)
	}
	for _, args := range [][]string{
		{},
		{"cloud-blue"},
		{"cloud-blue", "latest"},
		{"cloud-blue", "sha256:12"},
		{"nowhere", one},
		{"cloud-blue", "--from", "nowhere"},
		{"cloud-blue", "--from", "onprem"},
		{"cloud-blue", "sha256:" + strings.Repeat("0", 64)},
	} {
		if out, err := promote(args...); err == nil {
			t.Errorf("%v: is done: %s", args, out)
		}
	}
}
