// Package hosts tries what is shipped for machines without Kubernetes: the compose
// file, the systemd units, and the script that sets up an NFS server. Settings in
// them are looked through by the binary, units by systemd. What units and services
// start is started, as processes with addresses and directories of this machine, used
// and ended; what a unit's process does is held against what the unit lets it do. The
// firewall of the NFS server stands between two machines that are network namespaces.
// The values and Secrets of docs/deploy/quickstart.md are those that the chart's pods
// ask for.
//
// Neither Docker nor systemd starts anything, and no NFS server runs.
package hosts
