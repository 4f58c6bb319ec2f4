package chart

import "slices"

// smallProperties are what a cluster that has little has to be able to set.
func smallProperties() []property {
	const digest = "192.0.2.1:5000/postroad@sha256:2222222222222222222222222222222222222222222222222222222222222222"
	return []property{
		{
			name: "a cluster of two cores gets what it sets", only: []string{"small"},
			find: func(all set) []string {
				return slices.Concat(
					each("Deployment", func(_ set, d object) []string {
						return want(d, map[string]any{
							container + ".image": digest, container + ".resources.requests": map[string]any{"cpu": "20m", "memory": "48Mi"},
						})
					})(all),
					want(all["Service/postroad-gateway"], map[string]any{"spec.type": "NodePort", "spec.ports.0.nodePort": 30081}),
					want(all["Service/postroad-stream"], map[string]any{"spec.type": "NodePort", "spec.ports.0.nodePort": 30800, "spec.externalTrafficPolicy": "Cluster"}),
					want(all["Service/postroad-door"], map[string]any{"spec.type": "NodePort", "spec.ports.0.nodePort": 30080}),
					want(all[gatewayD], map[string]any{pod + ".volumes.1.persistentVolumeClaim.claimName": "small-queue", "spec.replicas": 2}),
					want(all["HorizontalPodAutoscaler/postroad-stream"], map[string]any{
						"spec.behavior.scaleDown.stabilizationWindowSeconds": 15, "spec.behavior.scaleDown.policies.0.periodSeconds": 15,
					}),
					want(all["NetworkPolicy/postroad-gateway"], map[string]any{"spec.egress.1.ports.0.port": 19092}),
				)
			},
			flips: []flip{
				{"small", gatewayD, container + ".image", "postroad:0.1.0"},
				{"small", doorD, container + ".resources.requests.cpu", "250m"},
				{"small", gatewayD, pod + ".volumes.1.persistentVolumeClaim.claimName", "postroad-queue"},
				{"small", "Service/postroad-gateway", "spec.ports.0.nodePort", nil},
				{"small", "Service/postroad-stream", "spec.externalTrafficPolicy", "Local"},
				{"small", "Service/postroad-door", "spec.type", "LoadBalancer"},
				{"small", "HorizontalPodAutoscaler/postroad-stream", "spec.behavior.scaleDown.policies.0.periodSeconds", 120},
				{"small", "NetworkPolicy/postroad-gateway", "spec.egress.1.ports.0.port", 9093},
			},
		},
	}
}
