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
				{"onprem", "PersistentVolumeClaim/postroad-queue", "spec.storageClassName", nil},
				{"onprem", "PersistentVolumeClaim/postroad-queue", "spec.accessModes", []any{"ReadWriteOnce"}},
				{"cloud-blue", "PersistentVolumeClaim/postroad-queue", `metadata.annotations.helm\.sh/resource-policy`, nil},
				{"cloud-blue", "PersistentVolume/postroad-postroad-queue", `metadata.annotations.kustomize\.toolkit\.fluxcd\.io/prune`, nil},
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

// mountOptions holds options against docs/filesystems.md.
func mountOptions(_ set, v object) []string {
	options := texts(v.at("spec.mountOptions"))
	need := []string{"hard", "lookupcache=pos"}
	version := [][]string{{"vers=4.1"}, {"vers=4.2"}, {"vers=4", "minorversion=1"}}
	refused := []string{"soft", "softerr", "softreval", "nocto", "cache=loose", "cache=ro", "cache=singleclient", "nostrictsync", "ro"}
	if v.text("spec.csi.volumeAttributes.protocol") == "smb" {
		need, version = []string{"hard", "cache=strict"}, [][]string{{"vers=3.1.1"}}
		if v.at("spec.csi.nodeStageSecretRef.name") == nil {
			return []string{"no key for the account"}
		}
	} else if v.at("spec.nfs") == nil && v.text("spec.csi.volumeAttributes.protocol") != "nfs" {
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
			name: "in the cloud a workload identity takes the place of passwords", only: []string{"cloud-green", "cloud-blue"}, find: identified,
			flips: []flip{
				{"cloud-green", gatewayD, podLabels + `.azure\.workload\.identity/use`, nil},
				{"cloud-green", "ServiceAccount/postroad", `metadata.annotations.azure\.workload\.identity/client-id`, nil},
				{"cloud-green", streamD, pod + ".volumes.1", map[string]any{"name": "secret-hub", "secret": map[string]any{"secretName": "hub"}}},
				{"cloud-green", "SecretProviderClass/postroad-publish", "spec.parameters.clientID", ""},
				{"cloud-green", "ConfigMap/postroad-stamp", `data.stamp\.yaml`, "stamp: {name: cloud-green}\nqueue: {dir: /q}\n"},
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
					if o.text("kind") != "PersistentVolume" && o.text("metadata.namespace") != "postroad" {
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

func identified(all set) []string {
	found := want(all["ServiceAccount/postroad"], map[string]any{
		`metadata.annotations.azure\.workload\.identity/client-id`: "00000000-0000-0000-0000-000000000000",
	})
	for _, d := range all.of("Deployment") {
		found = append(found, want(d, map[string]any{podLabels + `.azure\.workload\.identity/use`: "true"})...)
		for _, v := range d.list(pod + ".volumes") {
			if v.at("secret") != nil {
				found = append(found, d.id()+": a Secret")
			}
		}
	}
	s, err := settings(all, all[gatewayD], config.DefaultStamp())
	if err != nil {
		return append(found, err.Error())
	}
	if s.Hub.SASL.Mechanism != "OAUTHBEARER" || s.Hub.SASL.OAuth.AssertionFile == "" {
		found = append(found, "the hub is reached by "+s.Hub.SASL.Mechanism)
	}
	for _, c := range all.of("SecretProviderClass") {
		if c.text("spec.parameters.clientID") == "" || c.text("spec.parameters.keyvaultName") == "" {
			found = append(found, c.id()+": whose vault?")
		}
	}
	return found
}
