//go:build proof

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/internal/drill"
)

// The two stamps, and what tells their networks apart.
const (
	onprem = "onprem"
	cloud  = "cloud"
)

// hubHost is where the hub and the front door are, for both.
const hubHost = "172.31.252.1"

// release is the name of the chart's release in each namespace.
const release = "postroad"

// settled bounds what a cluster does that is asked for something: pods that
// come, go and move on a machine that is busy.
const settled = 3 * time.Minute

// stamp is one cluster, with a release of the chart in a namespace of a test's
// own.
type stamp struct {
	kit
	name, namespace string
}

// net is the first three bytes of its addresses.
func (s *stamp) net() string {
	if s.name == onprem {
		return "172.31.250"
	}
	return "172.31.251"
}

func (s *stamp) node(n int) string { return fmt.Sprintf("%s.%d", s.net(), 10+n) }

func (s *stamp) config() string { return filepath.Join(s.Home, "run", s.name, "admin.conf") }

// run runs a program that talks to the cluster and returns what it printed.
func (s *stamp) run(ctx context.Context, stdin, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.config(), "STAMP="+s.name)
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %s %s: %w\n%s%s", s.name, filepath.Base(program), strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

// must is run, in the time that a cluster takes to settle.
func (s *stamp) must(t *testing.T, stdin, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settled+time.Minute)
	defer cancel()
	out, err := s.run(ctx, stdin, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// kubectl speaks of the test's namespace, where none is named.
func (s *stamp) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return s.must(t, "", s.Kubectl, append([]string{"--namespace", s.namespace}, args...)...)
}

func (s *stamp) apply(t *testing.T, manifests string, flags ...string) string {
	t.Helper()
	return s.must(t, manifests, s.Kubectl, append([]string{"apply", "--filename", "-"}, flags...)...)
}

func (s *stamp) fault(t *testing.T, args ...string) {
	t.Helper()
	t.Logf("%s: %s", s.name, strings.Join(args, " "))
	s.must(t, "", filepath.Join(s.Root, "test/cluster/fault"), args...)
}

// until asks three times a second: each time starts a process, on a machine that
// has no core to spare.
func until(t *testing.T, limit time.Duration, what string, done func() (bool, error)) {
	t.Helper()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	err := drill.Until(t.Context(), limit, what, func() (bool, error) {
		ok, err := done()
		if !ok && err == nil {
			<-tick.C
		}
		return ok, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// pod is what is looked at of one.
type pod struct {
	Name, Node, IP, Image string
	Ready                 bool
	Ending                bool
	Restarts              int
}

// pods are those of a component.
func (s *stamp) pods(ctx context.Context, component string) ([]pod, error) {
	out, err := s.run(ctx, "", s.Kubectl, "--namespace", s.namespace, "get", "pods", "--selector", "app.kubernetes.io/component="+component, "--output", "json")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Name              string
				DeletionTimestamp *time.Time
			}
			Spec struct {
				NodeName   string
				Containers []struct{ Image string }
			}
			Status struct {
				PodIP             string
				Conditions        []struct{ Type, Status string }
				ContainerStatuses []struct{ RestartCount int }
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	var pods []pod
	for _, i := range list.Items {
		p := pod{Name: i.Metadata.Name, Node: i.Spec.NodeName, IP: i.Status.PodIP, Image: i.Spec.Containers[0].Image, Ending: i.Metadata.DeletionTimestamp != nil}
		for _, c := range i.Status.Conditions {
			p.Ready = p.Ready || c.Type == "Ready" && c.Status == "True"
		}
		for _, c := range i.Status.ContainerStatuses {
			p.Restarts += c.RestartCount
		}
		pods = append(pods, p)
	}
	return pods, nil
}

// ready are the pods of a component that take requests.
func (s *stamp) ready(ctx context.Context, component string) ([]pod, error) {
	all, err := s.pods(ctx, component)
	var ready []pod
	for _, p := range all {
		if p.Ready && !p.Ending {
			ready = append(ready, p)
		}
	}
	return ready, err
}

// waitReady waits until just n pods of a component are there and take requests.
func (s *stamp) waitReady(t *testing.T, component string, n int) []pod {
	t.Helper()
	var ready []pod
	until(t, settled, fmt.Sprintf("%s: %d pods of %s are ready, and no more there", s.name, n, component), func() (bool, error) {
		all, err := s.pods(t.Context(), component)
		if err != nil {
			return false, err
		}
		ready = nil
		for _, p := range all {
			if p.Ready && !p.Ending {
				ready = append(ready, p)
			}
		}
		return len(ready) == n && len(all) == n, nil
	})
	return ready
}

// port is the port of a service on each node.
func (s *stamp) port(t *testing.T, component string) string {
	t.Helper()
	return s.kubectl(t, "get", "service", release+"-"+component, "--output", "jsonpath={.spec.ports[0].nodePort}")
}

// gateway is the base URL of the gateways by way of a node.
func (s *stamp) gateway(t *testing.T, node int) string {
	t.Helper()
	return "http://" + s.node(node) + ":" + s.port(t, "gateway")
}

// drained waits until nothing waits in the stamp's queue, by the account of each
// of its gateways.
func (s *stamp) drained(ctx context.Context) error {
	pods, err := s.ready(ctx, "gateway")
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return fmt.Errorf("%s has no gateway", s.name)
	}
	for _, p := range pods {
		process := drill.Process{Addresses: drill.Addresses{Admin: "http://" + p.IP + ":9600"}}
		err := drill.Until(ctx, settled, p.Name+" has forwarded everything", func() (bool, error) {
			stamps, err := process.Status(ctx)
			if err != nil || len(stamps) != 1 {
				return false, err
			}
			q := stamps[0].Queue
			return q.UnforwardedMessages == 0 && q.UnreadLanes == 0 && !q.Listing, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
