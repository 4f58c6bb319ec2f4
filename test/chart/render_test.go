package chart

import (
	"slices"
	"strings"
	"sync"
	"testing"
)

// variants are sets of values that tests look at: those of the stamps, and some
// that show what no stamp uses.
func variants() map[string][]string {
	all := map[string][]string{}
	for stamp, profile := range stamps {
		all[stamp] = []string{"-f", profilesDir + "/" + profile + ".yaml", "-f", appsDir + "/" + stamp + "/values.yaml"}
	}
	all["plain"] = []string{"--set", "stamp.name=plain,config.stream.stream.topics={messages}"}
	all["separate"] = slices.Concat(all["cloud-green"], []string{"-f", "test/chart/testdata/separate.yaml"})
	all["halves"] = slices.Concat(all["onprem"], []string{"--set", "mode=separate"})
	all["single"] = []string{"-f", "test/chart/testdata/single.yaml"}
	all["share"] = slices.Concat(all["cloud-green"], []string{"-f", "test/chart/testdata/share.yaml"})
	all["small"] = []string{"-f", "test/chart/testdata/small.yaml"}
	return all
}

// template renders the chart as helm does.
func template(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return tools.run(t, nil, "helm", append([]string{
		"template", "postroad", chartDir, "--namespace", "postroad", "--kube-version", "1.35.4",
	}, args...)...)
}

var renderings sync.Map

// rendered is what the chart makes of a variant. Each call returns objects of
// its own.
func rendered(t testing.TB, variant string) set {
	t.Helper()
	once, _ := renderings.LoadOrStore(variant, sync.OnceValues(func() (string, error) { return template(t, variants()[variant]...) }))
	out, err := once.(func() (string, error))()
	if err != nil {
		t.Fatalf("%s: %v", variant, err)
	}
	return objects(t, []byte(out))
}

