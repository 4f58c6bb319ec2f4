package chart

import (
	"fmt"
	"strconv"
	"strings"

	"postroad/internal/config"
)

func memoryProperties() []property {
	return []property{
		{
			name: "what a process may hold fits its memory", find: each("Deployment", fits),
			flips: []flip{
				{"onprem", "ConfigMap/postroad-stream", `data.stream\.yaml`, "stream: {topics: [messages]}\n"},
				{"onprem", "ConfigMap/postroad-door", `data.door\.yaml`, "door: {origins: [{name: a, url: http://a}]}\n"},
				{"onprem", "ConfigMap/postroad-stamp", `data.stamp\.yaml`, "stamp: {name: onprem}\nqueue: {dir: /q}\ngateway: {overload: {max_bytes: 1073741824}}\n"},
				{"separate", "ConfigMap/postroad-stamp", `data.stamp\.yaml`, "stamp: {name: onprem}\nqueue: {dir: /q}\nforward: {late_ids: 20000000}\n"},
				{"onprem", gatewayD, container + ".resources.limits.memory", "512Mi"},
				{"onprem", streamD, container + ".resources.limits.memory", "200Mi"},
				{"onprem", doorD, container + ".resources.limits.memory", "256Mi"},
				{"separate", forwarderD, container + ".resources.limits.memory", "64Mi"},
			},
		},
	}
}

const (
	// itself is what a process takes with nothing to do, connection what an idle
	// client of a stream node takes and carried what one through the door does, in
	// bytes: measured, docs/performance.md and docs/deploy/sizing.md.
	itself, connection, carried = 32 << 20, 6 << 10, 48 << 10
	// socket is what the kernel takes for one that is idle, and charges the container for:
	// 3.8 KiB where 12,000 of them were opened on one machine.
	socket = 4 << 10
	// supposedPartitions are reckoned with, and perPartition their look-back and ring.
	supposedPartitions, perPartition = 8, (1 + 2) << 20
	// perKey and perEntry are what docs/reference/config.md says of keys of requests
	// and of ids that forwarders look for.
	perKey, perEntry = 110, 2 * 24
)

// fits adds up what settings let a process hold, and wants it below nine tenths of
// its memory.
func fits(all set, d object) []string {
	holds, err := held(all, d)
	if err != nil {
		return []string{err.Error()}
	}
	if most := quantity(d.text(container+".resources.limits.memory")) * 9 / 10; holds > most {
		return []string{fmt.Sprintf("may hold %d MiB of %d", holds>>20, most>>20)}
	}
	return nil
}

func held(all set, d object) (int64, error) {
	sum := int64(itself)
	switch command := texts(d.at(container + ".args"))[0]; command {
	case "stamp", "gateway", "forward":
		s, err := settings(all, d, config.DefaultStamp())
		if err != nil {
			return 0, err
		}
		if command != "forward" {
			sum += s.Gateway.Overload.MaxBytes + s.Queue.MaxPendingBytes + int64(s.Gateway.Idempotency.MaxKeys)*perKey
		}
		if command != "gateway" {
			sum += s.Forward.MaxInFlightBytes + int64(s.Forward.LateIDs)*perEntry
		}
	case "stream":
		s, err := settings(all, d, config.DefaultStream())
		if err != nil {
			return 0, err
		}
		o := s.Stream
		sum += supposedPartitions*perPartition + int64(o.Limits.Connections)*(connection+socket) + o.Limits.PendingBytes +
			o.Live.LastValues.MaxBytes + int64(o.Live.Recovery.Concurrent)*o.Live.Recovery.MaxHeldBytes
	default:
		s, err := settings(all, d, config.DefaultDoor())
		if err != nil {
			return 0, err
		}
		sum += int64(s.HTTP.Clients.Connections) * (carried + 2*socket)
		for _, g := range s.Door.Groups {
			sum += g.Carry.MaxBuffered
		}
		if len(s.Door.Origins) > 0 {
			sum += 2 * s.Door.Settings.Carry.MaxBuffered // one group of gateways, one of stream nodes
		}
	}
	return sum, nil
}

// quantity is one of memory; 0 where it is none.
func quantity(text string) int64 {
	for unit, size := range map[string]int64{"Mi": 1 << 20, "Gi": 1 << 30} {
		if n, ok := strings.CutSuffix(text, unit); ok {
			v, err := strconv.ParseInt(n, 10, 64)
			if err != nil {
				return 0
			}
			return v * size
		}
	}
	return 0
}
