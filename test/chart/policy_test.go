package chart

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// property is what manifests of a stamp have to be like.
type property struct {
	name string
	// find returns what is wrong with a set of manifests.
	find func(set) []string
	// only are the variants that the property is asked of; all where it is empty.
	only []string
	// flips are changes that find has to notice.
	flips []flip
}

// flip changes one place of the manifests of a variant.
type flip struct {
	variant, object, path string
	to                    any
}

// properties are all of them.
func properties() []property {
	return slices.Concat(podProperties(), scaleProperties(), memoryProperties(), networkProperties(), storageProperties(), profileProperties(), identityProperties(), smallProperties())
}

func TestProperties(t *testing.T) {
	for _, p := range properties() {
		t.Run(p.name, func(t *testing.T) {
			for _, variant := range slices.Sorted(maps.Keys(variants())) {
				if len(p.only) > 0 && !slices.Contains(p.only, variant) {
					continue
				}
				for _, problem := range p.find(rendered(t, variant)) {
					t.Errorf("%s: %s", variant, problem)
				}
			}
			if len(p.flips) == 0 {
				t.Error("nothing shows that this is noticed")
			}
			for _, f := range p.flips {
				all := rendered(t, f.variant)
				o := all.named(f.object)
				if o == nil {
					t.Fatalf("%s has no %s to change", f.variant, f.object)
				}
				o.put(t, f.path, f.to)
				if len(p.find(all)) == 0 {
					t.Errorf("%s: %s: %s = %v is not noticed", f.variant, f.object, f.path, f.to)
				}
			}
		})
	}
}

// each asks find of each object of a kind, and says which one it is about.
func each(kind string, find func(set, object) []string) func(set) []string {
	return func(all set) []string {
		var found []string
		for _, o := range all.of(kind) {
			for _, problem := range find(all, o) {
				found = append(found, o.id()+": "+problem)
			}
		}
		return found
	}
}

// want compares what is at paths of an object with what should be there; nil is
// nothing.
func want(o object, paths map[string]any) []string {
	var found []string
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if got := o.at(path); fmt.Sprint(got) != fmt.Sprint(paths[path]) {
			found = append(found, fmt.Sprintf("%s is %v, want %v", path, got, paths[path]))
		}
	}
	return found
}

const (
	gatewayD   = "Deployment/postroad-gateway"
	forwarderD = "Deployment/postroad-forwarder"
	streamD    = "Deployment/postroad-stream"
	doorD      = "Deployment/postroad-door"
)

