package chart

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"postroad/internal/config"
)

func storageProperties() []property {
	return []property{
		{
			name: "the queue is on a volume that outlives pods", find: each("Deployment", kept),
			flips: []flip{
				{"onprem", gatewayD, container + ".volumeMounts.1.mountPath", "/data"},
				{"onprem", gatewayD, pod + ".volumes.1", map[string]any{"name": "queue", "emptyDir": map[string]any{}}},
				{"onprem", "ConfigMap/postroad-stamp", `data.stamp\.yaml`, "stamp: {name: onprem}\nqueue: {dir: /tmp/queue}\n"},
			},
		},
		{
			name: "a share is shared, and stays when the release goes", only: []string{"onprem", "cloud-green", "cloud-blue", "separate"},
			find: func(all set) []string {
				claim, volume := all["PersistentVolumeClaim/postroad-queue"], all["PersistentVolume/postroad-postroad-queue"]
				found := want(volume, map[string]any{
					"spec.persistentVolumeReclaimPolicy": "Retain",
					"spec.claimRef.name":                 claim.text("metadata.name"),
				})
				found = append(found, want(claim, map[string]any{"spec.resources.requests.storage": "1Gi"})...) // it could not be changed
				found = append(found, want(claim, map[string]any{"spec.volumeName": volume.text("metadata.name"), "spec.storageClassName": ""})...)
				for _, o := range []object{claim, volume} {
					found = append(found, want(o, map[string]any{
						"spec.accessModes": []any{"ReadWriteMany"},
						`metadata.annotations.helm\.sh/resource-policy`:             "keep",
						`metadata.annotations.kustomize\.toolkit\.fluxcd\.io/prune`: "disabled",
					})...)
				}
				return found
			},
			flips: []flip{
				{"onprem", "PersistentVolume/postroad-postroad-queue", "spec.persistentVolumeReclaimPolicy", "Delete"},
				{"onprem", "PersistentVolume/postroad-postroad-queue", "spec.claimRef.name", "other"},
				{"onprem", "PersistentVolumeClaim/postroad-queue", "spec.volumeName", nil},
				{"onprem", "PersistentVolumeClaim/postroad-queue", "spec.resources.requests.storage", "200Gi"},
				{"onprem", "PersistentVolumeClaim/postroad-queue", "spec.storageClassName", nil},
				{"onprem", "PersistentVolumeClaim/postroad-queue", "spec.accessModes", []any{"ReadWriteOnce"}},
				{"cloud-blue", "PersistentVolumeClaim/postroad-queue", `metadata.annotations.helm\.sh/resource-policy`, nil},
				{"cloud-blue", "PersistentVolume/postroad-postroad-queue", `metadata.annotations.kustomize\.toolkit\.fluxcd\.io/prune`, nil},
			},
		},
		{
			name: "no claim or volume of the queue goes with the release", find: stays,
			flips: []flip{
				{"plain", "PersistentVolumeClaim/postroad-queue", `metadata.annotations.helm\.sh/resource-policy`, nil},
				{"plain", "PersistentVolumeClaim/postroad-queue", `metadata.annotations.kustomize\.toolkit\.fluxcd\.io/prune`, "enabled"},
				{"share", "PersistentVolumeClaim/postroad-queue", "metadata.annotations", nil},
				{"share", "StorageClass/postroad-postroad-queue", "reclaimPolicy", "Delete"},
				{"share", "StorageClass/postroad-postroad-queue", `metadata.annotations.helm\.sh/resource-policy`, nil},
				{"onprem", "PersistentVolume/postroad-postroad-queue", "spec.persistentVolumeReclaimPolicy", nil},
				{"plain", "PersistentVolumeClaim/postroad-queue", `metadata.annotations.helm\.sh/hook`, "pre-install"},
				{"plain", "PersistentVolumeClaim/postroad-queue", `metadata.annotations.kustomize\.toolkit\.fluxcd\.io/force`, "enabled"},
				{"plain", "PersistentVolumeClaim/postroad-queue", "metadata.ownerReferences", []any{map[string]any{"kind": "Deployment"}}},
			},
		},
		{
			name: "a share that the cluster makes stands in three zones", only: []string{"share"},
			find: func(all set) []string {
				class, claim := all["StorageClass/postroad-postroad-queue"], all["PersistentVolumeClaim/postroad-queue"]
				found := want(class, map[string]any{
					"provisioner": "file.csi.azure.com", "parameters.skuName": "Premium_ZRS", "parameters.protocol": "nfs",
					"parameters.networkEndpointType": "privateEndpoint", "parameters.storageAccount": nil, "allowVolumeExpansion": true,
				})
				found = append(found, want(claim, map[string]any{
					"spec.storageClassName": class.text("metadata.name"), "spec.volumeName": nil, "spec.accessModes": []any{"ReadWriteMany"},
				})...)
				return append(found, optionProblems(texts(class.at("mountOptions")), class.text("parameters.protocol"))...)
			},
			flips: []flip{
				{"share", "StorageClass/postroad-postroad-queue", "parameters.skuName", "Premium_LRS"},
				{"share", "StorageClass/postroad-postroad-queue", "parameters.protocol", "smb"},
				{"share", "StorageClass/postroad-postroad-queue", "parameters.networkEndpointType", nil},
				{"share", "StorageClass/postroad-postroad-queue", "parameters.storageAccount", "other"},
				{"share", "StorageClass/postroad-postroad-queue", "mountOptions", []any{"vers=4", "minorversion=1", "soft", "lookupcache=pos"}},
				{"share", "PersistentVolumeClaim/postroad-queue", "spec.storageClassName", "azurefile-csi-premium"},
				{"share", "PersistentVolumeClaim/postroad-queue", "spec.accessModes", []any{"ReadWriteOnce"}},
			},
		},
		{
			name: "a share is mounted with what the queue needs", find: each("PersistentVolume", mountOptions),
			flips: []flip{
				{"onprem", "PersistentVolume/postroad-postroad-queue", "spec.mountOptions", []any{"vers=4.1", "soft", "lookupcache=pos"}},
				{"onprem", "PersistentVolume/postroad-postroad-queue", "spec.mountOptions", []any{"vers=3", "hard", "lookupcache=pos"}},
				{"onprem", "PersistentVolume/postroad-postroad-queue", "spec.mountOptions.2", "nocto"},
				{"cloud-green", "PersistentVolume/postroad-postroad-queue", "spec.mountOptions.1", "minorversion=0"},
				{"cloud-green", "PersistentVolume/postroad-postroad-queue", "spec.csi.volumeAttributes.protocol", "smb"},
				{"separate", "PersistentVolume/postroad-postroad-queue", "spec.mountOptions.1", "cache=loose"},
				{"separate", "PersistentVolume/postroad-postroad-queue", "spec.mountOptions.2", "soft"},
				{"separate", "PersistentVolume/postroad-postroad-queue", "spec.csi.nodeStageSecretRef", nil},
			},
		},
	}
}

