package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// modulePath is the main module's; import paths below are without it.
const modulePath = "postroad/"

// layers is the order of packages, top first: a package imports only from
// layers below its own, and from its own folder. ARCHITECTURE.md draws it. A
// package that is in none of these folders is a problem too: decide where it
// belongs before it grows.
var layers = [][]string{
	{"test"},
	{"cmd"},
	{"internal/app"},
	{"internal/config"},
	{"internal/bench"},
	{"internal/drill"},
	{"internal/vehicles"},
	roles,
	{"internal/queue"},
	{"internal/kafka"},
	{"internal/relay"},
	{"internal/hub"},
	{"internal/wal"},
	{"internal/auth", "internal/httpserve", "internal/telemetry"},
	{"internal/durable"},
	{"internal/message", "internal/loopback"},
	{"web"},
}

// roles know each other, and what stands behind them, only by the small
// interfaces they declare.
var roles = []string{"internal/gateway", "internal/forward", "internal/stream", "internal/door", "internal/console"}

// closedTo lists what a folder must not import, although the layers allow it.
var closedTo = map[string][]string{
	"internal/gateway": {"internal/queue", "internal/wal", "internal/kafka"},
	"internal/forward": {"internal/queue", "internal/wal", "internal/kafka"},
	"internal/stream":  {"internal/queue", "internal/wal", "internal/kafka"},
	"internal/door":    {"internal/queue", "internal/wal", "internal/kafka"},
	"internal/console": {"internal/queue", "internal/wal", "internal/kafka"},
}

// onlyImport lists the folders that may import just these of ours: drill
// judges the built binary from outside, by its own ledger.
var onlyImport = map[string][]string{
	"internal/drill": {"internal/message", "internal/loopback"},
}

// franz is the Kafka client; one package speaks Kafka, so that one package
// knows how it fails. The hub may have the fake broker and its messages.
const franz = "github.com/twmb/franz-go"

var franzAllowed = map[string][]string{
	"internal/kafka": {franz},
	"internal/hub":   {franz + "/pkg/kfake", franz + "/pkg/kmsg"},
	"test":           {franz}, // asks a real Kafka how it is; nothing of it is shipped
}

// testOnly must not reach the shipped binary: only tests import these, and
// packages for tests, whose name ends in "test".
var testOnly = []string{"testing", "net/http/httptest", modulePath + "internal/durable/faultfs"}

// vague names say nothing about what is inside.
var vague = []string{"util", "utils", "common", "types", "models", "pkg", "helper", "helpers", "misc"}

// node is a package as the rules see it.
type node struct {
	// path is the import path, name the one in the package clause.
	path, name string
	// imports are those of the files that are built, not of its tests.
	imports []string
}

// importProblems applies all rules to a graph of packages.
func importProblems(graph []node) []string {
	var found []string
	for _, n := range graph {
		path := strings.TrimPrefix(n.path, modulePath)
		for _, part := range append(strings.Split(path, "/"), n.name) {
			if slices.Contains(vague, part) {
				found = append(found, fmt.Sprintf("%s: %q says nothing about what is inside", path, part))
				break
			}
		}
		layer, folder := place(path)
		if folder == "" {
			found = append(found, fmt.Sprintf("%s: in no layer; give it a place in test/imports_test.go", path))
			continue
		}
		for _, imported := range n.imports {
			if problem := judge(n, layer, folder, imported); problem != "" {
				found = append(found, fmt.Sprintf("%s imports %s: %s", path, imported, problem))
			}
		}
	}
	return found
}

// judge says what is wrong with one import; "" where nothing is.
func judge(n node, layer int, folder, imported string) string {
	if slices.Contains(testOnly, imported) && !forTests(n) {
		return "only tests may"
	}
	if within(imported, franz) && !slices.ContainsFunc(franzAllowed[folder], func(a string) bool { return within(imported, a) }) {
		return "only internal/kafka speaks Kafka"
	}
	ours, ok := strings.CutPrefix(imported, modulePath)
	if !ok {
		return ""
	}
	below, target := place(ours)
	switch only, limited := onlyImport[folder]; {
	case target == "" || target == folder:
		return ""
	case limited && !slices.Contains(only, target):
		return "it may import only " + strings.Join(only, ", ")
	case slices.Contains(closedTo[folder], target):
		return "a role declares an interface instead; internal/app supplies it"
	case below <= layer:
		return "imports point downwards"
	}
	return ""
}

// place returns the layer and folder that a path belongs to; "" where none.
func place(path string) (layer int, folder string) {
	for i, l := range layers {
		for _, f := range l {
			if within(path, f) {
				return i, f
			}
		}
	}
	return -1, ""
}

// within tells whether path is folder or below it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// forTests tells packages that are imported by tests alone.
func forTests(n node) bool {
	return strings.HasSuffix(n.name, "test") || within(n.path, modulePath+"internal/durable/faultfs") || within(n.path, modulePath+"test")
}

