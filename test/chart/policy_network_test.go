package chart

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"postroad/internal/config"
)

func networkProperties() []property {
	return []property{
		{
			name: "each pod is closed to all but what is named", find: each("Deployment", closed),
			flips: []flip{
				{"onprem", "NetworkPolicy/postroad-gateway", "spec.policyTypes", []any{"Ingress"}},
				{"onprem", "NetworkPolicy/postroad-stream", "spec.podSelector.matchLabels", map[string]any{"app": "x"}},
				{"onprem", "NetworkPolicy/postroad-door", "spec.ingress.1.from", nil},
				{"onprem", "NetworkPolicy/postroad-gateway", "spec.ingress.0", map[string]any{}},
				{"onprem", "NetworkPolicy/postroad-gateway", "spec.egress.0", map[string]any{}},
				{"onprem", "NetworkPolicy/postroad-gateway", "spec.egress.0.to", nil},
				{"separate", "NetworkPolicy/postroad-stream", "spec.egress.2", map[string]any{"ports": []any{map[string]any{"port": 53}}}},
				{"separate", "NetworkPolicy/postroad-forwarder", "spec.ingress.0.ports.0.port", "http"},
			},
		},
		{
			name: "a gateway alone has no way to the hub and none of its secrets", only: []string{"separate"},
			find: func(all set) []string {
				var found []string
				for _, rule := range all["NetworkPolicy/postroad-gateway"].list("spec.egress") {
					for _, p := range rule.list("ports") {
						if p.text("port") != "53" {
							found = append(found, "a gateway may reach port "+p.text("port"))
						}
					}
				}
				for _, v := range all[gatewayD].list(pod + ".volumes") {
					if v.text("name") == "secret-hub" {
						found = append(found, "a gateway has the hub's secret")
					}
				}
				return found
			},
			flips: []flip{
				{"separate", "NetworkPolicy/postroad-gateway", "spec.egress.0.ports.0.port", 9093},
				{"separate", gatewayD, pod + ".volumes.0.name", "secret-hub"},
			},
		},
		{
			name: "Services lead to pods", find: each("Service", served),
			flips: []flip{
				{"onprem", "Service/postroad-gateway", `spec.selector.app\.kubernetes\.io/component`, "stamp"},
				{"onprem", "Service/postroad-stream", "spec.ports.0.targetPort", "web"},
				{"onprem", "Service/postroad-admin", "spec.ports.0.targetPort", "http"},
				{"onprem", "Service/postroad-admin", "spec.publishNotReadyAddresses", false},
				{"onprem", "Service/postroad-admin", "spec.clusterIP", nil},
				{"onprem", "Service/postroad-admin", "spec.type", "LoadBalancer"},
			},
		},
		{
			name: "stream nodes have a balancer and a host name of their own", only: []string{"onprem", "cloud-green", "cloud-blue", "separate"},
			find: func(all set) []string {
				s := all["Service/postroad-stream"]
				found := want(s, map[string]any{"spec.type": "LoadBalancer", "spec.ports.0.port": 80, "spec.externalTrafficPolicy": "Local"})
				if !strings.HasPrefix(s.text(`metadata.annotations.external-dns\.alpha\.kubernetes\.io/hostname`), "stream") {
					found = append(found, "no host name")
				}
				for _, p := range all[streamD].list(container + ".ports") {
					if p.text("name") == "http" && p.text("containerPort") != "8800" {
						found = append(found, "not port 8800")
					}
				}
				return found
			},
			flips: []flip{
				{"onprem", "Service/postroad-stream", "spec.type", "ClusterIP"},
				{"onprem", "Service/postroad-stream", "spec.ports.0.port", 8800},
				{"onprem", "Service/postroad-stream", "spec.externalTrafficPolicy", "Cluster"},
				{"onprem", "Service/postroad-stream", "metadata.annotations", nil},
				{"onprem", streamD, container + ".ports.0.containerPort", 80},
			},
		},
		{
			name: "the door looks its stamp's pods up one by one", only: []string{"onprem", "separate", "small"}, find: lookedUp,
			flips: []flip{
				{"onprem", "Service/postroad-gateway-pods", "spec.clusterIP", nil},
				{"onprem", "Service/postroad-gateway-pods", "spec.ports.0.port", 80},
				{"onprem", "Service/postroad-stream-pods", "spec.publishNotReadyAddresses", true},
				{"onprem", "Service/postroad-stream-pods", "spec.clusterIP", "10.0.0.1"},
				{"onprem", "ConfigMap/postroad-door", `data.door\.yaml`, "door: {groups: {gateways: {origins: [{name: a, dns: http://other:8081}]}, streams: {origins: [{name: a, dns: http://postroad-stream-pods:8800}]}}}\n"},
				{"onprem", "ConfigMap/postroad-door", `data.door\.yaml`, "door: {origins: [{name: onprem, url: http://postroad-gateway, stream: http://postroad-stream}]}\n"},
				{"separate", "NetworkPolicy/postroad-door", "spec.egress.1.ports", []any{map[string]any{"port": 443}}},
			},
		},
		{
			name: "what clients elsewhere reach in the cloud has TLS", only: []string{"cloud-green", "cloud-blue", "share"}, find: encrypted,
			flips: []flip{
				{"cloud-green", "Service/postroad-stream", `metadata.annotations.service\.beta\.kubernetes\.io/azure-load-balancer-internal`, nil},
				{"cloud-green", "Service/postroad-stream", `metadata.annotations.service\.beta\.kubernetes\.io/azure-load-balancer-internal`, "false"},
				{"cloud-green", "Service/postroad-gateway", "spec.type", "LoadBalancer"},
				{"cloud-green", "Service/postroad-door", "spec.ports.0.port", 80},
				{"cloud-green", "ConfigMap/postroad-door", `data.door\.yaml`, "door: {groups: {streams: {origins: [{name: a, dns: http://postroad-stream-pods:8800}]}}}\n"},
				{"cloud-green", "ConfigMap/postroad-door", `data.door\.yaml`, "http: {tls: {cert_file: /c, key_file: /c}}\ndoor: {groups: {gateways: {origins: [{name: a, dns: http://postroad-gateway-pods:8081}]}}}\n"},
				{"cloud-green", doorD, container + ".volumeMounts.1.mountPath", "/etc/postroad/secrets/other"},
				{"cloud-green", "Service/postroad-door", "spec.ports.0.appProtocol", "http"},
				{"cloud-green", "Ingress/postroad", "spec.tls", nil},
			},
		},
		{
			name: "Prometheus finds the admin listeners", only: []string{"separate"},
			find: func(all set) []string {
				m := all["ServiceMonitor/postroad"]
				found := want(m, map[string]any{"spec.endpoints.0.path": "/metrics", "spec.endpoints.0.port": "admin"})
				if !matches(m.at("spec.selector.matchLabels"), all["Service/postroad-admin"].at("metadata.labels")) {
					found = append(found, "finds no Service")
				}
				return found
			},
			flips: []flip{
				{"separate", "ServiceMonitor/postroad", "spec.selector.matchLabels", map[string]any{"app": "x"}},
				{"separate", "ServiceMonitor/postroad", "spec.endpoints.0.port", "http"},
				{"separate", "Service/postroad-admin", "metadata.labels", map[string]any{}},
			},
		},
		{
			name: "what comes in by the cloud's edge is asked for its health", only: []string{"cloud-green", "cloud-blue"},
			find: func(all set) []string {
				i := all["Ingress/postroad"]
				found := want(i, map[string]any{
					"spec.ingressClassName": "azure-application-gateway",
					`metadata.annotations.appgw\.ingress\.kubernetes\.io/health-probe-path`:         "/healthz",
					`metadata.annotations.appgw\.ingress\.kubernetes\.io/connection-draining`:       "true",
					`metadata.annotations.appgw\.ingress\.kubernetes\.io/health-probe-status-codes`: "200",
				})
				if wait, err := settings(all, all[gatewayD], config.DefaultStamp()); err != nil || number(i.at(`metadata.annotations.appgw\.ingress\.kubernetes\.io/request-timeout`)) <= int(wait.Gateway.WaitMax.Seconds()) {
					found = append(found, "callers may wait for longer than the gateway does")
				}
				if len(i.list("spec.tls")) == 0 {
					found = append(found, "plain HTTP")
				}
				return append(found, backends(all, i)...)
			},
			flips: []flip{
				{"cloud-green", "Ingress/postroad", `metadata.annotations.appgw\.ingress\.kubernetes\.io/health-probe-path`, "/"},
				{"cloud-green", "Ingress/postroad", `metadata.annotations.appgw\.ingress\.kubernetes\.io/connection-draining`, nil},
				{"cloud-green", "Ingress/postroad", "spec.ingressClassName", "nginx"},
				{"cloud-green", "Ingress/postroad", `metadata.annotations.appgw\.ingress\.kubernetes\.io/request-timeout`, "30"},
				{"cloud-green", "Ingress/postroad", `metadata.annotations.appgw\.ingress\.kubernetes\.io/health-probe-status-codes`, "200-499"},
				{"cloud-green", "Ingress/postroad", "spec.tls", nil},
				{"cloud-green", "Ingress/postroad", "spec.rules.0.http.paths.0.backend.service.name", "postroad"},
			},
		},
		{
			name: "routes lead to Services", only: []string{"separate"},
			find: each("HTTPRoute", func(all set, r object) []string {
				b := list(r.at("spec.rules"))[0].list("backendRefs")
				if len(b) != 1 || all["Service/"+b[0].text("name")].text("spec.ports.0.port") != b[0].text("port") {
					return []string{fmt.Sprintf("leads to %v", b)}
				}
				timeout := "60s"
				if b[0].text("name") == "postroad-stream" {
					timeout = "0s" // streams last
				}
				return want(r, map[string]any{"metadata.name": b[0].text("name"), "spec.rules.0.timeouts.request": timeout})
			}),
			flips: []flip{
				{"separate", "HTTPRoute/postroad-gateway", "spec.rules.0.backendRefs.0.port", 8081},
				{"separate", "HTTPRoute/postroad-stream", "spec.rules.0.backendRefs.0.name", "postroad-gateway"},
				{"separate", "HTTPRoute/postroad-stream", "spec.rules.0.timeouts", nil},
				{"separate", "HTTPRoute/postroad-gateway", "spec.rules.0.timeouts.request", "15s"},
			},
		},
	}
}

