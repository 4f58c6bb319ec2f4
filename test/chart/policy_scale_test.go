package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postroad/internal/config"
)

func scaleProperties() []property {
	return []property{
		{
			name: "an update takes no pod away before the next one is ready", find: each("Deployment", func(_ set, d object) []string {
				if d.text("spec.strategy.type") == "Recreate" && d.text("spec.replicas") == "1" {
					return nil // a disk of its own
				}
				return want(d, map[string]any{"spec.strategy.type": "RollingUpdate", "spec.strategy.rollingUpdate.maxUnavailable": 0, "spec.strategy.rollingUpdate.maxSurge": 1})
			}),
			flips: []flip{
				{"onprem", gatewayD, "spec.strategy.rollingUpdate.maxUnavailable", 1},
				{"onprem", gatewayD, "spec.strategy.type", "Recreate"},
			},
		},
		{
			name: "a drain of a node leaves pods, and can be done", find: each("Deployment", budgeted),
			flips: []flip{
				{"onprem", "PodDisruptionBudget/postroad-stream", "spec.minAvailable", 2},
				{"onprem", "PodDisruptionBudget/postroad-gateway", "spec.maxUnavailable", 0},
				{"onprem", "PodDisruptionBudget/postroad-gateway", "spec.maxUnavailable", 2},
				{"onprem", "PodDisruptionBudget/postroad-gateway", "spec.unhealthyPodEvictionPolicy", nil},
				{"onprem", "PodDisruptionBudget/postroad-gateway", "spec.selector.matchLabels", map[string]any{"app": "x"}},
			},
		},
		{
			name: "one thing at most sets the number of pods", find: each("Deployment", scaled),
			flips: []flip{
				{"onprem", gatewayD, "spec.replicas", 2},
				{"onprem", doorD, "spec.replicas", nil},
				{"separate", "HorizontalPodAutoscaler/postroad-gateway", "spec.scaleTargetRef.name", "postroad-forwarder"},
				{"onprem", "HorizontalPodAutoscaler/postroad-gateway", "spec.minReplicas", 1},
				{"onprem", "HorizontalPodAutoscaler/postroad-gateway", "spec.scaleTargetRef.name", "x"},
			},
		},
		{
			name: "autoscalers keep to 50 % CPU with 2 to 5 pods", find: each("HorizontalPodAutoscaler", func(all set, h object) []string {
				found := want(h, map[string]any{
					"spec.minReplicas": 2, "spec.maxReplicas": 5, "spec.metrics.0.resource.name": "cpu", "spec.metrics.0.resource.target.averageUtilization": 50,
					"spec.behavior.scaleDown.stabilizationWindowSeconds": 300,
				})
				if d := all["Deployment/"+h.text("spec.scaleTargetRef.name")]; d.at(container+".resources.requests.cpu") == nil {
					found = append(found, "percent of nothing")
				}
				return found
			}),
			flips: []flip{
				{"onprem", "HorizontalPodAutoscaler/postroad-stream", "spec.maxReplicas", 50},
				{"onprem", "HorizontalPodAutoscaler/postroad-stream", "spec.minReplicas", 1},
				{"onprem", "HorizontalPodAutoscaler/postroad-stream", "spec.metrics.0.resource.target.averageUtilization", 80},
				{"onprem", "HorizontalPodAutoscaler/postroad-stream", "spec.behavior.scaleDown.stabilizationWindowSeconds", 0},
				{"onprem", streamD, container + ".resources.requests.cpu", nil},
			},
		},
		{
			name: "stream nodes scale by connections where they are counted, forwarders by what waits", only: []string{"separate"},
			find: func(all set) []string {
				return slices.Concat(
					want(all["HorizontalPodAutoscaler/postroad-stream"], map[string]any{
						"spec.metrics.1.pods.metric.name": "postroad_stream_node_connections", "spec.metrics.1.pods.target.averageValue": 5000,
					}),
					want(all["ScaledObject/postroad-forwarder"], map[string]any{
						"spec.triggers.0.metadata.query": `max(postroad_queue_unforwarded_messages{stamp="cloud-green"})`, "spec.minReplicaCount": 2, "spec.maxReplicaCount": 5,
					}))
			},
			flips: []flip{
				{"separate", "HorizontalPodAutoscaler/postroad-stream", "spec.metrics.1.pods.metric.name", "connections"},
				{"separate", "ScaledObject/postroad-forwarder", "spec.triggers.0.metadata.query", "1"},
				{"separate", "ScaledObject/postroad-forwarder", "spec.minReplicaCount", 0},
			},
		},
		{
			name: "a pod is given as long to stop as its drain can take", find: each("Deployment", graceful),
			flips: []flip{
				{"onprem", gatewayD, pod + ".terminationGracePeriodSeconds", 30},
				{"onprem", streamD, pod + ".terminationGracePeriodSeconds", 65},
				{"separate", forwarderD, pod + ".terminationGracePeriodSeconds", 600},
				{"onprem", doorD, pod + ".terminationGracePeriodSeconds", nil},
			},
		},
		{
			name: "what a stream node may hold fits its memory", find: each("Deployment", fits),
			flips: []flip{
				{"onprem", "ConfigMap/postroad-stream", `data.stream\.yaml`, "stream: {topics: [messages]}\n"},
			},
		},
	}
}