func TestImportsPointDownwards(t *testing.T) {
	graph := listPackages(t)
	if len(graph) < 5 {
		t.Fatalf("go list found only %d packages: the check would prove nothing", len(graph))
	}
	for _, problem := range importProblems(graph) {
		t.Error(problem)
	}
}

// listPackages asks the go command, with the proof tag, so that no file of
// Linux's is left out.
func listPackages(t *testing.T) []node {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-tags", "proof", "-json=ImportPath,Name,Imports", "./...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("go list: %v\n%s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var graph []node
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Name string
			Imports          []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return graph
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		graph = append(graph, node{p.ImportPath, p.Name, p.Imports})
	}
}

// soundGraph keeps every rule, also where it is close to breaking one.
func soundGraph() []node {
	return []node{
		{"postroad/cmd/postroad", "main", []string{"os", "postroad/internal/app", "postroad/internal/config"}},
		{"postroad/internal/app", "app", []string{"postroad/internal/gateway", "postroad/internal/queue", "postroad/internal/kafka"}},
		{"postroad/internal/config/refgen", "main", []string{"postroad/internal/config"}},
		{"postroad/internal/config", "config", []string{"postroad/internal/queue", "postroad/internal/httpserve"}},
		{"postroad/internal/drill", "drill", []string{"postroad/internal/message", "os/exec"}},
		{"postroad/internal/gateway", "gateway", []string{"postroad/internal/message", "postroad/internal/httpserve", "postroad/web"}},
		{"postroad/internal/queue", "queue", []string{"postroad/internal/wal", "postroad/internal/durable"}},
		{"postroad/internal/kafka", "kafka", []string{franz + "/pkg/kgo", franz + "/plugin/kprom"}},
		{"postroad/internal/hub", "hub", []string{franz + "/pkg/kfake", franz + "/pkg/kmsg"}},
		{"postroad/internal/durable/fstest", "fstest", []string{"testing", "postroad/internal/durable"}},
		{"postroad/internal/message", "message", []string{"crypto/sha256"}},
	}
}

func TestImportRulesFindWhatBreaksThem(t *testing.T) {
	if got := importProblems(soundGraph()); len(got) > 0 {
		t.Fatalf("a sound graph has problems: %q", got)
	}
	for _, tc := range []struct {
		name string
		bad  node
		want string
	}{
		{"upwards", node{"postroad/internal/wal", "wal", []string{"postroad/internal/queue"}}, "imports point downwards"},
		{"upwards to the wiring", node{"postroad/internal/gateway", "gateway", []string{"postroad/internal/app"}}, "imports point downwards"},
		{"sideways", node{"postroad/internal/httpserve", "httpserve", []string{"postroad/internal/telemetry"}}, "imports point downwards"},
		{"a command from below", node{"postroad/internal/app", "app", []string{"postroad/cmd/postroad"}}, "imports point downwards"},
		{"message imports ours", node{"postroad/internal/message", "message", []string{"postroad/internal/durable"}}, "imports point downwards"},
		{"role imports role", node{"postroad/internal/door", "door", []string{"postroad/internal/gateway"}}, "imports point downwards"},
		{"role imports queue", node{"postroad/internal/forward", "forward", []string{"postroad/internal/queue"}}, "declares an interface"},
		{"role imports wal", node{"postroad/internal/gateway/http", "http", []string{"postroad/internal/wal"}}, "declares an interface"},
		{"role imports kafka", node{"postroad/internal/console", "console", []string{"postroad/internal/kafka"}}, "declares an interface"},
		{"role speaks Kafka", node{"postroad/internal/stream", "stream", []string{franz + "/pkg/kgo"}}, "only internal/kafka"},
		{"wiring speaks Kafka", node{"postroad/internal/app", "app", []string{franz + "/pkg/kadm"}}, "only internal/kafka"},
		{"hub has a client", node{"postroad/internal/hub", "hub", []string{franz + "/pkg/kgo"}}, "only internal/kafka"},
		{"drill knows the queue", node{"postroad/internal/drill", "drill", []string{"postroad/internal/queue"}}, "may import only internal/message"},
		{"the fault disk is shipped", node{"postroad/internal/queue", "queue", []string{"postroad/internal/durable/faultfs"}}, "only tests may"},
		{"testing is shipped", node{"postroad/internal/queue", "queue", []string{"testing"}}, "only tests may"},
		{"vague folder", node{"postroad/internal/queue/util", "lanes", nil}, "says nothing"},
		{"vague name", node{"postroad/internal/queue/lanes", "types", nil}, "says nothing"},
		{"no layer", node{"postroad/internal/elsewhere", "elsewhere", nil}, "in no layer"},
		{"look-alike of a layer", node{"postroad/internal/queuetools", "queuetools", nil}, "in no layer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := importProblems(append(soundGraph(), tc.bad))
			if len(got) != 1 || !strings.Contains(got[0], tc.want) {
				t.Fatalf("found %q, want one problem with %q", got, tc.want)
			}
		})
	}
}