// lookedUp follows the names by which a door finds the pods of its own stamp, and
// wants them to lead to ports of pods that are ready, and the door to get there.
func lookedUp(all set) []string {
	s, err := settings(all, all[doorD], config.DefaultDoor())
	if err != nil {
		return []string{err.Error()}
	}
	open := map[string]bool{}
	for _, rule := range all["NetworkPolicy/postroad-door"].list("spec.egress") {
		for _, p := range rule.list("ports") {
			open[p.text("port")] = true
		}
	}
	var found []string
	for _, name := range []string{"gateways", "streams"} {
		origins := s.Door.Groups[name].Origins
		if len(origins) == 0 {
			found = append(found, "no group "+name)
			continue
		}
		host, port, _ := strings.Cut(strings.TrimPrefix(origins[0].DNS, "http://"), ":")
		service := all["Service/"+host]
		if service == nil {
			found = append(found, fmt.Sprintf("%s: no Service %q", name, host))
			continue
		}
		for _, problem := range want(service, map[string]any{"spec.clusterIP": "None", "spec.publishNotReadyAddresses": nil, "spec.ports.0.port": port}) {
			found = append(found, host+": "+problem)
		}
		if !open[port] {
			found = append(found, "the door may not go to port "+port)
		}
	}
	return found
}

