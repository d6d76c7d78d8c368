#!/bin/bash
# Pods as a kubelet with the cgroup driver systemd makes them, through containerd's CRI plugin, with the distribution's
# service and the shim installed by shim/install/install.sh.
#
#   RUNTIME=/path/to/wharf [CRICTL=/path] [PROGRAMS=/abs/dir] [PAUSELESS=1] spec-tests/managers/systemd-cri.sh [HANDLER]...
#
# HANDLER: wharf (the shim), wharf-systemd (the same with the option SystemdCgroup), runc (containerd's shim, which calls the
# runtime). With PROGRAMS the service runs the containerd that was unpacked there; with PAUSELESS, which needs containerd 2.x,
# HANDLER is wharf-pauseless, and there is no image for a pause container (pauseless.sh does both). As root on a machine that
# may be filled: spec-tests/vm/machine.sh --memory 2048 -- env RUNTIME=... THIS boots one.
set -u
. "$(dirname "$(realpath "$0")")/on-systemd.sh"
. "$here/pods.sh"
if [ -n "${PROGRAMS:-}" ]; then
    PATH=$PROGRAMS/usr/bin:$PATH
    mkdir -p /etc/systemd/system/containerd.service.d
    printf '[Service]\nEnvironment=PATH=%s\nExecStart=\nExecStart=%s\n' "$PATH" "$PROGRAMS/usr/bin/containerd" >/etc/systemd/system/containerd.service.d/programs.conf
    systemctl daemon-reload
fi
mkdir "$work/bin"
printf '#!/bin/sh\nexec %s --runtime-endpoint unix:///run/containerd/containerd.sock "$@"\n' "$CRICTL" >"$work/bin/crictl"
chmod 755 "$work/bin/crictl"
PATH=$work/bin:$PATH
# Without a file crictl warns in the middle of its output.
: >/etc/crictl.yaml

