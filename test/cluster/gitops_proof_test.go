//go:build proof

package cluster

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1" //nolint:gosec // names a commit, as git does
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"postroad/internal/drill"
	"postroad/test/kafkatest"
)

// Flux's own controller applies what the repository holds for a stamp, sets back
// what was changed by hand, updates to another image and removes what is taken
// out, but for the queue.
//
// The controller that reads git cannot be built here; what it makes of a commit,
// an archive with a digest, is made by the test. NFS cannot be mounted here: the
// volume is a folder of the machine's, otherwise it is the chart's.
func gitops(t *testing.T, k kit) {
	kafka := kafkatest.Start(t, kafkatest.Options{Nodes: 1, Host: hubHost})
	kafka.CreateTopic(t.Context(), drill.Topic, partitions, nil)
	s := &stamp{kit: k, name: onprem, namespace: "postroad"}
	w := &world{
		t: t, hub: kafka.Addrs("plain")[0], stamps: map[string]*stamp{onprem: s}, ledger: drill.NewLedger(),
		binary: &drill.Binary{Path: k.Postroad, Dir: t.TempDir(), Plain: true},
	}
	g := newRepository(t, s, w.hub)
	flux, _, _ := strings.Cut(namespaces, "---")
	s.apply(t, flux)
	for _, file := range k.Definitions {
		s.must(t, "", k.Kubectl, "apply", "--server-side", "--filename", file)
	}
	g.control(t)
	t.Cleanup(func() { g.remove(t) })
	g.clusters(t)
	g.commit(t, 0)
	s.runs(t, 0)
	w.load(s.gateway(t, 1), 40, func() {})

	s.kubectl(t, "scale", "deployment", release+"-gateway", "--replicas", "1")
	s.kubectl(t, "delete", "poddisruptionbudget", release+"-gateway")
	s.kubectl(t, "patch", "service", release+"-gateway", "--type", "merge", "--patch", `{"spec": {"selector": {"app.kubernetes.io/component": "nobody"}}}`)
	g.reconcile(t)
	s.runs(t, 0)
	s.kubectl(t, "get", "poddisruptionbudget", release+"-gateway")
	if got := s.kubectl(t, "get", "service", release+"-gateway", "--output", `jsonpath={.spec.selector.app\.kubernetes\.io/component}`); got != "gateway" {
		t.Errorf("the service still selects %q", got)
	}

	view := w.load(s.gateway(t, 1), 40, func() {
		g.without = []string{"PersistentVolume", "PersistentVolumeClaim", "PodDisruptionBudget"}
		g.commit(t, 1)
		s.runs(t, 1)
	})
	if view.Failed > 0 {
		t.Errorf("%d requests failed during the update", view.Failed)
	}
	if left := s.kubectl(t, "get", "poddisruptionbudgets", "--output", "name"); left != "" {
		t.Errorf("not pruned: %s", left)
	}
	if phase := s.kubectl(t, "get", "persistentvolumeclaim", release+"-queue", "--output", "jsonpath={.status.phase}"); phase != "Bound" {
		t.Errorf("the queue's claim is %q", phase)
	}

	// Whoever takes the stamp's objects away does not stop the stamp, nor keeps
	// its pods from starting.
	s.kubectl(t, "delete", "--namespace", "flux-system", "kustomizations.kustomize.toolkit.fluxcd.io", "--all", "--timeout=60s")
	s.kubectl(t, "delete", "pods", "--all", "--wait=true", "--timeout=150s")
	s.runs(t, 1)
	w.judge()

	// A namespace that was deleted is made anew, with the queue of before: the
	// volume is told first that its old claim is gone.
	g.without = nil
	s.kubectl(t, "delete", "namespace", "postroad", "--wait=true", "--timeout=170s")
	volume := s.kubectl(t, "get", "persistentvolumes", "--output", `jsonpath={.items[?(@.spec.claimRef.namespace=="postroad")].metadata.name}`)
	s.kubectl(t, "patch", "persistentvolume", volume, "--type", "json", "--patch", `[{"op": "remove", "path": "/spec/claimRef/uid"}, {"op": "remove", "path": "/spec/claimRef/resourceVersion"}]`)
	g.clusters(t)
	g.commit(t, 1)
	s.runs(t, 1)
	w.load(s.gateway(t, 1), 40, func() {})
}

// repository is what a stamp is made from, as Flux sees it.
type repository struct {
	*stamp
	hub string
	// volume is the folder that stands for the share.
	volume   string
	server   *httptest.Server
	archives map[string][]byte
	revision string
	// without are kinds that are left out.
	without []string
}

func newRepository(t *testing.T, s *stamp, hub string) *repository {
	t.Helper()
	g := &repository{stamp: s, hub: hub, volume: s.share(t), archives: make(map[string][]byte)}
	g.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		archive, ok := g.archives[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(archive) // the controller asks again
	}))
	t.Cleanup(g.server.Close)
	return g
}

// control starts Flux's controller.
func (g *repository) control(t *testing.T) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "controller.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(g.Controller, "--watch-all-namespaces", "--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--requeue-dependency=2s", "--http-retry=2") //nolint:noctx // ended by the cleanup
	cmd.Env = append(os.Environ(), "KUBECONFIG="+g.config(), "RUNTIME_NAMESPACE=flux-system")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // with that
		log.Close()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("the controller's log ends:\n%s", text[max(0, len(text)-6000):])
		}
	})
}