// encrypted wants each way in from the internet to have TLS, the door to lead to
// stream nodes alone, and what speaks plain HTTP to be inside.
func encrypted(all set) []string {
	var found []string
	for _, s := range all.of("Service") {
		public := s.text("spec.type") != "" && s.text("spec.type") != "ClusterIP" &&
			s.text(`metadata.annotations.service\.beta\.kubernetes\.io/azure-load-balancer-internal`) != "true"
		if !public {
			continue
		}
		if s.text("metadata.name") != "postroad-door" || s.text("spec.ports.0.port") != "443" || s.text("spec.ports.0.appProtocol") != "https" {
			found = append(found, s.id()+" is open to all, in plain")
		}
	}
	s, err := settings(all, all[doorD], config.DefaultDoor())
	if err != nil {
		return append(found, err.Error())
	}
	mounted := false
	for _, m := range all[doorD].list(container + ".volumeMounts") {
		mounted = mounted || path.Dir(s.HTTP.TLS.CertFile) == m.text("mountPath") && path.Dir(s.HTTP.TLS.KeyFile) == m.text("mountPath")
	}
	if !mounted {
		found = append(found, "the door has no certificate")
	}
	for name := range s.Door.Groups {
		if name != "streams" {
			found = append(found, "the door leads to "+name)
		}
	}
	if len(all["Ingress/postroad"].list("spec.tls")) == 0 {
		found = append(found, "the Ingress has no certificate")
	}
	return found
}

// backends follows the rules of an Ingress.
func backends(all set, i object) []string {
	var found []string
	for _, rule := range i.list("spec.rules") {
		for _, path := range rule.list("http.paths") {
			s := all["Service/"+path.text("backend.service.name")]
			if s == nil || s.text("spec.ports.0.name") != path.text("backend.service.port.name") {
				found = append(found, "leads to "+path.text("backend.service.name"))
			}
		}
	}
	return found
}

