#!/bin/bash
# Read by every script here: paths, addresses, and the one rule that everything
# (control planes, nodes, registries, the hub, clients) runs inside the network
# namespace `postroad`, which has no way out: no default route, no link to the
# host.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=test/cluster/versions
source "$HERE/versions"
export KUBE_HOME=${KUBE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/postroad-cluster}
BIN=$KUBE_HOME/bin-$(sha256sum "$HERE/versions" | cut -c1-12)
LAN=postroad
HUB=172.31.252.1 # where the hub and the front door are: beyond the WAN, for both stamps

# stamp NAME sets the addresses of a stamp. The two share no port, bridge or pod
# range, so both can be up at once and reach each other.
stamp() {
  export STAMP=$1
  case $STAMP in onprem) I=0 ;; cloud) I=1 ;; *) die "STAMP is onprem or cloud, not '$STAMP'" ;; esac
  RUN=$KUBE_HOME/run/$STAMP
  NET=172.31.25$I CP=172.31.25$I.1 POD=10.$((244 + I)) # nodes, control plane, pods (/24 a node)
  BR=pr$I REGISTRY=$CP:5000
  API=$((6443 + 100 * I)) ETCD_PORT=$((12379 + 100 * I)) KCM=$((10257 + 100 * I)) SCHED=$((10259 + 100 * I))
  export KUBECONFIG=$RUN/admin.conf KUBECACHEDIR=$KUBE_HOME/run/kubectl-cache
}

die() { echo "${0##*/}: $*" >&2; exit 1; }
root() { [ "$(id -u)" = 0 ] || die "root needed (namespaces, cgroups, mounts)"; }
in_lan() { [ "$(stat -Lc %i /proc/self/ns/net)" = "$(stat -Lc %i /run/netns/$LAN 2>/dev/null)" ]; }

# make_lan makes the namespace with nothing but lo and the link of the hub.
make_lan() {
  [ ! -e /run/netns/$LAN ] || return 0
  ip netns add $LAN
  ip -n $LAN link set lo up
  ip -n $LAN link add hub type bridge # a kernel may have no dummy links
  ip -n $LAN addr add "$HUB/24" dev hub
  ip -n $LAN link set hub up
  nsenter --net=/run/netns/$LAN sysctl -qw net.ipv4.ip_forward=1 # stands for the WAN between the stamps
}

# enter_lan "$@" runs the calling script again inside the namespace and checks
# the seal. nsenter, not `ip netns exec`: the latter mounts a fresh /sys, which
# hides /sys/fs/cgroup.
enter_lan() {
  root
  in_lan || { [ -e /run/netns/$LAN ] || die "the LAN is not there: up first"
    exec nsenter --net=/run/netns/$LAN -- bash "$HERE/${0##*/}" "$@"; }
  sealed
}

# sealed dies if the LAN has a way out: a default route, or a link that is not ours.
sealed() {
  in_lan || die "not inside the LAN"
  [ -z "$(ip -4 route show default; ip -6 route show default)" ] || die "the LAN has a default route: refusing to work"
  local l; l=$(ip -o link show up | awk '{sub(/[@:].*/, "", $2); print $2}' | grep -vxE 'lo|hub|pr[01]|v[01]-node[0-9]+' || true)
  [ -z "$l" ] || die "the LAN has a foreign link ($l): refusing to work"
  unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy # nothing of the host's is reachable
}

# bg NAME CMD... starts a process and notes its pid, start time and name. Only
# what is noted, and still has that start time, is ever signalled.
bg() {
  local n=$1; shift
  setsid nohup "$@" >"$RUN/log/$n.log" 2>&1 </dev/null &
  echo "$! $(awk '{print $22}' /proc/$!/stat) $n" >>"$RUN/pids"
}
alive() { [ "$(awk '$3 != "Z" {print $22}' "/proc/$1/stat" 2>/dev/null)" = "$2" ]; } # alive PID STARTTIME

# start_node NAME: the death of unshare kills the node's init, and with it every
# process of the node.
start_node() {
  bg "$1" nsenter --net="/run/netns/$BR-$1" unshare --mount --pid --fork --kill-child --mount-proc "$RUN/$1/init"
}
nodes() { local d; for d in "$RUN"/node*/; do [ ! -d "$d" ] || basename "$d"; done; }
pod_routes() { local n; for n in $(nodes); do ip route replace "$POD.${n#node}.0/24" via "$NET.$((10 + ${n#node}))"; done; }

# wait_for SECONDS CONDITION: asks a shell condition ten times a second.
wait_for() {
  local end=$((SECONDS + $1))
  until eval "$2" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || { echo "not true after $1 s: $2" >&2; return 1; }; sleep 0.1; done
}