// clusters applies what begins a stamp: once, by hand.
func (g *repository) clusters(t *testing.T) {
	t.Helper()
	g.apply(t, g.must(t, "", g.Kustomize, "build", filepath.Join(g.Root, "deploy/gitops/clusters", g.name)))
}

// commit is a new state of the repository, with a version of the image; it
// returns when Flux has applied it and all pods are ready.
func (g *repository) commit(t *testing.T, version int) {
	t.Helper()
	manifests := g.must(t, "", g.Helm, append([]string{"template", release, g.chart(), "--set", "priorityClassName=postroad"}, g.values(version)...)...)
	archive := g.archive(t, manifests)
	commit := fmt.Sprintf("%x", sha1.Sum(archive)) //nolint:gosec // a name
	g.revision = "main@sha1:" + commit
	g.archives["/"+commit+".tar.gz"] = archive
	status, err := json.Marshal(map[string]any{"status": map[string]any{
		"artifact": map[string]any{
			"path": commit + ".tar.gz", "url": g.server.URL + "/" + commit + ".tar.gz", "revision": g.revision, "size": len(archive),
			"digest": fmt.Sprintf("sha256:%x", sha256.Sum256(archive)), "lastUpdateTime": time.Now().UTC().Format(time.RFC3339),
		},
		"conditions": []any{map[string]any{
			"type": "Ready", "status": "True", "reason": "Succeeded", "message": g.revision, "lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	g.kubectl(t, "patch", "--namespace", "flux-system", "gitrepository", "postroad", "--subresource=status", "--type=merge", "--patch", string(status))
	g.reconcile(t)
}

// values are those of the test, with the chart's own volume.
func (g *repository) values(version int) []string {
	return append(g.stamp.values(g.hub, version),
		"--set", "queue.storage.kind=nfs", "--set", "queue.storage.existingClaim=", "--set", "queue.storage.nfs.server=files.example", "--set", "queue.storage.nfs.path=/export")
}

// archive is a commit's folders: those of the project, with other manifests of
// the stamp.
func (g *repository) archive(t *testing.T, manifests string) []byte {
	t.Helper()
	files := map[string][]byte{}
	gitopsDir := filepath.Join(g.Root, "deploy/gitops")
	err := filepath.WalkDir(gitopsDir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(g.Root, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	list := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
	for i, text := range strings.Split(manifests, "\n---\n") {
		text = g.changed(t, text)
		if text == "" {
			continue
		}
		name := fmt.Sprintf("%02d.yaml", i)
		files["deploy/rendered/"+g.name+"/"+name] = []byte(text)
		list += "  - " + name + "\n"
	}
	files["deploy/rendered/"+g.name+"/kustomization.yaml"] = []byte(list)
	return packed(t, files)
}

// changed is a manifest of the chart as it can be used here; empty where its
// kind is left out.
func (g *repository) changed(t *testing.T, text string) string {
	t.Helper()
	var object map[string]any
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	kind, _ := object["kind"].(string)
	for _, k := range append(g.without, "") {
		if kind == k {
			return ""
		}
	}
	if kind != "PersistentVolume" {
		return text
	}
	spec := object["spec"].(map[string]any)
	delete(spec, "nfs")
	delete(spec, "mountOptions")
	spec["hostPath"] = map[string]any{"path": g.volume, "type": "Directory"}
	b, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func packed(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	archive := tar.NewWriter(z)
	for name, text := range files {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// reconcile asks for what the interval would do a few minutes later, and waits
// until both parts of the stamp are applied and ready.
func (g *repository) reconcile(t *testing.T) {
	t.Helper()
	asked := time.Now().UTC().Format(time.RFC3339Nano)
	for _, name := range []string{"postroad-infrastructure", "postroad"} {
		g.kubectl(t, "annotate", "--namespace", "flux-system", "--overwrite", "kustomization.kustomize.toolkit.fluxcd.io/"+name, "reconcile.fluxcd.io/requestedAt="+asked)
	}
	began := time.Now()
	for _, name := range []string{"postroad-infrastructure", "postroad"} {
		var last string
		err := drill.Until(t.Context(), settled, name+" is applied", func() (bool, error) {
			out, err := g.run(t.Context(), "", g.Kubectl, "get", "--namespace", "flux-system", "kustomization.kustomize.toolkit.fluxcd.io/"+name, "--output",
				`jsonpath={.status.lastHandledReconcileAt} {.status.lastAppliedRevision} {.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}`)
			last = out
			return strings.HasPrefix(out, asked+" "+g.revision+" True"), err
		})
		if err != nil {
			t.Fatalf("%v: %s", err, last)
		}
	}
	t.Logf("%s applied and ready after %.1f s", g.revision, time.Since(began).Seconds())
}

// remove takes away what is left.
func (g *repository) remove(t *testing.T) {
	t.Helper()
	if t.Failed() {
		g.describe(t)
	}
	ctx, cancel := context.WithTimeout(context.Background(), settled)
	defer cancel()
	for _, args := range [][]string{
		{"--namespace", "flux-system", "delete", "kustomizations.kustomize.toolkit.fluxcd.io", "--all", "--timeout=60s"},
		{"--namespace", "flux-system", "delete", "gitrepositories", "--all", "--timeout=60s"},
		{"delete", "namespace", "postroad", "--timeout=150s", "--ignore-not-found"},
		{"delete", "persistentvolume", "--all", "--timeout=60s"},
	} {
		if _, err := g.run(ctx, "", g.Kubectl, args...); err != nil {
			t.Error(err)
		}
	}
}
