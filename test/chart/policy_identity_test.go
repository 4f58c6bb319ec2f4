package chart

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"postroad/internal/config"
)

const (
	clientID = `metadata.annotations.azure\.workload\.identity/client-id`
	useID    = podLabels + `.azure\.workload\.identity/use`
)

func identityProperties() []property {
	return []property{
		{
			name: "each component has an account of its own, which may ask the API server for nothing", find: each("Deployment", accounted),
			flips: []flip{
				{"onprem", gatewayD, pod + ".serviceAccountName", "default"},
				{"onprem", gatewayD, pod + ".serviceAccountName", "postroad-stream"},
				{"separate", forwarderD, pod + ".serviceAccountName", "postroad-gateway"},
				{"onprem", "ServiceAccount/postroad-stream", "automountServiceAccountToken", nil},
				{"onprem", "ServiceAccount/postroad-stream", "automountServiceAccountToken", true},
				{"onprem", "ServiceAccount/postroad-door", `metadata.labels.app\.kubernetes\.io/component`, "stream"},
			},
		},
		{
			name: "nobody is given rights in the cluster",
			find: func(all set) []string {
				var found []string
				for id, o := range all {
					if strings.Contains(o.text("apiVersion"), "rbac") {
						found = append(found, id)
					}
				}
				return found
			},
			flips: []flip{{"onprem", "ServiceAccount/postroad-stream", "apiVersion", "rbac.authorization.k8s.io/v1"}},
		},
		{
			name: "those who need one have a workload identity, and nobody else", find: each("Deployment", needed),
			flips: []flip{
				{"cloud-green", gatewayD, useID, nil},
				{"cloud-green", "ServiceAccount/postroad-gateway", clientID, nil},
				{"separate", doorD, useID, "true"},
				{"separate", "ServiceAccount/postroad-door", clientID, "00000000-0000-0000-0000-000000000001"},
				{"onprem", gatewayD, useID, "true"},
				{"cloud-green", "ConfigMap/postroad-stream", `data.stream\.yaml`, "stream: {topics: [messages]}\nhub: {sasl: {mechanism: OAUTHBEARER, oauth: {assertion_file: /t, client_id: other}}}\n"},
				{"cloud-green", "SecretProviderClass/postroad-stream-publish", "spec.parameters.clientID", "00000000-0000-0000-0000-000000000001"},
				{"cloud-green", "SecretProviderClass/postroad-stream-publish", "spec.parameters.keyvaultName", ""},
			},
		},
		{
			name: "in the cloud a workload identity takes the place of passwords", only: []string{"cloud-green", "cloud-blue", "share"},
			find: each("Deployment", passwordless),
			flips: []flip{
				{"cloud-green", streamD, pod + ".volumes.1", map[string]any{"name": "secret-hub", "secret": map[string]any{"secretName": "hub"}}},
				{"cloud-green", "ConfigMap/postroad-stamp", `data.stamp\.yaml`, "stamp: {name: cloud-green}\nqueue: {dir: /q}\n"},
				{"cloud-green", "ServiceAccount/postroad-stream", clientID, "00000000-0000-0000-0000-000000000001"},
			},
		},
	}
}

func account(all set, d object) object {
	return all["ServiceAccount/"+d.text(pod+".serviceAccountName")]
}

func accounted(all set, d object) []string {
	a := account(all, d)
	if a == nil {
		return []string{"no account " + d.text(pod+".serviceAccountName")}
	}
	found := want(a, map[string]any{"automountServiceAccountToken": false, `metadata.labels.app\.kubernetes\.io/component`: component(d)})
	for _, other := range all.of("Deployment") {
		if other.id() != d.id() && other.text(pod+".serviceAccountName") == a.text("metadata.name") {
			found = append(found, "shares its account with "+other.id())
		}
	}
	return found
}

// oauth is how a Deployment shows to the hub who it is, where it goes there.
func oauth(all set, d object) (mechanism, file, client string, err error) {
	switch texts(d.at(container + ".args"))[0] {
	case "stamp", "forward":
		s, err := settings(all, d, config.DefaultStamp())
		return s.Hub.SASL.Mechanism, s.Hub.SASL.OAuth.AssertionFile, s.Hub.SASL.OAuth.ClientID, err
	case "stream":
		s, err := settings(all, d, config.DefaultStream())
		return s.Hub.SASL.Mechanism, s.Hub.SASL.OAuth.AssertionFile, s.Hub.SASL.OAuth.ClientID, err
	}
	return "", "", "", nil
}