func podProperties() []property {
	return []property{
		{
			name: "pods are restricted", find: each("Deployment", restricted),
			flips: []flip{
				{"separate", gatewayD, pod + ".securityContext.runAsNonRoot", false},
				{"separate", streamD, pod + ".securityContext.runAsUser", 0},
				{"separate", doorD, pod + ".securityContext.seccompProfile", nil},
				{"separate", gatewayD, container + ".securityContext.allowPrivilegeEscalation", true},
				{"separate", gatewayD, container + ".securityContext.readOnlyRootFilesystem", false},
				{"separate", gatewayD, container + ".securityContext.capabilities.drop", []any{}},
				{"separate", gatewayD, container + ".securityContext.capabilities.add", []any{"NET_RAW"}},
				{"separate", gatewayD, container + ".securityContext.privileged", true},
				{"separate", gatewayD, pod + ".hostNetwork", true},
				{"separate", gatewayD, pod + ".volumes.0", map[string]any{"name": "config", "hostPath": map[string]any{"path": "/"}}},
			},
		},
		{
			name: "pods know nothing of the API server and get no settings from Services",
			find: each("Deployment", func(_ set, d object) []string {
				return want(d, map[string]any{pod + ".automountServiceAccountToken": false, pod + ".enableServiceLinks": false})
			}),
			flips: []flip{
				{"onprem", gatewayD, pod + ".automountServiceAccountToken", nil},
				{"onprem", streamD, pod + ".enableServiceLinks", true},
				{"onprem", streamD, pod + ".enableServiceLinks", nil},
			},
		},
		{
			name: "pods ask for what they need and have limits", find: each("Deployment", resources),
			flips: []flip{
				{"onprem", gatewayD, container + ".resources.limits.memory", nil},
				{"onprem", gatewayD, container + ".resources.limits.cpu", nil},
				{"onprem", gatewayD, container + ".resources.requests.memory", nil},
				{"onprem", doorD, container + ".resources.requests.cpu", nil},
			},
		},
		{
			name: "a stream node has half a core and 256 MiB", only: []string{"onprem", "cloud-green", "cloud-blue", "plain", "separate"},
			find: func(all set) []string {
				return want(all[streamD], map[string]any{
					container + ".resources.limits":   map[string]any{"cpu": "500m", "memory": "256Mi"},
					container + ".resources.requests": map[string]any{"cpu": "500m", "memory": "256Mi"},
				})
			},
			flips: []flip{
				{"onprem", streamD, container + ".resources.limits.memory", "512Mi"},
				{"onprem", streamD, container + ".resources.requests.cpu", "100m"},
			},
		},
		{
			name: "each pod is probed", find: each("Deployment", probed),
			flips: []flip{
				{"onprem", gatewayD, container + ".startupProbe", nil},
				{"onprem", streamD, container + ".readinessProbe", nil},
				{"onprem", doorD, container + ".livenessProbe", nil},
				{"onprem", gatewayD, container + ".livenessProbe.httpGet.path", "/readyz"},
				{"onprem", gatewayD, container + ".readinessProbe.httpGet.port", "metrics"},
				{"onprem", gatewayD, container + ".livenessProbe.failureThreshold", 100},
				{"onprem", gatewayD, container + ".startupProbe.failureThreshold", 3},
				{"onprem", gatewayD, container + ".livenessProbe.terminationGracePeriodSeconds", nil},
				{"onprem", streamD, container + ".livenessProbe.terminationGracePeriodSeconds", 75},
			},
		},
		{
			name: "images are pinned, and not pulled where they are there", find: each("Deployment", pinned),
			flips: []flip{
				{"onprem", gatewayD, container + ".image", "postroad"},
				{"onprem", gatewayD, container + ".image", "postroad:latest"},
				{"separate", streamD, container + ".imagePullPolicy", "Always"},
			},
		},
		{
			name: "pods are spread over zones and nodes, by revision", find: each("Deployment", spread),
			flips: []flip{
				{"onprem", gatewayD, pod + ".topologySpreadConstraints.0.matchLabelKeys", nil},
				{"onprem", streamD, pod + ".topologySpreadConstraints.1.matchLabelKeys", []any{"app"}},
				{"onprem", streamD, pod + ".topologySpreadConstraints.1.topologyKey", "kubernetes.io/hostname"},
				{"onprem", streamD, pod + ".topologySpreadConstraints.0.labelSelector.matchLabels", map[string]any{"app": "x"}},
				{"onprem", doorD, pod + ".topologySpreadConstraints", nil},
			},
		},
		{
			name: "a pod on a dead node is started elsewhere within a minute or so", find: each("Deployment", moved),
			flips: []flip{
				{"onprem", gatewayD, pod + ".tolerations", nil},
				{"onprem", gatewayD, pod + ".tolerations.0.tolerationSeconds", 300},
				{"onprem", streamD, pod + ".tolerations.1.tolerationSeconds", nil},
				{"onprem", streamD, pod + ".tolerations.1.key", "node.kubernetes.io/not-ready"},
				{"onprem", doorD, pod + ".tolerations.0.effect", "NoSchedule"},
			},
		},
		{
			name: "a pod that starts again starts with the settings it had", find: each("Deployment", unchanging),
			flips: []flip{
				{"onprem", "ConfigMap/postroad-stamp", "immutable", nil},
				{"onprem", "ConfigMap/postroad-stream", `metadata.annotations.kustomize\.toolkit\.fluxcd\.io/prune`, nil},
				{"cloud-blue", "ConfigMap/postroad-stamp", `metadata.annotations.helm\.sh/resource-policy`, nil},
				{"onprem", "ConfigMap/postroad-door", "immutable", true},
				{"separate", "ConfigMap/postroad-stamp", "data.more", "x"},
			},
		},
		{
			name: "settings, secrets and volumes that a pod names are there", find: each("Deployment", mounted),
			flips: []flip{
				{"onprem", gatewayD, pod + ".volumes.0.configMap.name", "other"},
				{"onprem", gatewayD, container + ".volumeMounts.0.name", "other"},
				{"onprem", gatewayD, container + ".args.2", "/etc/postroad/config/other.yaml"},
				{"cloud-green", gatewayD, pod + ".volumes.2.csi.volumeAttributes.secretProviderClass", "x"},
				{"small", gatewayD, pod + ".volumes.1.persistentVolumeClaim.claimName", "postroad-queue"},
				{"onprem", gatewayD, container + ".volumeMounts.0.readOnly", false},
			},
		},
	}
}