// kept wants the queue's directory to be just below the mounted claim.
func kept(all set, d object) []string {
	if c := component(d); c != "gateway" && c != "forwarder" {
		return nil
	}
	s, err := settings(all, d, config.DefaultStamp())
	if err != nil {
		return []string{err.Error()}
	}
	claim := ""
	for _, v := range d.list(pod + ".volumes") {
		if v.text("name") == "queue" {
			claim = v.text("persistentVolumeClaim.claimName")
		}
	}
	for _, m := range d.list(container + ".volumeMounts") {
		if m.text("name") == "queue" && claim != "" && path.Dir(s.Queue.Dir) == m.text("mountPath") {
			return nil
		}
	}
	return []string{fmt.Sprintf("claim %q does not hold %s", claim, s.Queue.Dir)}
}

// stays wants whatever holds messages to outlive a release, a prune and a change
// that cannot be made in place.
func stays(all set) []string {
	var found []string
	for _, kind := range []string{"PersistentVolumeClaim", "PersistentVolume", "StorageClass"} {
		for _, o := range all.of(kind) {
			problems := want(o, map[string]any{
				`metadata.annotations.helm\.sh/resource-policy`:             "keep",
				`metadata.annotations.kustomize\.toolkit\.fluxcd\.io/prune`: "disabled",
				`metadata.annotations.kustomize\.toolkit\.fluxcd\.io/force`: nil,
				`metadata.annotations.helm\.sh/hook`:                        nil,
				"metadata.ownerReferences":                                  nil,
			})
			if policy, keeps := map[string]string{"PersistentVolume": "spec.persistentVolumeReclaimPolicy", "StorageClass": "reclaimPolicy"}[kind]; keeps {
				problems = append(problems, want(o, map[string]any{policy: "Retain"})...)
			}
			for _, problem := range problems {
				found = append(found, o.id()+": "+problem)
			}
		}
	}
	return found
}

