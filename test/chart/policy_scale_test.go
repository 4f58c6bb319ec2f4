package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
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
			name: "an update waits until Application Gateway knows a new pod", only: []string{"cloud-green", "cloud-blue"},
			find: func(all set) []string {
				if ready := number(all[gatewayD].at("spec.minReadySeconds")); ready < 90 || ready >= number(all[gatewayD].at("spec.progressDeadlineSeconds")) {
					return []string{fmt.Sprintf("goes on after %d s", ready)}
				}
				return nil
			},
			flips: []flip{{"cloud-green", gatewayD, "spec.minReadySeconds", 5}, {"cloud-green", gatewayD, "spec.progressDeadlineSeconds", 60}},
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
			name: "autoscalers keep to 50 % CPU with 2 to 5 pods", only: []string{"onprem", "cloud-green", "cloud-blue", "plain", "separate"},
			find: each("HorizontalPodAutoscaler", func(all set, h object) []string {
				found := want(h, map[string]any{
					"spec.minReplicas": 2, "spec.maxReplicas": 5, "spec.metrics.0.resource.name": "cpu", "spec.metrics.0.resource.target.averageUtilization": 50,
					"spec.behavior.scaleDown.stabilizationWindowSeconds": 300, "spec.behavior.scaleDown.policies": []any{map[string]any{"type": "Pods", "value": 1, "periodSeconds": 120}},
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
				{"onprem", "HorizontalPodAutoscaler/postroad-stream", "spec.behavior.scaleDown.policies.0.value", 3},
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
						"spec.fallback.behavior": "currentReplicasIfHigher", "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown.stabilizationWindowSeconds": 300,
					}))
			},
			flips: []flip{
				{"separate", "HorizontalPodAutoscaler/postroad-stream", "spec.metrics.1.pods.metric.name", "connections"},
				{"separate", "ScaledObject/postroad-forwarder", "spec.triggers.0.metadata.query", "1"},
				{"separate", "ScaledObject/postroad-forwarder", "spec.minReplicaCount", 0},
				{"separate", "ScaledObject/postroad-forwarder", "spec.fallback.behavior", "static"},
				{"separate", "ScaledObject/postroad-forwarder", "spec.advanced", nil},
			},
		},
		{
			name: "KEDA may take over from an autoscaler by CPU in one upgrade", only: []string{"halves"},
			find: func(all set) []string {
				return want(all["HorizontalPodAutoscaler/postroad-forwarder"], map[string]any{
					`metadata.annotations.validations\.keda\.sh/hpa-ownership`: "false", "spec.scaleTargetRef.name": "postroad-forwarder",
				})
			},
			flips: []flip{{"halves", "HorizontalPodAutoscaler/postroad-forwarder", "metadata.annotations", nil}},
		},
		{
			name: "a pod is given as long to stop as its drain can take", find: each("Deployment", graceful),
			flips: []flip{
				{"onprem", gatewayD, pod + ".terminationGracePeriodSeconds", 30},
				{"onprem", streamD, pod + ".terminationGracePeriodSeconds", 65},
				{"separate", forwarderD, pod + ".terminationGracePeriodSeconds", 600},
				{"onprem", doorD, pod + ".terminationGracePeriodSeconds", nil},
				{"onprem", doorD, pod + ".terminationGracePeriodSeconds", 50},
			},
		},
		{
			name: "a pod that is told to stop goes on until balancers have noticed", find: each("Deployment", noticed),
			flips: []flip{
				{"onprem", "ConfigMap/postroad-stamp", `data.stamp\.yaml`, "stamp: {name: onprem}\nqueue: {dir: /q}\n"},
				{"onprem", "ConfigMap/postroad-stream", `data.stream\.yaml`, "http: {drain_delay: 1s}\nstream: {topics: [messages]}\n"},
				{"onprem", "ConfigMap/postroad-door", `data.door\.yaml`, "http: {drain_delay: 0s}\ndoor: {origins: [{name: a, url: http://a}]}\n"},
				{"cloud-green", "ConfigMap/postroad-stamp", `data.stamp\.yaml`, "http: {drain_delay: 10s}\nstamp: {name: cloud-green}\nqueue: {dir: /q}\n"},
				{"cloud-green", "Ingress/postroad", `metadata.annotations.appgw\.ingress\.kubernetes\.io/health-probe-interval`, nil},
				{"cloud-green", "Ingress/postroad", `metadata.annotations.appgw\.ingress\.kubernetes\.io/health-probe-unhealthy-threshold`, "6"},
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
	c, file := all.settingsOf(d)
	text := c.text("data." + strings.ReplaceAll(file, ".", `\.`))
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
		return s.HTTP.DrainDelay + s.Door.Drain.Timeout + s.HTTP.ShutdownTimeout, err
	}
}

