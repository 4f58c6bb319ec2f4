package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
)

const kubernetes = "k8s.io/kubernetes@v1.35.4"

// builtin are the kinds of Kubernetes itself, by file below api/openapi-spec/v3.
var builtin = map[string][]string{
	"api__v1_openapi.json":                             {"ConfigMap", "Namespace", "PersistentVolume", "PersistentVolumeClaim", "Service", "ServiceAccount"},
	"apis__apps__v1_openapi.json":                      {"DaemonSet", "Deployment"},
	"apis__autoscaling__v2_openapi.json":               {"HorizontalPodAutoscaler"},
	"apis__networking.k8s.io__v1_openapi.json":         {"Ingress", "NetworkPolicy"},
	"apis__policy__v1_openapi.json":                    {"PodDisruptionBudget"},
	"apis__scheduling.k8s.io__v1_openapi.json":         {"PriorityClass"},
	"apis__storage.k8s.io__v1_openapi.json":            {"StorageClass"},
	"apis__rbac.authorization.k8s.io__v1_openapi.json": {"Role", "RoleBinding"},
}

// custom are definitions of kinds of others: module to files.
var custom = map[string][]string{
	"github.com/fluxcd/kustomize-controller@v1.9.5":              {"config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"},
	"github.com/fluxcd/source-controller@v1.9.5":                 {"config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml"},
	"sigs.k8s.io/gateway-api@v1.6.3":                             {"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"},
	"sigs.k8s.io/secrets-store-csi-driver@v1.6.0":                {"config/crd/bases/secrets-store.csi.x-k8s.io_secretproviderclasses.yaml"},
	"github.com/kedacore/keda/v2@v2.20.2":                        {"config/crd/bases/keda.sh_scaledobjects.yaml"},
	"github.com/prometheus-operator/prometheus-operator@v0.85.0": {"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"},
}

func main() {
	if err := run("test/chart/schemas"); err != nil {
		fmt.Fprintln(os.Stderr, "schemagen:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	dir, err := module(kubernetes)
	if err != nil {
		return err
	}
	for file, kinds := range builtin {
		if err := fromOpenAPI(out, filepath.Join(dir, "api", "openapi-spec", "v3", file), kinds); err != nil {
			return err
		}
	}
	for name, files := range custom {
		dir, err := module(name)
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := fromDefinition(out, filepath.Join(dir, filepath.FromSlash(file))); err != nil {
				return err
			}
		}
	}
	return nil
}

// module returns the folder of a module in the cache, fetching it where needed.
func module(name string) (string, error) {
	b, err := exec.Command("go", "mod", "download", "-json", name).Output()
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", name, err)
	}
	var m struct{ Dir string }
	if err := json.Unmarshal(b, &m); err != nil {
		return "", fmt.Errorf("fetch %s: %w", name, err)
	}
	return m.Dir, nil
}

// fromOpenAPI writes kinds of one group of Kubernetes, each with the definitions
// that it needs.
func fromOpenAPI(out, file string, kinds []string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var doc struct {
		Components struct{ Schemas map[string]map[string]any }
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, kind := range kinds {
		if err := fromGroup(out, kind, doc.Components.Schemas); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

func fromGroup(out, kind string, all map[string]map[string]any) error {
	for name, s := range all {
		for _, gvk := range groupKinds(s) {
			if gvk.Kind != kind || !strings.HasSuffix(name, "."+kind) {
				continue
			}
			needed := map[string]any{}
			root := strict(s, all, needed).(map[string]any)
			root["required"] = []any{"apiVersion", "kind", "metadata"}
			version := gvk.Version
			if gvk.Group != "" {
				version = gvk.Group + "/" + gvk.Version
			}
			pin(root, version, kind)
			root["definitions"] = needed
			return write(out, gvk.Group, gvk.Version, kind, root)
		}
	}
	return fmt.Errorf("no kind %s", kind)
}

// pin fixes what an object says it is.
func pin(schema map[string]any, version, kind string) {
	properties, _ := schema["properties"].(map[string]any)
	properties["apiVersion"] = map[string]any{"const": version}
	properties["kind"] = map[string]any{"const": kind}
}

type groupKind struct{ Group, Version, Kind string }

func groupKinds(s map[string]any) []groupKind {
	b, err := json.Marshal(s["x-kubernetes-group-version-kind"])
	if err != nil {
		return nil
	}
	var all []groupKind
	if json.Unmarshal(b, &all) != nil {
		return nil
	}
	return all
}

// fromDefinition writes the kind of a CustomResourceDefinition, in the version
// that is stored.
func fromDefinition(out, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var crd struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name    string
				Storage bool
				Schema  struct {
					OpenAPI map[string]any `yaml:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(b, &crd); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, v := range crd.Spec.Versions {
		if !v.Storage {
			continue
		}
		root := strict(v.Schema.OpenAPI, nil, nil).(map[string]any)
		root["required"] = []any{"apiVersion", "kind", "metadata", "spec"}
		pin(root, crd.Spec.Group+"/"+v.Name, crd.Spec.Names.Kind)
		return write(out, crd.Spec.Group, v.Name, crd.Spec.Names.Kind, root)
	}
	return fmt.Errorf("%s: no version is stored", file)
}

// strict copies a schema without what is only to be read, forbids keys that it
// does not name, and gathers the definitions that it refers to. The recursion
// ends with the schema: what it refers to is copied once.
func strict(v any, all map[string]map[string]any, needed map[string]any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = strict(item, all, needed)
		}
		return list
	case map[string]any:
		return strictMap(v, all, needed)
	}
	return v
}

func strictMap(v map[string]any, all map[string]map[string]any, needed map[string]any) any {
	if ref, ok := v["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		if _, there := needed[name]; !there {
			needed[name] = nil // before what refers to it in turn
			needed[name] = strict(all[name], all, needed)
		}
		return map[string]any{"$ref": "#/definitions/" + name}
	}
	// One reference with a default beside it is how Kubernetes writes a field.
	if list, ok := v["allOf"].([]any); ok && len(list) == 1 && v["properties"] == nil {
		return strict(list[0], all, needed)
	}
	if v["x-kubernetes-int-or-string"] == true || v["format"] == "int-or-string" {
		return map[string]any{"type": []any{"string", "integer"}}
	}
	copied := map[string]any{}
	for key, value := range v {
		switch {
		case key == "properties":
			properties := map[string]any{}
			for name, p := range value.(map[string]any) {
				properties[name] = strict(p, all, needed)
			}
			copied[key] = properties
		case key == "description" || key == "default" || key == "format" || key == "example" || key == "nullable" || strings.HasPrefix(key, "x-"):
		default:
			copied[key] = strict(value, all, needed)
		}
	}
	_, named := v["properties"]
	if named && v["additionalProperties"] == nil && v["x-kubernetes-preserve-unknown-fields"] != true {
		copied["additionalProperties"] = false
	}
	return copied
}

// write writes a schema where kubeconform looks for it.
func write(out, group, version, kind string, schema map[string]any) error {
	b, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	short, _, _ := strings.Cut(group, ".")
	if short != "" {
		short += "-"
	}
	name := strings.ToLower(kind + "-" + short + version + ".json")
	return os.WriteFile(filepath.Join(out, name), append(b, '\n'), 0o644)
}