// mountOptions holds those of a volume against docs/filesystems.md.
func mountOptions(_ set, v object) []string {
	protocol := v.text("spec.csi.volumeAttributes.protocol")
	if protocol == "smb" && v.at("spec.csi.nodeStageSecretRef.name") == nil {
		return []string{"no key for the account"}
	}
	if v.at("spec.nfs") != nil {
		protocol = "nfs"
	}
	return optionProblems(texts(v.at("spec.mountOptions")), protocol)
}

func optionProblems(options []string, protocol string) []string {
	need := []string{"hard", "lookupcache=pos"}
	version := [][]string{{"vers=4.1"}, {"vers=4.2"}, {"vers=4", "minorversion=1"}}
	refused := []string{"soft", "softerr", "softreval", "nocto", "cache=loose", "cache=ro", "cache=singleclient", "nostrictsync", "ro"}
	switch protocol {
	case "smb":
		need, version = []string{"hard", "cache=strict"}, [][]string{{"vers=3.1.1"}}
	case "nfs":
	default:
		return []string{"neither NFS nor SMB"}
	}
	has := func(all []string) bool {
		return !slices.ContainsFunc(all, func(o string) bool { return !slices.Contains(options, o) })
	}
	var found []string
	if !has(need) {
		found = append(found, fmt.Sprintf("%v lacks one of %v", options, need))
	}
	if !slices.ContainsFunc(version, has) {
		found = append(found, fmt.Sprintf("%v names no version that will do", options))
	}
	for _, o := range options {
		if slices.Contains(refused, o) {
			found = append(found, o)
		}
	}
	return found
}

