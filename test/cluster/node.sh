# node.sh - sourced by up: make_node NAME NUMBER prepares everything one node needs.
# What cost time to find out, kept here so that nobody finds it out twice:
# - the machine mounts cgroup v1 controllers, so the kubelet needs failCgroupV1=false and the cgroupfs driver;
# - a new cpuset cgroup starts empty: copy cpus and mems or every attach fails with "no space left on device";
# - containers may not lower oom_score_adj below containerd's own here: restrict_oom_score_adj=true;
# - the kubelet sees no disk behind its root: localStorageCapacityIsolation=false, eviction at 1%;
# - /run/containerd, /var/lib/cni, /var/log/containers are fixed paths: each node mounts its own over them.
set -euo pipefail
make_node() {
  local N=$1 n=$2 IP=$NET.$((10 + $2)) D=$RUN/$1 NS=$BR-$1 c f m
  mkdir -p "$D"/{cni,cni-cache,kubelet,containerd,state,log,podlogs,certs.d/$REGISTRY}

  # network: a veth to the bridge; routes to the other nodes' pods (what a CNI daemon would do)
  ip netns add "$NS"; ip link add "v$I-$N" type veth peer name eth0 netns "$NS"; ip link set "v$I-$N" master "$BR" up
  ip -n "$NS" addr add "$IP/24" dev eth0; ip -n "$NS" link set lo up; ip -n "$NS" link set eth0 up; ip -n "$NS" route add default via "$CP"
  nsenter --net="/run/netns/$NS" sysctl -qw net.ipv4.ip_forward=1
  for m in $(seq 1 "$NODES"); do [ "$m" = "$n" ] || ip -n "$NS" route add "$POD.$m.0/24" via "$NET.$((10 + m))"; done

  # cgroups: one v1 root for the node's pods in every hierarchy
  for c in /sys/fs/cgroup/*/; do [ ! -w "$c/cgroup.procs" ] || mkdir -p "$c/$NS"; done
  for f in cpus mems; do cat "/sys/fs/cgroup/cpuset/cpuset.$f" >"/sys/fs/cgroup/cpuset/$NS/cpuset.$f"; done

  # CNI: ptp + host-local + portmap, plain L3 (no bridge-netfilter needed); NetworkPolicy is not enforced
  cat >"$D/cni/10-ptp.conflist" <<Y
{"cniVersion":"0.4.0","name":"postroad","plugins":[
 {"type":"ptp","mtu":1500,"ipMasq":false,"ipam":{"type":"host-local","dataDir":"$D/ipam","ranges":[[{"subnet":"$POD.$n.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
Y
  cat >"$D/containerd.toml" <<Y
version = 2
root = "$D/containerd"
state = "$D/state"
[grpc]
  address = "$D/containerd.sock"
[debug]
  level = "warn"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$D/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$D/certs.d"
[plugins."io.containerd.internal.v1.opt"]
  path = "$D/opt"
Y
  # the stamp's registry speaks plain http
  printf 'server = "http://%s"\n[host."http://%s"]\n  capabilities = ["pull","resolve"]\n' "$REGISTRY" "$REGISTRY" >"$D/certs.d/$REGISTRY/hosts.toml"

  # kubelet and kube-proxy
  cert "$N" "/O=system:nodes/CN=system:node:$N" "IP:$IP,DNS:$N"; kubeconfig "$D/kubelet.conf" "$N" "https://$CP:$API"
  echo "nameserver 127.0.0.1" >"$D/resolv.conf"
  cat >"$D/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $RUN/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $RUN/pki/$N.crt
tlsPrivateKeyFile: $RUN/pki/$N.key
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://$D/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$NS
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
podLogsDir: $D/podlogs
volumePluginDir: $D/volume-plugins
nodeStatusUpdateFrequency: 2s
nodeLeaseDurationSeconds: 8
syncFrequency: 10s
maxPods: 40
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
kubeReserved: {memory: 2Gi}
resolvConf: $D/resolv.conf
Y
  cat >"$D/proxy.yaml" <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $RUN/proxy.conf}
hostnameOverride: $N
mode: nftables
detectLocalMode: InterfaceNamePrefix
detectLocal: {interfaceNamePrefix: veth}
conntrack: {maxPerCore: 0}
Y

  # the node's init: pid 1 of its namespaces, so its death is a power cut
  cat >"$D/init" <<Y
#!/bin/bash
mount --make-rprivate /; mount --make-rshared /
mount --bind $D/kubelet /var/lib/kubelet; mount --make-rshared /var/lib/kubelet
mount --bind $D/cni-cache /var/lib/cni
mount -t tmpfs tmpfs /run/containerd; mount -t tmpfs tmpfs /var/log/containers
containerd --config $D/containerd.toml >$D/log/containerd.log 2>&1 &
until ctr -a $D/containerd.sock version >/dev/null 2>&1; do sleep 0.2; done
ctr -a $D/containerd.sock -n k8s.io images import $BIN/pause.tar >/dev/null
$BIN/kubelet --config=$D/kubelet.yaml --kubeconfig=$D/kubelet.conf --root-dir=/var/lib/kubelet --hostname-override=$N --node-ip=$IP \
  --node-labels=topology.kubernetes.io/region=$STAMP,topology.kubernetes.io/zone=$STAMP-$n >$D/log/kubelet.log 2>&1 &
$BIN/kube-proxy --config=$D/proxy.yaml >$D/log/proxy.log 2>&1 &
wait
Y
  chmod +x "$D/init"
}
