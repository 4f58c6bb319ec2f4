//go:build proof

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/drill"
	"postroad/test/kafkatest"
)

// world is a hub, some stamps with a release of the chart, and what is sent to
// them.
type world struct {
	t      *testing.T
	hub    string
	stamps map[string]*stamp
	binary *drill.Binary
	ledger *drill.Ledger
	// sending is the load that runs.
	sending *drill.DoorLoad
}

// partitions of the topic, as drills want it.
const partitions = 8

// newWorld starts a hub, and installs the chart in the stamps named, with further
// flags for helm. All of it ends with the test.
func newWorld(t *testing.T, k kit, names []string, flags ...string) *world {
	t.Helper()
	kafka := kafkatest.Start(t, kafkatest.Options{Nodes: 1, Host: hubHost})
	kafka.CreateTopic(t.Context(), drill.Topic, partitions, nil)
	w := &world{
		t: t, hub: kafka.Addrs("plain")[0], stamps: make(map[string]*stamp), ledger: drill.NewLedger(),
		binary: &drill.Binary{Path: k.Postroad, Dir: t.TempDir(), Plain: true},
	}
	namespace := "pr-" + strings.ToLower(strings.ReplaceAll(filepath.Base(t.Name()), "_", "-"))
	for _, name := range names {
		s := &stamp{kit: k, name: name, namespace: namespace}
		w.stamps[name] = s
		s.prepare(t)
		began := time.Now()
		s.helm(t, w.hub, "install", flags...)
		t.Logf("%s: helm install --wait took %.1f s", name, time.Since(began).Seconds())
	}
	return w
}

// share makes an empty folder that stands for the stamp's share, for all its
// nodes. What an earlier run left would know the same idempotency keys.
func (s *stamp) share(t *testing.T) string {
	t.Helper()
	share := filepath.Join(s.Home, "run", s.name, "share", s.namespace)
	if err := errors.Join(os.RemoveAll(share), os.MkdirAll(share, 0o770), os.Chown(share, 65532, 65532)); err != nil {
		t.Fatal(err)
	}
	return share
}

// prepare makes a namespace as the repository's own, with a share.
func (s *stamp) prepare(t *testing.T) {
	t.Helper()
	share := s.share(t)
	s.apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata:
  name: %[1]s
  labels: {pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/enforce-version: latest}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: %[1]s}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteMany]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: ""
  claimRef: {namespace: %[1]s, name: queue}
  hostPath: {path: %[2]s, type: Directory}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: queue, namespace: %[1]s}
spec:
  accessModes: [ReadWriteMany]
  storageClassName: ""
  volumeName: %[1]s
  resources: {requests: {storage: 10Gi}}
`, s.namespace, share))
	t.Cleanup(func() {
		if t.Failed() {
			s.describe(t)
		}
		ctx, cancel := context.WithTimeout(context.Background(), settled)
		defer cancel()
		for _, object := range []string{"namespace/" + s.namespace, "persistentvolume/" + s.namespace} {
			if _, err := s.run(ctx, "", s.Kubectl, "delete", object, "--wait=true", "--timeout=150s"); err != nil {
				t.Error(err)
			}
		}
	})
}

// describe tells what became of a stamp whose test failed.
func (s *stamp) describe(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"get", "nodes,pods,deployments,endpointslices", "--output", "wide"},
		{"get", "events", "--sort-by", ".lastTimestamp"},
		{"logs", "--selector", "app.kubernetes.io/name=postroad", "--tail", "30", "--prefix", "--ignore-errors"},
	} {
		out, err := s.run(ctx, "", s.Kubectl, append([]string{"--namespace", s.namespace}, args...)...)
		if lines := strings.Split(out, "\n"); len(lines) > 80 {
			out = strings.Join(lines[len(lines)-80:], "\n")
		}
		t.Logf("%s: kubectl %s: %v\n%s", s.name, strings.Join(args, " "), err, out)
	}
}

// values are the flags that say what a release is made of.
func (s *stamp) values(hub string, version int) []string {
	return []string{
		"--namespace", s.namespace, "--values", filepath.Join(s.Root, "test/cluster/values.yaml"),
		"--set", "stamp.name=" + s.name, "--set", "stamp.region=" + s.name, "--set", "hub.brokers={" + hub + "}",
		"--set", "networkPolicy.hub.ports={" + hub[strings.LastIndex(hub, ":")+1:] + "}",
		"--set", "image.registry=" + s.net() + ".1:5000", "--set", "image.digest=" + s.Digests[version],
	}
}

func (s *stamp) chart() string { return filepath.Join(s.Root, "deploy/charts/postroad") }

// helm installs or upgrades, and waits until it is done. A flag that is the name
// of a version picks it.
func (s *stamp) helm(t *testing.T, hub, what string, flags ...string) {
	t.Helper()
	version := 0
	if len(flags) > 0 && flags[0] == newer {
		version, flags = 1, flags[1:]
	}
	args := append([]string{what, release, s.chart(), "--wait", "--timeout", settled.String()}, s.values(hub, version)...)
	s.must(t, "", s.Helm, append(args, flags...)...)
}

// newer, as the first flag of helm, stands for the second version of the image.
const newer = "newer"

// load sends requests at a steady pace while something is done, and judges
// afterwards: nothing that was acknowledged is lost, and nothing seen twice.
func (w *world) load(url string, rate int, do func()) drill.ClientView {
	w.t.Helper()
	load, err := drill.NewDoorLoad(w.ledger, drill.DoorLoadOptions{
		URL: url, Rate: rate, BodyBytes: 200, Patience: 10 * time.Second, Seed: uint64(w.ledger.Requests()),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	var sending sync.WaitGroup
	sending.Go(func() { load.Run(ctx) })
	defer sending.Wait()
	defer cancel()
	w.sending = load
	w.flowing(60)
	do()
	w.flowing(60)
	cancel()
	sending.Wait()
	view := load.View()
	w.t.Logf("load: %s", view)
	w.judge()
	return view
}

// flowing waits for n more messages to be acknowledged.
func (w *world) flowing(n int64) {
	w.t.Helper()
	want := w.sending.Acknowledged() + n
	until(w.t, settled, "messages are acknowledged", func() (bool, error) { return w.sending.Acknowledged() >= want, nil })
}

// judge reads the hub.
func (w *world) judge() {
	w.t.Helper()
	for _, s := range w.stamps {
		if err := s.drained(w.t.Context()); err != nil {
			w.t.Error(err)
		}
	}
	result, err := w.binary.JudgeHub(w.t.Context(), w.ledger, w.hub, drill.Topic)
	if err != nil {
		w.t.Fatal(err)
	}
	if !result.Verdict.OK() {
		w.t.Errorf("%s", result)
		return
	}
	v := result.Verdict
	w.t.Logf("ledger: %d messages acknowledged, %d refused, %d of unknown outcome; %d seen; lost 0, seen twice 0", v.Acknowledged, v.Refused, v.Unknown, v.Seen)
}

// inside is what runs in the LAN.
func inside(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var k kit
	if err := json.Unmarshal(text, &k); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		run  func(*testing.T, kit)
	}{
		{"quickstart", quickstart},
		{"releases", releases},
		{"manifests", manifests},
		{"drain", drain},
		{"power", power},
		{"liveness", liveness},
		{"island", island},
		{"away", away},
		{"clients", clients},
		{"autoscaler", autoscaler},
		{"gitops", gitops},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, k) })
	}
}