func profileProperties() []property {
	return []property{
		{
			name: "a site that is cut off can start", only: []string{"onprem"},
			find: func(all set) []string {
				var found []string
				for _, d := range all.of("Deployment") {
					found = append(found, want(d, map[string]any{container + ".imagePullPolicy": "IfNotPresent", pod + ".imagePullSecrets.0.name": "postroad-registry"})...)
					for _, v := range d.list(pod + ".volumes") {
						if v.at("csi") != nil {
							found = append(found, d.id()+": volume "+v.text("name")+" is asked of somebody outside")
						}
					}
				}
				if all["PersistentVolume/postroad-postroad-queue"].at("spec.nfs.server") == nil {
					found = append(found, "the share is not on site")
				}
				return found
			},
			flips: []flip{
				{"onprem", streamD, container + ".imagePullPolicy", "Always"},
				{"onprem", streamD, pod + ".imagePullSecrets", nil},
				{"onprem", streamD, pod + ".volumes.1", map[string]any{"name": "secret-hub", "csi": map[string]any{"driver": "secrets-store.csi.k8s.io"}}},
				{"onprem", "PersistentVolume/postroad-postroad-queue", "spec.nfs", nil},
			},
		},
		{
			name: "every node has the images that may run there, and keeps them", only: []string{"small"},
			find: func(all set) []string {
				d := all["DaemonSet/postroad-images"]
				need := []string{all[gatewayD].text(container + ".image"), "192.0.2.1:5000/postroad@sha256:" + strings.Repeat("4", 64)}
				var found []string
				for i, c := range append(d.list(pod+".initContainers"), d.list(pod+".containers")...) {
					found = append(found, want(c, map[string]any{
						"imagePullPolicy": "IfNotPresent", "securityContext": all[gatewayD].at(container + ".securityContext"),
					})...)
					if i < len(need) {
						found = append(found, want(c, map[string]any{"image": need[i], "args": []any{"version"}})...)
					}
				}
				found = append(found, want(d, map[string]any{
					pod + ".automountServiceAccountToken": false, pod + ".securityContext.runAsNonRoot": true,
					pod + ".securityContext.seccompProfile.type": "RuntimeDefault", pod + ".nodeSelector": nil, pod + ".hostNetwork": nil,
				})...)
				for _, kind := range []string{"Service", "NetworkPolicy", "PodDisruptionBudget"} {
					for _, o := range all.of(kind) {
						for _, path := range []string{"spec.selector", "spec.podSelector.matchLabels", "spec.selector.matchLabels"} {
							if matches(o.at(path), d.at(podLabels)) {
								found = append(found, o.id()+" takes it for a pod that serves")
							}
						}
					}
				}
				return found
			},
			flips: []flip{
				{"small", "DaemonSet/postroad-images", pod + ".initContainers.0.image", "postroad:0.1.0"},
				{"small", "DaemonSet/postroad-images", pod + ".initContainers.1.image", "postroad:0.1.0"},
				{"small", "DaemonSet/postroad-images", pod + ".initContainers", nil},
				{"small", "DaemonSet/postroad-images", pod + ".containers.0.imagePullPolicy", "Always"},
				{"small", "DaemonSet/postroad-images", pod + ".initContainers.0.securityContext", nil},
				{"small", "DaemonSet/postroad-images", pod + ".nodeSelector", map[string]any{"a": "b"}},
				{"small", "DaemonSet/postroad-images", podLabels, map[string]any{"app.kubernetes.io/name": "postroad", "app.kubernetes.io/instance": "postroad", "app.kubernetes.io/component": "gateway"}},
			},
		},
		{
			name: "no manifest holds a secret",
			find: func(all set) []string {
				var found []string
				for _, o := range all.of("Secret") {
					found = append(found, o.id())
				}
				for _, o := range all.of("ConfigMap") {
					for _, word := range []string{"password:", "SharedAccessKey", "PRIVATE KEY", "client_secret:"} {
						if strings.Contains(fmt.Sprint(o.at("data")), word) {
							found = append(found, o.id()+": "+word)
						}
					}
				}
				return found
			},
			flips: []flip{
				{"onprem", "ConfigMap/postroad-stamp", "data.x", "hub: {sasl: {password: x}}"},
			},
		},
		{
			name: "each object says what it belongs to",
			find: func(all set) []string {
				var found []string
				for id, o := range all {
					if !slices.Contains([]string{"PersistentVolume", "StorageClass"}, o.text("kind")) && o.text("metadata.namespace") != "postroad" {
						found = append(found, id+": no namespace")
					}
					found = append(found, want(o, map[string]any{
						`metadata.labels.app\.kubernetes\.io/name`: "postroad", `metadata.labels.app\.kubernetes\.io/instance`: "postroad",
					})...)
				}
				return found
			},
			flips: []flip{
				{"onprem", "Service/postroad-door", "metadata.namespace", nil},
				{"onprem", "Service/postroad-door", `metadata.labels.app\.kubernetes\.io/name`, "door"},
			},
		},
	}
}
