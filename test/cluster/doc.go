// Package cluster runs what is deployed on a real Kubernetes, two stamps of it
// side by side, and does to it what happens to clusters: updates, drains, nodes
// that lose power, a site that is cut off, a stamp that goes and comes back.
//
// The scripts beside this file make the clusters on one bare Debian machine, by
// root: each stamp has a control plane, a registry and some nodes of its own,
// which share nothing with the other's. All of it, with the hub and the clients,
// is in one network namespace without a way out. README.md tells how to use them
// by hand, and what they cannot show.
//
// TestProofCluster, of `make test-cluster`, builds what is needed, starts both
// stamps, runs itself once more inside their network, and stops them. Each of
// its subtests has a real Kafka, a release of the chart and a ledger of its own.
package cluster