// restricted is what the Pod Security Standard of that name asks for, and that
// nothing is written to the image.
func restricted(_ set, d object) []string {
	found := want(d, map[string]any{
		pod + ".securityContext.runAsNonRoot":                   true,
		pod + ".securityContext.seccompProfile.type":            "RuntimeDefault",
		container + ".securityContext.allowPrivilegeEscalation": false,
		container + ".securityContext.readOnlyRootFilesystem":   true,
		container + ".securityContext.capabilities.drop":        []any{"ALL"},
		container + ".securityContext.capabilities.add":         nil,
		container + ".securityContext.privileged":               nil,
		pod + ".hostNetwork":                                    nil,
		pod + ".hostPID":                                        nil,
		pod + ".hostIPC":                                        nil,
		pod + ".initContainers":                                 nil,
	})
	if number(d.at(pod+".securityContext.runAsUser")) <= 0 {
		found = append(found, "runs as root")
	}
	if n := len(d.list(pod + ".containers")); n != 1 {
		found = append(found, fmt.Sprintf("%d containers, of which one is looked at", n))
	}
	for _, v := range d.list(pod + ".volumes") {
		for kind := range v {
			if !slices.Contains([]string{"name", "configMap", "secret", "persistentVolumeClaim", "csi"}, kind) {
				found = append(found, "a volume of the kind "+kind)
			}
		}
	}
	return found
}

func resources(_ set, d object) []string {
	var found []string
	for _, path := range []string{"requests.cpu", "requests.memory", "limits.cpu", "limits.memory"} {
		if d.at(container+".resources."+path) == nil {
			found = append(found, "no "+path)
		}
	}
	return found
}

// probed wants all three probes on the admin listener: a start that may take its
// two minutes, and a process that hangs to be started anew within one.
func probed(_ set, d object) []string {
	var found []string
	ports := map[string]bool{}
	for _, p := range d.list(container + ".ports") {
		ports[p.text("name")] = p.text("containerPort") == "9600"
	}
	for probe, path := range map[string]string{"startupProbe": "/startupz", "readinessProbe": "/readyz", "livenessProbe": "/livez"} {
		at := container + "." + probe
		found = append(found, want(d, map[string]any{at + ".httpGet.path": path})...)
		if !ports[d.text(at+".httpGet.port")] {
			found = append(found, probe+": not at the admin listener")
		}
		seconds := number(d.at(at+".periodSeconds")) * number(d.at(at+".failureThreshold"))
		if probe == "startupProbe" && seconds < 60 || probe == "livenessProbe" && (seconds < 20 || seconds > 60) || probe == "readinessProbe" && (seconds < 1 || seconds > 10) {
			found = append(found, fmt.Sprintf("%s: %d seconds", probe, seconds))
		}
	}
	if g := number(d.at(container + ".livenessProbe.terminationGracePeriodSeconds")); g < 1 || g > 15 {
		found = append(found, "a process that hangs is waited for")
	}
	return found
}