// closed wants one policy for each Deployment, no rule that allows everything,
// and the admin listener to be open to those only who are named.
func closed(all set, d object) []string {
	var own []object
	for _, n := range all.of("NetworkPolicy") {
		if matches(n.at("spec.podSelector.matchLabels"), d.at(podLabels)) {
			own = append(own, n)
		}
	}
	if len(own) != 1 {
		return []string{fmt.Sprintf("%d policies", len(own))}
	}
	n := own[0]
	found := want(n, map[string]any{"spec.policyTypes": []any{"Ingress", "Egress"}})
	reachesGateways := false
	for _, rule := range n.list("spec.ingress") {
		found = append(found, openRule(d, rule)...)
	}
	for _, rule := range n.list("spec.egress") {
		ports := rule.list("ports")
		if len(ports) == 0 {
			found = append(found, "goes everywhere")
		}
		for _, p := range ports {
			if p.text("port") == "53" && rule.at("to") == nil {
				found = append(found, "asks names of anybody")
			}
			reachesGateways = reachesGateways || p.text("port") == "8081"
		}
	}
	if component(d) == "stream" && !reachesGateways {
		found = append(found, "cannot publish")
	}
	return found
}

func openRule(d, rule object) []string {
	var found []string
	ports := rule.list("ports")
	if len(ports) == 0 {
		found = append(found, "every port is open")
	}
	for _, p := range ports {
		switch {
		case p.text("port") == "admin" && len(rule.list("from")) == 0:
			found = append(found, "the admin listener is open to all")
		case p.text("port") == "http" && component(d) == "forwarder":
			found = append(found, "a forwarder is open")
		}
	}
	return found
}

// served follows a Service to ports of pods.
func served(all set, s object) []string {
	var found []string
	admin := strings.HasSuffix(s.text("metadata.name"), "-admin")
	pods := all.selectsPods(s.at("spec.selector"))
	if len(pods) == 0 || !admin && len(pods) > 1 {
		found = append(found, fmt.Sprintf("leads to %d Deployments", len(pods)))
	}
	target := s.text("spec.ports.0.targetPort")
	for _, d := range pods {
		if !slices.ContainsFunc(d.list(container+".ports"), func(p object) bool { return p.text("name") == target }) {
			found = append(found, d.id()+" has no port "+target)
		}
	}
	if admin {
		found = append(found, want(s, map[string]any{
			"spec.clusterIP": "None", "spec.publishNotReadyAddresses": true, "spec.ports.0.targetPort": "admin", "spec.type": nil,
		})...)
	} else if target == "admin" {
		found = append(found, "the admin listener is no Service")
	}
	return found
}

// unreachable looks for origins of a site's door that are host names of Services of
// another stamp, and wants each to be served there as it is asked for.
func unreachable(site set, others ...set) ([]string, int) {
	s, err := settings(site, site[doorD], config.DefaultDoor())
	if err != nil {
		return []string{err.Error()}, 0
	}
	var found []string
	known := 0
	for _, g := range s.Door.Groups {
		for _, o := range g.Origins {
			for _, other := range others {
				for _, service := range other.of("Service") {
					host := service.text(`metadata.annotations.external-dns\.alpha\.kubernetes\.io/hostname`)
					if host == "" || !strings.HasSuffix(o.URL, "://"+host) {
						continue
					}
					known++
					port := map[string]string{"https": "443", "http": "80"}[strings.TrimSuffix(o.URL, "://"+host)]
					if service.text("spec.ports.0.port") != port || service.text("spec.type") != "LoadBalancer" {
						found = append(found, fmt.Sprintf("%s: not served by %s", o.URL, service.id()))
					}
				}
			}
		}
	}
	return found, known
}

// What the site's door turns to when the site is down is there in the cloud.
func TestSiteReachesTheCloud(t *testing.T) {
	problems, known := unreachable(rendered(t, "onprem"), rendered(t, "cloud-green"), rendered(t, "cloud-blue"))
	for _, problem := range problems {
		t.Error(problem)
	}
	if known == 0 {
		t.Error("no origin is a Service of another stamp")
	}
	for _, f := range []flip{
		{"", "Service/postroad-door", "spec.ports.0.port", 80},
		{"", "Service/postroad-door", "spec.type", "ClusterIP"},
		{"", "Service/postroad-door", `metadata.annotations.external-dns\.alpha\.kubernetes\.io/hostname`, "other.example"},
	} {
		green := rendered(t, "cloud-green")
		green[f.object].put(t, f.path, f.to)
		if problems, known := unreachable(rendered(t, "onprem"), green); len(problems) == 0 && known > 0 {
			t.Errorf("%s: %s = %v is not noticed", f.object, f.path, f.to)
		}
	}
}
