#!/bin/bash
# What the containers of a pod share, as a kubelet asks for it: [SHIM=/abs/path] [PROGRAMS=/abs/dir] [PAUSELESS=1] cri-pods.sh
#
# See cri.sh for the variables. A namespace is told by its link below /proc.
NEEDS='containerd ctr'
. "$(dirname "$0")/pods.sh"
. "$(dirname "$0")/scenario.sh"
. "$here/node.sh"
make_node
[ -z "${PAUSELESS:-}" ] || needs_pause || is 'the node has no image but that of the containers' "$(ctr -n k8s.io images ls -q | grep -v ^sha256: | xargs)" $image

wait_loop='trap "exit 0" TERM; while :; do sleep 0.1; done'
# links CONTAINER NAMESPACE...
links() { inside "$1" "for each in ${*:2}; do readlink /proc/self/ns/\$each; done" | xargs; }
links_here() { for each; do readlink "/proc/self/ns/$each"; done | xargs; }

# --- net, IPC, UTS and /dev/shm; the files; sysctls
pod share '.dns_config = {servers: ["192.0.2.53", "2001:db8::53"], searches: ["pods.example", "example"], options: ["ndots:5"]}
    | .linux.sysctls = {"net.core.somaxconn": "77", "kernel.msgmax": "4321", "kernel.shm_rmid_forced": "1"}' ||
    { fail 'run a pod' "$OUT"; log_tail "$work/containerd.log"; finish; }
container share one "$wait_loop" || fail 'a container' "$OUT"
one=$container
container share two "$wait_loop" || fail 'another' "$OUT"
two=$container
is 'two containers share net, IPC and UTS' "$(links "$one" net ipc uts)" "$(links "$two" net ipc uts)"
for each in net ipc uts pid mnt; do
    unlike "the host has another $each" "$(links "$one" $each)" "^$(links_here $each | sed 's/[][]/\\&/g')\$"
done
[ "$(links "$one" pid)" != "$(links "$two" pid)" ] && pass 'each has its own processes' || fail 'each has its own processes'
inside "$one" 'echo from one >/dev/shm/file; touch /dev/mqueue/queue'
is 'they share /dev/shm and the message queues' "$(inside "$two" 'cat /dev/shm/file; ls /dev/mqueue' | xargs)" 'from one queue'
is 'the size of /dev/shm' "$(inside "$two" 'df -k /dev/shm' | awk 'END {print $2}')" 65536
like 'its mode and options' "$(inside "$two" 'stat -c %a /dev/shm; grep " /dev/shm " /proc/self/mountinfo' | xargs)" '^1777 .* / /dev/shm .*nosuid,nodev,noexec'
is 'the file with the host name' "$(inside "$two" 'cat /etc/hostname; hostname' | xargs)" 'share share'
is 'resolv.conf from dns_config' "$(inside "$one" 'cat /etc/resolv.conf' | sort)" $'nameserver 192.0.2.53\nnameserver 2001:db8::53\noptions ndots:5\nsearch pods.example example'
is 'hosts is that of the host' "$(inside "$one" 'cat /etc/hosts')" "$(cat /etc/hosts)"
is 'sysctls' "$(inside "$one" 'cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax /proc/sys/kernel/shm_rmid_forced' | xargs)" '77 4321 1'
is 'the host keeps its own' "$(cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax /proc/sys/kernel/shm_rmid_forced | grep -cx '77\|4321\|1')" 0
inside "$one" 'echo shared >>/etc/hosts'
like 'a container may write hosts, and the other sees it' "$(inside "$two" 'tail -n1 /etc/hosts')" '^shared$'
unlike 'the host does not' "$(tail -n1 /etc/hosts)" '^shared$'
echo '127.0.0.1 of-the-kubelet' >"$work/kubelet-hosts"
container share three "$wait_loop" '.mounts = [{container_path: "/etc/hosts", host_path: "'"$work"'/kubelet-hosts"}] | .linux.security_context.readonly_rootfs = true' || fail 'a third' "$OUT"
like "a container's own hosts, as a kubelet mounts it, comes first" "$(inside "$container" 'cat /etc/hosts')" '^127.0.0.1 of-the-kubelet$'
like 'with a root that is read-only so are the files' "$(inside "$container" 'echo x >>/etc/resolv.conf')" 'Read-only file system|can.t create'
# A kubelet may ask for anything here, also that nothing is asked for.
pod plain 'del(.hostname)' && container plain one "$wait_loop" || fail 'a pod without a host name and dns_config' "$OUT"
is 'without a host name it is that of the host' "$(inside "$container" 'hostname; cat /etc/hostname' | xargs)" "$(hostname) $(hostname)"
is 'without dns_config resolv.conf is that of the host' "$(inside "$container" 'cat /etc/resolv.conf')" "$(cat /etc/resolv.conf)"
unlike 'another pod has other namespaces' "$(links "$container" ipc)" "^$(links "$one" ipc | sed 's/[][]/\\&/g')\$"

# --- a container that ends and is started again, as in a crash loop
shim=$(shim_of "$pod")
open_files() { find "/proc/$1/fd" -mindepth 1 2>/dev/null | wc -l; }
before=$(open_files "$shim") codes=''
for ((attempt = 1; attempt <= 20; attempt++)); do
    container plain again "exit $attempt" ".metadata.attempt = $attempt" || fail "start number $attempt" "$OUT"
    wait_for 20 has_state "$container" EXITED
    codes+="$(crictl inspect "$container" | jq -r .status.exitCode) "
    run crictl rm "$container"