func pinned(_ set, d object) []string {
	image := d.text(container + ".image")
	_, tag, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	found := want(d, map[string]any{container + ".imagePullPolicy": "IfNotPresent"})
	if tag == "" || tag == "latest" {
		found = append(found, "image "+image)
	}
	return found
}

// moved wants pods to leave a node that is dead or cut off before the 300 s that
// Kubernetes adds by itself.
func moved(_ set, d object) []string {
	seconds := map[string]int{}
	for _, t := range d.list(pod + ".tolerations") {
		if t.text("operator") == "Exists" && t.text("effect") == "NoExecute" {
			seconds[t.text("key")] = number(t.at("tolerationSeconds"))
		}
	}
	var found []string
	for _, key := range []string{"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"} {
		if s, there := seconds[key]; !there || s < 1 || s > 60 {
			found = append(found, fmt.Sprintf("%s: stays for %d s", key, s))
		}
	}
	return found
}

// unchanging wants other settings to be another object, which Flux leaves for pods
// of before, but for those of the door, which it reads again while it runs.
func unchanging(all set, d object) []string {
	c, _ := all.settingsOf(d)
	if component(d) == "door" {
		return want(c, map[string]any{"metadata.name": "postroad-door", "immutable": nil})
	}
	found := want(c, map[string]any{"immutable": true, `metadata.annotations.kustomize\.toolkit\.fluxcd\.io/prune`: "disabled", `metadata.annotations.helm\.sh/resource-policy`: "keep"})
	name := c.text("metadata.name")
	for _, text := range c["data"].(map[string]any) {
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(strings.TrimSuffix(fmt.Sprint(text), "\n"))))
		if !strings.HasSuffix(name, "-"+sum[:10]) {
			found = append(found, name+" does not say what is in it")
		}
	}
	return found
}

func spread(_ set, d object) []string {
	var found []string
	missing := []string{"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
	for _, c := range d.list(pod + ".topologySpreadConstraints") {
		missing = slices.DeleteFunc(missing, func(key string) bool { return key == c.text("topologyKey") })
		if !slices.Contains(texts(c.at("matchLabelKeys")), "pod-template-hash") {
			found = append(found, c.text("topologyKey")+": pods of the old revision count")
		}
		if fmt.Sprint(c.at("labelSelector.matchLabels")) != fmt.Sprint(d.at("spec.selector.matchLabels")) {
			found = append(found, c.text("topologyKey")+": counts other pods")
		}
	}
	for _, key := range missing {
		found = append(found, "not spread over "+key)
	}
	return found
}

// mounted follows each name in a pod to what has it.
func mounted(all set, d object) []string {
	var found []string
	there := map[string]string{}
	for _, v := range d.list(pod + ".volumes") {
		of := map[string]string{
			"ConfigMap": v.text("configMap.name"), "SecretProviderClass": v.text("csi.volumeAttributes.secretProviderClass"),
		}
		if claim := v.text("persistentVolumeClaim.claimName"); claim != "disk" && claim != "small-queue" { // which are not of the chart
			of["PersistentVolumeClaim"] = claim
		}
		for kind, name := range of {
			if name != "" && all[kind+"/"+name] == nil {
				found = append(found, "no "+kind+"/"+name)
			}
		}
		there[v.text("name")] = v.text("configMap.name")
	}
	config := ""
	for _, m := range d.list(container + ".volumeMounts") {
		name := m.text("name")
		if _, ok := there[name]; !ok {
			found = append(found, "no volume "+name)
		}
		if name != "queue" && m.at("readOnly") != true {
			found = append(found, name+" can be written to")
		}
		if name == "config" {
			config = m.text("mountPath")
		}
	}
	args := texts(d.at(container + ".args"))
	file, ok := strings.CutPrefix(args[len(args)-1], config+"/")
	if !ok || all["ConfigMap/"+there["config"]].at("data."+strings.ReplaceAll(file, ".", `\.`)) == nil {
		found = append(found, fmt.Sprintf("no file of settings for %v", args))
	}
	return found
}
