package chart

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

const schemas = "test/chart/schemas/{{.ResourceKind}}{{.KindSuffix}}.json"

// valid holds manifests against strict schemas.
func valid(t *testing.T, manifests string) error {
	t.Helper()
	_, err := strictly(t, manifests)
	return err
}

func strictly(t *testing.T, manifests string) (string, error) {
	t.Helper()
	out, err := tools.run(t, []byte(manifests), "kubeconform", "-strict", "-summary", "-schema-location", schemas, "-")
	if err != nil {
		return out, &invalid{out, err}
	}
	return out, nil
}

// invalid is what kubeconform says.
type invalid struct {
	out string
	err error
}

func (e *invalid) Error() string { return e.err.Error() + "\n" + e.out }

func TestManifestsAreValid(t *testing.T) {
	for _, variant := range slices.Sorted(maps.Keys(variants())) {
		out, err := template(t, variants()[variant]...)
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(t, out); err != nil {
			t.Errorf("%s: %v", variant, err)
		}
	}
}

// What is wrong in a manifest is found: a key that nobody knows, a value of
// another kind, something missing, and a kind without a schema.
func TestInvalidManifestsAreFound(t *testing.T) {
	out, err := template(t, variants()["separate"]...)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		"terminationGracePeriodSeconds:": "terminationGraceSeconds:",
		"maxSkew: 1":                     "maxSkew: one",
		"averageUtilization: 50":         "averageUtilization: half",
		"containerPort: 8800":            "port: 8800",
		"policyTypes:":                   "policies:",
		"scaleTargetRef:":                "scaleTarget:",
		"parentRefs:":                    "parents:",
		"kind: ServiceMonitor":           "kind: PodMonitor",
		"minReplicaCount:":               "minReplicas:",
		"secretProviderClass:":           "secretProvider: {}\n              x:",
	} {
		wrong := strings.ReplaceAll(out, from, to)
		if wrong == out {
			t.Errorf("no %q to change", from)
		} else if err := valid(t, wrong); err == nil {
			t.Errorf("%q is taken for %q", to, from)
		}
	}
}