// noticed wants a drain delay of the seconds that doors, and addresses of Services,
// take to follow, and longer than Application Gateway's own probes take where
// requests come by it.
func noticed(all set, d object) []string {
	var delay time.Duration
	var err error
	switch component(d) {
	case "gateway":
		var s config.Stamp
		s, err = settings(all, d, config.DefaultStamp())
		delay = s.HTTP.DrainDelay
	case "stream":
		var s config.Stream
		s, err = settings(all, d, config.DefaultStream())
		delay = s.HTTP.DrainDelay
	case "door":
		var s config.Door
		s, err = settings(all, d, config.DefaultDoor())
		delay = s.HTTP.DrainDelay
	default:
		return nil
	}
	if err != nil {
		return []string{err.Error()}
	}
	least := 5
	const appgw = `metadata.annotations.appgw\.ingress\.kubernetes\.io/health-probe-`
	if i := all["Ingress/postroad"]; i != nil && component(d) == "gateway" {
		probes := number(i.at(appgw+"interval")) * number(i.at(appgw+"unhealthy-threshold"))
		if probes <= 0 {
			return []string{"Application Gateway asks when it likes"}
		}
		least = max(least, probes+5)
	}
	if delay < time.Duration(least)*time.Second {
		return []string{fmt.Sprintf("goes on for %v, and is noticed within %d s", delay, least)}
	}
	return nil
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

// measured are the metrics that the program has, as its source names them.
func measured(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, file := range []string{"internal/stream/metrics.go", "internal/queue/metrics.go"} {
		for _, m := range regexp.MustCompile(`"(postroad_[a-z_]+)"`).FindAllStringSubmatch(string(read(t, file)), -1) {
			all[m[1]] = true
		}
	}
	return all
}

// What autoscalers ask for is something that the program measures.
func TestScalersAskForMetricsThatAreThere(t *testing.T) {
	there := measured(t)
	unknown := func(all set) []string {
		var found []string
		asked := 0
		for _, kind := range []string{"HorizontalPodAutoscaler", "ScaledObject"} {
			for _, o := range all.of(kind) {
				for _, name := range regexp.MustCompile(`postroad_[a-z_]+`).FindAllString(fmt.Sprint(o.at("spec")), -1) {
					asked++
					if !there[name] {
						found = append(found, o.id()+": "+name)
					}
				}
			}
		}
		if asked < 2 {
			found = append(found, "nothing is asked for")
		}
		return found
	}
	for _, problem := range unknown(rendered(t, "separate")) {
		t.Error(problem)
	}
	for _, f := range []flip{
		{"", "HorizontalPodAutoscaler/postroad-stream", "spec.metrics.1.pods.metric.name", "postroad_connections"},
		{"", "ScaledObject/postroad-forwarder", "spec.triggers.0.metadata.query", "max(postroad_queue_messages)"},
	} {
		all := rendered(t, "separate")
		all[f.object].put(t, f.path, f.to)
		if len(unknown(all)) == 0 {
			t.Errorf("%v is not noticed", f.to)
		}
	}
}
