// Package hosts tries what is shipped for machines without Kubernetes: the compose
// file, the systemd units, and the script that sets up an NFS server. Settings in
// them are looked through by the binary, units by systemd. No container, unit or
// export is started.
package hosts