func budgeted(all set, d object) []string {
	var own []object
	for _, b := range all.of("PodDisruptionBudget") {
		if fmt.Sprint(b.at("spec.selector.matchLabels")) == fmt.Sprint(d.at("spec.selector.matchLabels")) {
			own = append(own, b)
		}
	}
	if len(own) != 1 {
		return []string{fmt.Sprintf("%d budgets", len(own))}
	}
	found := want(own[0], map[string]any{"spec.unhealthyPodEvictionPolicy": "AlwaysAllow"})
	fewest := all.fewest(d)
	if least := own[0].at("spec.minAvailable"); least != nil && number(least) != 1 || number(least) >= fewest {
		found = append(found, fmt.Sprintf("minAvailable %v of %d", least, fewest))
	}
	if most := own[0].at("spec.maxUnavailable"); most != nil && number(most) != 1 {
		found = append(found, fmt.Sprintf("maxUnavailable %v", most))
	}
	return found
}

func scaled(all set, d object) []string {
	switch scalers := all.scalers(d); {
	case len(scalers) > 1:
		return []string{fmt.Sprintf("%d scalers", len(scalers))}
	case len(scalers) == 1 && d.at("spec.replicas") != nil:
		return []string{"each apply would set back what the scaler did"}
	case all.fewest(d) < 2 && d.text("spec.strategy.type") != "Recreate":
		return []string{fmt.Sprintf("%d pods at least", all.fewest(d))}
	}
	return nil
}

// settings loads the file of a Deployment's ConfigMap, as the program does.
func settings[T any](all set, d object, into T) (T, error) {
	args := texts(d.at(container + ".args"))
	file := filepath.Base(args[len(args)-1])
	text := all["ConfigMap/postroad-"+strings.TrimSuffix(file, ".yaml")].text("data." + strings.ReplaceAll(file, ".", `\.`))
	dir, err := os.MkdirTemp("", "postroad-settings-")
	if err != nil {
		return into, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return into, err
	}
	_, err = config.Load(&into, config.LoadOptions{File: path})
	return into, err
}

// drain is the longest that a process takes to stop, by its settings; the order
// is that of internal/app.
func drain(all set, d object) (time.Duration, error) {
	switch command := texts(d.at(container + ".args"))[0]; command {
	case "stamp", "gateway", "forward":
		s, err := settings(all, d, config.DefaultStamp())
		var sum time.Duration
		if command != "forward" {
			sum += s.HTTP.DrainDelay + s.HTTP.ShutdownTimeout
		}
		if command != "gateway" {
			sum += s.Forward.DrainTimeout
		}
		return sum, err
	case "stream":
		s, err := settings(all, d, config.DefaultStream())
		return s.HTTP.DrainDelay + s.Stream.Drain.Timeout + s.HTTP.ShutdownTimeout, err
	default:
		s, err := settings(all, d, config.DefaultDoor())
		return s.HTTP.DrainDelay + s.HTTP.ShutdownTimeout, err
	}
}

func graceful(all set, d object) []string {
	takes, err := drain(all, d)
	if err != nil {
		return []string{err.Error()}
	}
	given := time.Duration(number(d.at(pod+".terminationGracePeriodSeconds"))) * time.Second
	if given < takes+5*time.Second || given > takes+30*time.Second {
		return []string{fmt.Sprintf("given %v for a drain of %v", given, takes)}
	}
	return nil
}

const (
	// itself is what a stream node takes with nothing to do, and connection what an
	// idle client takes, in bytes; docs/performance.md has what was measured.
	itself, connection = 32 << 20, 6 << 10
	// supposedPartitions are reckoned with, and perPartition their look-back and ring.
	supposedPartitions, perPartition = 8, (1 + 2) << 20
)

// fits adds up what docs/stream.md says a node may hold, for 256 MiB.
func fits(all set, d object) []string {
	if component(d) != "stream" {
		return nil
	}
	s, err := settings(all, d, config.DefaultStream())
	if err != nil {
		return []string{err.Error()}
	}
	o := s.Stream
	sum := int64(itself) + supposedPartitions*perPartition + int64(o.Limits.Connections)*connection + o.Limits.PendingBytes +
		o.Live.LastValues.MaxBytes + int64(o.Live.Recovery.Concurrent)*int64(o.Live.Recovery.MaxHeldBytes)
	if most := int64(256<<20) * 9 / 10; sum > most {
		return []string{fmt.Sprintf("may hold %d MiB of %d", sum>>20, most>>20)}
	}
	return nil
}