install() {
    local files=$work/install cri=io.containerd.grpc.v1.cri pinned='"io.containerd.grpc.v1.cri"]
sandbox_image' version=2 tars=("$work/image.tar")
    if [[ $(containerd --version) =~ [[:space:]]v?2\. ]]; then
        version=3 cri=io.containerd.cri.v1.runtime pinned='"io.containerd.cri.v1.images".pinned_images]
sandbox'
    fi
    mkdir -p /etc/containerd "$files"
    cat >/etc/containerd/config.toml <<END2
version = $version

[plugins.$pinned = "docker.io/library/pause:1"

[plugins."$cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."$cri".containerd.runtimes.runc.options]
BinaryName = "$RUNTIME"
SystemdCgroup = true

[plugins."$cri".containerd.runtimes.wharf-systemd]
runtime_type = "io.containerd.runc.v2"
runtime_path = "/usr/local/bin/containerd-shim-wharf-v2"

[plugins."$cri".containerd.runtimes.wharf-systemd.options]
SystemdCgroup = true
END2
    [ $version = 2 ] || printf '\n[plugins."%s".cni]\nbin_dirs = ["/usr/lib/cni"]\n' "$cri" >>/etc/containerd/config.toml
    cp "$here"/../../shim/install/* "$RUNTIME" "$SHIM" "$files"
    ends 'the installer adds the runtime' 0 'containerd has the runtime wharf' "$files/install.sh"
    wait_for 60 crictl version || { fail 'containerd starts' "$(journalctl -u containerd --no-pager | tail -n 20)"; finish; }
    "$here/image.sh" "$work/pause.tar" docker.io/library/pause:1 sleep infinity
    # Before 2.3 nothing asks for it; 2.3 pulls it in any case, unless it is there.
    [ -n "${PAUSELESS:-}" ] && [[ $(containerd --version) =~ [[:space:]]v?2\.[012]\. ]] || tars+=("$work/pause.tar")
    for tar in "${tars[@]}"; do ends 'import an image' 0 '' ctr -n k8s.io images import "$tar"; done
}

# The scope of a container, and the first process in it.
place() { find /sys/fs/cgroup/kubepods.slice -type d -name "cri-containerd-$1.scope"; }
first() { find "$(place "$1")" -name cgroup.procs -exec cat {} + | head -n1; }
ending() { crictl inspect "$1" | jq -r '"\(.status.exitCode) \(.status.reason)"'; }
is_reported() { [[ $(ending "$1") = *OOMKilled ]]; }
used() { crictl stats -o json | jq -e '.stats[0] | (.memory.workingSetBytes.value // "0" | tonumber) > 0 and (.cpu.usageCoreNanoSeconds.value // "0" | tonumber) > 0'; }
no_pods() { [ ! -e /sys/fs/cgroup/kubepods.slice ] || [ -z "$(find /sys/fs/cgroup/kubepods.slice -name 'cri-containerd-*')" ]; }

# container NAME SCRIPT [BYTES]: with a memory limit, 64 MiB if none is given.
container() {
    cat >"$work/$1.json" <<END2
{"metadata": {"name": "$1", "attempt": 0}, "image": {"image": "$image"}, "command": ["sh", "-c"], "args": ["$2"],
 "log_path": "$1.log", "linux": {"resources": {"memory_limit_in_bytes": ${3:-67108864}, "cpu_shares": 512, "cpu_period": 100000, "cpu_quota": 50000}}}
END2
}

pods() {
    # Before 2.3, containerd ends with a panic for a pod without a pause container on the network of the host.
    local network=2
    [ -z "${PAUSELESS:-}" ] || network=0
    local handler=$1 pod one two pid group endings slice=kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podu1.slice
    cat >"$work/pod.json" <<END2
{"metadata": {"name": "pod", "uid": "u1", "namespace": "default", "attempt": 0}, "log_directory": "$work/logs/$handler",
 "linux": {"cgroup_parent": "/$slice", "security_context": {"namespace_options": {"network": $network, "pid": 1}}}}
END2
    # As by a kubelet, which knows how much all containers of a pod may use.
    systemctl set-property --runtime kubepods-burstable-podu1.slice MemoryMax=128M
    run crictl runp --runtime "$handler" "$work/pod.json"
    pod=$(tail -n1 <<<"$OUT")
    like "$handler: run a pod" "$CODE $pod" '^0 [0-9a-f]{64}$'
    [ "$CODE" = 0 ] || return
    container one 'echo out; trap \"exit 3\" TERM; while :; do sleep 0.1; done'
    one=$(crictl create "$pod" "$work/one.json" "$work/pod.json" | tail -n1)
    ends "$handler: start a container" 0 '' crictl start "$one"
    wait_for 10 has_state "$one" RUNNING
    pid=$(first "$one")
    group=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
    like "$handler: it is in a scope in the slice of the pod" "$group" "^/$slice/cri-containerd-$one$scope\$"
    is "$handler: the limits of pod and container" "$(cat "/sys/fs/cgroup/$slice/memory.max") $(of memory.max "$pid") $(of cpu.max "$pid")" '134217728 67108864 50000 100000'
    is "$handler: the limits as properties" "$(systemctl show -P MemoryMax "cri-containerd-$one.scope")" 67108864
    ends "$handler: exec" 0 '^in$' crictl exec -s "$one" echo in
    is "$handler: the limits seen from inside" "$(crictl exec -s "$one" cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max | xargs)" '67108864 50000 100000'
    ends "$handler: log" 0 '^out$' crictl logs "$one"
    wait_for 30 used
    if used >/dev/null; then pass "$handler: stats"; else fail "$handler: stats" "$(crictl stats -o json)"; fi
    ends "$handler: update" 0 '' crictl update --memory 50331648 "$one"
    is "$handler: the new limit, in the files and as a property" "$(of memory.max "$pid") $(systemctl show -P MemoryMax "cri-containerd-$one.scope")" '50331648 50331648'
    systemctl daemon-reload
    is "$handler: daemon-reload takes nothing away" "$(of memory.max "$pid") $(of cpu.max "$pid")" '50331648 50000 100000'
    ends "$handler: devices after daemon-reload" 0 '^1$' crictl exec -s "$one" sh -c 'echo x >/dev/null && head -c1 /dev/zero | wc -c'

    # systemd removes the scope right after the kill. containerd's own shim is often too late then, so it gets some
    # time.
    container two "tail /dev/zero;$([ "$handler" != runc ] || echo ' sleep 2;') exit 5" 16777216
    endings=''
    for _ in 1 2 3 4 5; do
        two=$(crictl create "$pod" "$work/two.json" "$work/pod.json" | tail -n1)
        run crictl start "$two"
        wait_for 20 has_state "$two" EXITED
        # Two events, which containerd handles in either order.
        wait_for 10 is_reported "$two"
        endings+="$(ending "$two"), "
        crictl rm "$two" >/dev/null
    done
    is "$handler: how five ended that took more than they might" "$endings" '5 OOMKilled, 5 OOMKilled, 5 OOMKilled, 5 OOMKilled, 5 OOMKilled, '

    # Containers outlive the daemon.
    systemctl restart containerd
    wait_for 60 crictl version
    is "$handler: containerd restarts, the container does not" "$(state "$one") $(first "$one")" "CONTAINER_RUNNING $pid"
    ends "$handler: exec after the restart" 0 '^again$' crictl exec -s "$one" echo again
    ends "$handler: stop" 0 '' crictl stop --timeout 10 "$one"
    is "$handler: it ended by its signal, and not for lack of memory" "$(ending "$one")" '3 Error'
    ends "$handler: stop the pod" 0 '' crictl stopp "$pod"
    ends "$handler: remove the pod" 0 '' crictl rmp "$pod"
    wait_for 10 no_pods
    nothing_is_left "$handler"
    is "$handler: no shim is left" "$(pgrep -fc 'containerd-shim-[a-z]+-v2 -namespace k8s.io')" 0
}

[ -x "$SHIM" ] || { skip 'pods with systemd' "there is no $SHIM"; finish; }
pod_network
install
if [ $# = 0 ] && [ -n "${PAUSELESS:-}" ]; then set -- wharf-pauseless; fi
[ $# -gt 0 ] || set -- wharf wharf-systemd runc
for handler; do pods "$handler"; done
finish
