//go:build proof

package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postroad/internal/drill"
	"postroad/test/kafkatest"
)

// lab is what a cluster on one machine has instead of a site's file server, hub
// and balancer: it lies over the values that the page gives.
const lab = `
hub: {dialect: kafka, brokers: [%q], connection_string_file: ""}
queue: {storage: {kind: claim, existingClaim: queue}}
networkPolicy: {hub: {ports: [%s]}}
config: {stream: {hub: {connection_string_file: ""}}}
gateway: {service: {type: NodePort}, resources: {requests: {cpu: 20m, memory: 48Mi}}}
stream: {service: {type: NodePort}, resources: {requests: {cpu: 20m}, limits: {cpu: "1"}}}
`

// The quickstart is followed to the letter, with the profile of a site: its values,
// its Secrets, its commands.
func quickstart(t *testing.T, k kit) {
	kafka := kafkatest.Start(t, kafkatest.Options{Nodes: 1, Host: hubHost})
	kafka.CreateTopic(t.Context(), drill.Topic, partitions, nil)
	hub := kafka.Addrs("plain")[0]
	s := &stamp{kit: k, name: onprem, namespace: "postroad"}
	r := newReader(t, s)

	r.do(t, "create secret")
	s.prepare(t) // the share
	r.file(t, "lab.yaml", fmt.Sprintf(lab, hub, hub[strings.LastIndex(hub, ":")+1:]))
	r.do(t, "helm install", "-f my-stamp.yaml", "-f my-stamp.yaml -f lab.yaml")
	if out := r.do(t, "curl"); !strings.Contains(out, "202 Accepted") {
		t.Errorf("the first message got\n%s", out)
	}
	if err := s.drained(t.Context()); err != nil {
		t.Error(err)
	}
	if out := r.do(t, "postroad status"); !strings.Contains(out, "onprem") {
		t.Errorf("the status says\n%s", out)
	}
	for _, what := range []string{"ls", "check"} {
		s.kubectl(t, "exec", "deploy/postroad-gateway", "--", "/ko-app/postroad", "queue", what, "/var/lib/postroad/queue")
	}
	seen := 0
	err := (&drill.Binary{Path: k.Postroad, Dir: t.TempDir()}).Tail(t.Context(), hub, drill.Topic, func(m drill.Record) error {
		if string(m.Key) != "first" || string(m.Value) != "hello" {
			return fmt.Errorf("the hub has %q: %q", m.Key, m.Value)
		}
		seen++
		return nil
	})
	if err != nil || seen != 1 {
		t.Errorf("the hub has the message %d times: %v", seen, err)
	}
}

// reader does what the page says, in a folder of its own.
type reader struct {
	*stamp
	dir  string
	page string
}

func newReader(t *testing.T, s *stamp) *reader {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(s.Root, "docs/deploy/quickstart.md"))
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{s, t.TempDir(), strings.NewReplacer("REGISTRY", s.net()+".1:5000", "sha256:…", s.Digests[1], "NAME", "reader").Replace(string(page))}
	values := regexp.MustCompile("(?s)```yaml\n# my-stamp.yaml\n(.*?)```").FindStringSubmatch(r.page)
	if values == nil {
		t.Fatal("the page has no my-stamp.yaml")
	}
	r.file(t, "my-stamp.yaml", values[1])
	for _, name := range []string{"hub.txt", "hub-read.txt", "password.txt"} {
		r.file(t, name, "unused here")
	}
	bash(t, s.kit, fmt.Sprintf("openssl genrsa -out %[1]s/private.pem 2048 && openssl rsa -in %[1]s/private.pem -pubout -out %[1]s/public.pem", r.dir))
	for name, path := range map[string]string{"deploy": filepath.Join(s.Root, "deploy"), "kubectl": s.Kubectl, "helm": s.Helm, "postroad": s.Postroad} {
		if err := os.Symlink(path, filepath.Join(r.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *reader) file(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// do runs the block of the page that has these words, with pieces of it replaced,
// and returns what it printed. What it leaves in the background ends with it.
func (r *reader) do(t *testing.T, words string, replaced ...string) string {
	t.Helper()
	for i, block := range strings.Split(r.page, "\n```") {
		if i%2 == 0 || !strings.HasPrefix(block, "\n") || !strings.Contains(block, words) { // not a block, or of values
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*settled)
		defer cancel()
		text := "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + strings.NewReplacer(replaced...).Replace(block)
		cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
		cmd.Dir, cmd.Env = r.dir, append(os.Environ(), "KUBECONFIG="+r.config(), "PATH="+r.dir+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", block, err, out)
		}
		return string(out)
	}
	t.Fatalf("the page has no block with %q", words)
	return ""
}