// Values that cannot work are refused, each with a word on what is wrong.
func TestRefusals(t *testing.T) {
	for _, row := range []struct {
		args []string
		want string
	}{
		{nil, "stamp.name"},
		{[]string{"--set", "stamp.name=A"}, "name"},
		{[]string{"--set", "stamp.name=a", "--set", "gatway.replicas=3"}, "gatway"},
		{[]string{"--set", "stamp.name=a", "--set", "config.stamp.queue.dirs=x"}, "dirs"},
		{[]string{"--set", "stamp.name=a", "--set", "hub.brokers=x"}, "brokers"},
		{[]string{"--set", "stamp.name=a", "--set", "mode=both"}, "mode"},
		{[]string{"--set", "stamp.name=a", "--set", "image.digest=sha256:1"}, "digest"},
		{[]string{"--set", "stamp.name=a", "--set", "stream.disruption=minAvailable=2"}, "no node could ever be drained"},
		{[]string{"--set", "stamp.name=a", "--set", "stream.autoscaling.min=7"}, "autoscaling.min"},
		{[]string{"--set", "stamp.name=a", "--set", "queue.storage.accessMode=ReadWriteOnce"}, "ReadWriteOnce"},
		{[]string{"--set", "stamp.name=a", "--set", "queue.storage.kind=nfs"}, "nfs.server"},
		{[]string{"--set", "stamp.name=a", "--set", "queue.storage.kind=claim"}, "existingClaim"},
		{[]string{"--set", "stamp.name=a", "--set", "queue.storage.kind=azureFile,queue.storage.azureFile.share=x"}, "resourceGroup"},
		{[]string{"--set", "stamp.name=a", "--set", "queue.storage.kind=azureFile,queue.storage.azureFile.account=x"}, "azureFile.share"},
		{[]string{"--set", "stamp.name=a", "--set", "queue.storage.kind=azureFile,queue.storage.azureFile.sku=Premium_LRS"}, "sku"},
		{[]string{"--set", "stamp.name=a", "--set", "queue.storage.kind=azureFile,queue.storage.azureFile.sku=Standard_ZRS"}, "has no NFS"},
		{[]string{"--set", "stamp.name=a,gateway.service.type=LoadBalancer"}, "gateway.open"},
		{[]string{"--set", "stamp.name=a,door.enabled=true"}, "gateway.open"},
		{[]string{"--set", "stamp.name=a,prepull.enabled=true"}, "prepull.pause"},
		{[]string{"--set", "stamp.name=a,door.enabled=true,door.serves=streams,stream.enabled=false"}, "door.serves"},
		{[]string{"--set", "stamp.name=a,expose=Ingress,ingress.host=a.example"}, "gateway.open"},
		{[]string{"--set", "stamp.name=a", "--set", "hub.sasl.oauth.token_url=https://login.example/x,hub.brokers={hub.example:9093}"}, "networkPolicy.hub.ports: 443"},
		{[]string{"--set", "stamp.name=a", "--set", "hub.brokers={hub.example:19092}"}, "networkPolicy.hub.ports: 19092"},
		{[]string{"--set", "stamp.name=a", "--set", "hub.brokers={hub.example:9093},hub.proxy=http://proxy.example:3128"}, "networkPolicy.hub.ports: 3128"},
		{[]string{"--set", "stamp.name=a", "--set", "hub.dialect=postroad,hub.relay.url=https://other.example"}, "networkPolicy.hub.ports: 443"},
		{[]string{"--set", "stamp.name=a", "--set", "gateway.open=true,door.enabled=true,config.door.door.origins[0].name=x,config.door.door.origins[0].url=http://x.example:7000"}, "networkPolicy.door.ports: 7000"},
		{[]string{"--set", "stamp.name=a", "--set", "gateway.open=true,door.enabled=true,config.door.door.groups.g.origins[0].name=x,config.door.door.groups.g.origins[0].dns=http://x.example:7000"}, "networkPolicy.door.ports: 7000"},
		{[]string{"--set", "stamp.name=a", "--set", "secrets.x.keyVault[0].object=o,secrets.x.keyVault[0].file=f,secrets.x.components={stream}"}, "workloadIdentity.enabled"},
		{[]string{"--set", "stamp.name=a,gateway.open=true", "--set", "expose=Ingress"}, "ingress.host"},
		{[]string{"--set", "stamp.name=a,gateway.open=true", "--set", "expose=HTTPRoute"}, "parentRefs"},
		{[]string{"--set", "stamp.name=a", "--set", "workloadIdentity.enabled=true,hub.sasl.mechanism=OAUTHBEARER,hub.sasl.oauth.assertion_file=/t"}, "clientId"},
		{[]string{"--set", "stamp.name=a,mode=separate,forwarder.scaling=backlog"}, "prometheus"},
		{[]string{"--set", "stamp.name=a,gateway.drain.delay=soon"}, "delay"},
	} {
		if out, err := template(t, append([]string{"--set", "config.stream.stream.topics={messages}"}, row.args...)...); err == nil {
			t.Errorf("%v: is taken:\n%.300s", row.args, out)
		} else if !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v: %v, want %q", row.args, err, row.want)
		}
	}
}

func TestStreamNodesNeedTopics(t *testing.T) {
	if out, err := template(t, "--set", "stamp.name=a"); err == nil || !strings.Contains(err.Error(), "config.stream.stream.topics") {
		t.Errorf("%v\n%.300s", err, out)
	}
	if _, err := template(t, "--set", "stamp.name=a,stream.enabled=false"); err != nil {
		t.Error(err)
	}
}

// A change of settings makes new pods, but of a door whose own section changed: it
// reads that again by itself.
func TestSettingsMakeNewPods(t *testing.T) {
	const sum = `spec.template.metadata.annotations.checksum/config`
	before := rendered(t, "onprem")
	for _, row := range []struct{ set, renewed string }{
		{"config.stamp.log.level=debug", "gateway"},
		{"config.stream.log.level=debug", "stream"},
		{"config.door.log.level=debug", "door"},
		{"config.door.http.drain_delay=20s", "door"},
		{"config.door.door.hedge.enabled=false", ""},
		{"config.door.http.clients.connections=100", ""},
		{"hub.generation=2", "gateway stream"},
		{"labels.team=a", ""},
	} {
		out, err := template(t, append(variants()["onprem"], "--set", row.set)...)
		if err != nil {
			t.Fatal(err)
		}
		after := objects(t, []byte(out))
		for _, d := range before.of("Deployment") {
			was, is := d.text(sum), after[d.id()].text(sum)
			if was == "" || (was != is) != slices.Contains(strings.Fields(row.renewed), component(d)) {
				t.Errorf("%s: %s: %q, then %q", row.set, d.id(), was, is)
			}
		}
	}
}
