package kafkatest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The listeners of a node, in Kafka's spelling; callers use lower case.
const (
	listenerPlain = "PLAIN"
	listenerSASL  = "SASL"
	listenerMTLS  = "MTLS"
	// listenerController is the controllers' own.
	listenerController = "CONTROLLER"
)

// listeners are those of a cluster's nodes, the controllers' last.
func (o Options) listeners() []string {
	if o.Secure {
		return []string{listenerPlain, listenerSASL, listenerMTLS, listenerController}
	}
	return []string{listenerPlain, listenerController}
}

// settings are the properties of one node with its data in a directory.
func (c *cluster) settings(n *node, data string) map[string]string {
	var own, voters []string
	for _, l := range c.opts.listeners() {
		own = append(own, l+"://"+n.address(l))
	}
	for _, v := range c.nodes {
		voters = append(voters, fmt.Sprintf("%d@%s", v.id(), v.address(listenerController)))
	}
	replicas := fmt.Sprint(len(c.nodes))
	s := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        fmt.Sprint(n.id()),
		"log.dirs":                       data,
		"listeners":                      strings.Join(own, ","),
		"advertised.listeners":           strings.Join(own[:len(own)-1], ","),
		"listener.security.protocol.map": "PLAIN:PLAINTEXT,SASL:SASL_SSL,MTLS:SSL,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":     listenerPlain,
		"controller.listener.names":      listenerController,
		"controller.quorum.voters":       strings.Join(voters, ","),

		// What an operator would set. A topic that is missing is missing.
		"default.replication.factor": replicas,
		"min.insync.replicas":        fmt.Sprint(majority(len(c.nodes))),
		"num.partitions":             "4",
		"auto.create.topics.enable":  "false",

		// Small, because the machine is.
		"offsets.topic.num.partitions":             "1",
		"offsets.topic.replication.factor":         replicas,
		"transaction.state.log.num.partitions":     "2",
		"transaction.state.log.replication.factor": replicas,
		"transaction.state.log.min.isr":            fmt.Sprint(majority(len(c.nodes))),
		"log.cleaner.dedupe.buffer.size":           "8388608",
		"num.network.threads":                      "2",
		"num.io.threads":                           "4",
		"background.threads":                       "2",
		"group.initial.rebalance.delay.ms":         "0",

		// A broker that is killed is noticed within seconds instead of nine.
		"broker.session.timeout.ms":    "4000",
		"broker.heartbeat.interval.ms": "500",
	}
	if c.opts.Secure {
		maps.Copy(s, c.secureSettings())
	}
	maps.Copy(s, c.opts.Properties)
	return s
}

func majority(n int) int { return n/2 + 1 }

// properties writes settings as Java reads them.
func properties(settings map[string]string) []byte {
	escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s=%s\n", key, escape.Replace(settings[key]))
	}
	return []byte(b.String())
}