// needed wants an identity for tokens of the hub and for what comes from the vault,
// and each to ask in its own name.
func needed(all set, d object) []string {
	_, file, client, err := oauth(all, d)
	if err != nil {
		return []string{err.Error()}
	}
	id := account(all, d).text(clientID)
	var found []string
	needs := file != ""
	if needs && client != id {
		found = append(found, fmt.Sprintf("asks for tokens as %q, and is %q", client, id))
	}
	for _, v := range d.list(pod + ".volumes") {
		name := v.text("csi.volumeAttributes.secretProviderClass")
		if name == "" {
			continue
		}
		needs = true
		c := all["SecretProviderClass/"+name]
		if c.text("spec.parameters.clientID") != id || c.text("spec.parameters.keyvaultName") == "" || c.text("spec.parameters.tenantId") == "" {
			found = append(found, name+": whose vault, and who asks?")
		}
	}
	if has := id != ""; has != needs {
		found = append(found, fmt.Sprintf("needs an identity: %v, has one: %v", needs, has))
	}
	if uses := d.text(useID) == "true"; uses != needs {
		found = append(found, fmt.Sprintf("needs tokens: %v, gets them: %v", needs, uses))
	}
	return found
}

// passwordless wants tokens for the hub, files from the vault, and stream nodes to
// be somebody else than those who send.
func passwordless(all set, d object) []string {
	var found []string
	for _, v := range d.list(pod + ".volumes") {
		if name := v.text("secret.secretName"); name != "" && (component(d) != "door" || name != "postroad-edge-tls") {
			found = append(found, "a Secret")
		}
	}
	if component(d) == "door" {
		return found // goes to no hub
	}
	mechanism, file, _, err := oauth(all, d)
	if err != nil {
		return append(found, err.Error())
	}
	if mechanism != "OAUTHBEARER" || file == "" {
		found = append(found, "the hub is reached by "+mechanism)
	}
	if component(d) == "stream" && account(all, d).text(clientID) == account(all, all[gatewayD]).text(clientID) {
		found = append(found, "a stream node may send")
	}
	return found
}

// workload is a line of what Azure gives identities to.
var workload = regexp.MustCompile(`(\w+) += \{ service_account = "([^"]+)", send = (\w+), receive = (\w+) \}`)

// unmatched compares the accounts that have an identity in Azure, as the module for a
// stamp has them by default, with those of a stamp's manifests that need one.
func unmatched(azure string, all set) []string {
	_, azure, _ = strings.Cut(azure, `variable "workloads" {`)
	azure, _, _ = strings.Cut(azure, "\n}\n")
	given := map[string][]string{}
	for _, m := range workload.FindAllStringSubmatch(azure, -1) {
		given[m[2]] = m[3:]
	}
	var found []string
	for _, d := range all.of("Deployment") {
		name, needs := d.text(pod+".serviceAccountName"), account(all, d).text(clientID) != ""
		rights, has := given[name]
		if has != needs {
			found = append(found, fmt.Sprintf("%s: Azure gives it an identity: %v, needs one: %v", name, has, needs))
		}
		delete(given, name)
		sends := texts(d.at(container + ".args"))[0] != "stream"
		if has && fmt.Sprint(rights) != fmt.Sprint([]bool{sends, true}) {
			found = append(found, fmt.Sprintf("%s: may send and receive: %v", name, rights))
		}
	}
	for name := range given {
		found = append(found, "Azure knows an account that is none: "+name)
	}
	return found
}

// Azure knows the accounts that the chart makes by their names: where these differ
// no pod would get a token.
func TestIdentitiesAreThoseOfAzure(t *testing.T) {
	azure := string(read(t, "deploy/azure/modules/stamp/variables.tf"))
	for _, stamp := range []string{"cloud-green", "cloud-blue"} {
		for _, problem := range unmatched(azure, rendered(t, stamp)) {
			t.Errorf("%s: %s", stamp, problem)
		}
	}
	for from, to := range map[string]string{
		`service_account = "postroad-gateway"`:               `service_account = "postroad"`,
		`"postroad-stream", send = false`:                    `"postroad-stream", send = true`,
		`"postroad-gateway", send = true, receive = true`:    `"postroad-gateway", send = true, receive = false`,
		`    stream  = { service_account = "postroad-stream`: `    door = { service_account = "postroad-door`,
	} {
		wrong := strings.Replace(azure, from, to, 1)
		if wrong == azure || len(unmatched(wrong, rendered(t, "cloud-green"))) == 0 {
			t.Errorf("%s for %s is not noticed", to, from)
		}
	}
}