done
is 'a container restarts 20 times in its pod' "$codes" "$(seq -s' ' 20) "
is 'by the same shim, which keeps no file of them' "$(shim_of "$pod") $(open_files "$shim")" "$shim $before"
remove_pods 'shared namespaces'

# --- the host's
# Before 2.3, containerd itself ends with a panic when such a pod has no pause container: it takes the missing configuration for one.
if [ -n "${PAUSELESS:-}" ] && older_than 2 3; then
    skip 'the network of the host' 'containerd before 2.3 ends with a panic for such a pod without a pause container'
else
    pod hostnet '.linux.security_context.namespace_options.network = 2 | del(.hostname)' && container hostnet one "$wait_loop" || fail 'a pod on the network of the host' "$OUT"
    is 'the network of the host' "$(links "$container" net)" "$(links_here net)"
    unlike 'and nothing else of it' "$(links "$container" ipc)" "^$(links_here ipc | sed 's/[][]/\\&/g')\$"
fi
pod hostipc '.linux.security_context.namespace_options.ipc = 2' && container hostipc one "$wait_loop" || fail 'a pod with the IPC of the host' "$OUT"
is 'the IPC of the host' "$(links "$container" ipc)" "$(links_here ipc)"
unlike 'and nothing else of it' "$(links "$container" net)" "^$(links_here net | sed 's/[][]/\\&/g')\$"
echo of the host >/dev/shm/of-the-host
is 'and its /dev/shm' "$(inside "$container" 'cat /dev/shm/of-the-host')" 'of the host'
pod hostpid '.linux.security_context.namespace_options.pid = 2' && container hostpid one "$wait_loop" || fail 'a pod with the processes of the host' "$OUT"
is 'the processes of the host' "$(links "$container" pid)" "$(links_here pid)"
like 'containerd is seen' "$(inside "$container" 'ps -o comm')" 'containerd'
remove_pods "the host's namespaces"

# --- shareProcessNamespace
pod procs '.linux.security_context.namespace_options.pid = 0' && container procs one "$wait_loop" || fail 'a pod with shared processes' "$OUT"
one=$container
container procs two "$wait_loop" || fail 'another' "$OUT"
two=$container
is 'they share the pid namespace' "$(links "$one" pid)" "$(links "$two" pid)"
unlike 'the host has another' "$(links "$one" pid)" "^$(links_here pid | sed 's/[][]/\\&/g')\$"
is 'neither is its first process' "$(inside "$one" 'cat /proc/1/cmdline' | tr '\0' ' ' | grep -c 'sleep 0.1')" 0
# Orphans of one container, whose parent did not wait for them.
inside "$one" 'for each in 1 2 3 4 5 6 7 8 9 10; do sh -c "sleep 0.3 & :"; done'
no_orphans() { [ "$(inside "$two" 'ps -o stat,args' | grep -c 'sleep 0\.3\|^Z')" = 0 ]; }
if wait_for 10 no_orphans; then pass 'orphans that end are reaped'; else fail 'orphans that end are reaped' "$(inside "$two" 'ps -o pid,ppid,stat,args')"; fi
run crictl stop --timeout 10 "$two"
is 'when one container ends the other goes on' "$(state "$one") $(inside "$one" 'echo here')" 'CONTAINER_RUNNING here'
remove_pods 'shared processes'

# --- a user namespace of the pod
maps='[{host_id: 1000000, container_id: 0, length: 65536}]'
users=".linux.security_context.namespace_options.userns_options = {mode: 0, uids: $maps, gids: $maps}"
if older_than 2 0; then
    skip 'a user namespace of the pod' 'containerd 2.0 is the first to have it in a form that Kubernetes uses'
elif pod users "$users | .linux.sysctls = {\"net.ipv4.ip_unprivileged_port_start\": \"79\"}"; then
    container users one "$wait_loop" '.linux.security_context.capabilities = {add_capabilities: ["NET_ADMIN"]}' || fail 'a container in it' "$OUT"
    one=$container
    container users two "$wait_loop" || fail 'another' "$OUT"
    two=$container
    is 'they share the user namespace and the rest' "$(links "$one" user net ipc uts)" "$(links "$two" user net ipc uts)"
    is 'its users' "$(inside "$one" 'cat /proc/self/uid_map /proc/self/gid_map; id -u' | xargs)" '0 1000000 65536 0 1000000 65536 0'
    is 'the process is no root on the host' "$(stat -c %u "/proc/$(crictl inspect "$one" | jq -r .info.pid)")" 1000000
    is 'the files belong to its root' "$(inside "$one" 'stat -c %u /etc/hostname /etc/hosts /etc/resolv.conf /dev/shm /etc/passwd' | xargs)" '0 0 0 0 0'
    is 'they share /dev/shm' "$(inside "$one" 'echo in users >/dev/shm/file'; inside "$two" 'cat /dev/shm/file')" 'in users'
    is 'host name and sysctl' "$(inside "$one" 'hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start' | xargs)" 'users 79'
    is 'its root may set up its network' "$(inside "$one" 'ip link set lo down && ip link set lo up && echo done')" 'done'
    pod both "$users | .linux.security_context.namespace_options.pid = 0" && container both one "$wait_loop" || fail 'with shared processes as well' "$OUT"
    like 'with shared processes as well' "$(inside "$container" 'cat /proc/self/uid_map; cat /proc/1/cmdline >/dev/null && readlink /proc/self/ns/pid' | xargs)" '^0 1000000 65536 pid:'
else
    fail 'a user namespace of the pod' "$OUT"
fi
remove_pods 'a user namespace'

[ "$failed" = 0 ] || log_tail "$work/containerd.log" "${LOG_LINES:-20}"
finish
