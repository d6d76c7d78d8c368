# A node with containerd and its CRI plugin, as a kubelet finds it: sourced after pods.sh and scenario.sh by the scenarios with pods.
# shellcheck shell=bash disable=SC2034  # variables of the scenarios
#
# In:  SHIM, PROGRAMS, PAUSELESS (see cri.sh)
# Out: handler, the runtime's name for the CRI ('' is the default one); name, that of its shim; image; $config; what is below
handler='' name=containerd-shim-runc-v2
image=docker.io/library/scenario:1
config=/etc/containerd/config.toml
if [ -n "${SHIM:-}" ]; then handler=wharf${PAUSELESS:+-pauseless} name=containerd-shim-wharf-v2; fi
# older_than MAJOR MINOR: whether containerd is.
older_than() { [ "$(printf '%s\n' "$1.$2" "$release" | sort -V | head -n1)" != "$1.$2" ]; }
release=$(containerd --version | sed -E 's/.* v?([0-9]+\.[0-9]+)[.0-9]*.*/\1/')
# 2.3 pulls the image of the pause container also for pods that have none, unless it is there.
needs_pause() { [ -z "${PAUSELESS:-}" ] || ! older_than 2 3; }

# containerd's configuration, as a distribution leaves it.
configure_containerd() {
    mkdir -p /etc/containerd
    if older_than 2 0; then
        cat >$config <<'END'
version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/library/pause:1"
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
END
        return
    fi
    cat >$config <<'END'
version = 3
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.nri.v1.nri"]

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "docker.io/library/pause:1"

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/usr/lib/cni"]
END
}

# What shim/install/install.sh needs beside it, and the node's service manager as far as it needs one.
prepare_installer() {
    mkdir "$work/install"
    cp /opt/install/* "$work/install"
    cp "$RUNTIME" "$work/install/wharf"
    cp "$SHIM" "$work/install/containerd-shim-wharf-v2"
    printf '#!/bin/sh\necho "$*" >>%s\n' "$work/systemctl.log" >/usr/local/sbin/systemctl
    chmod 755 /usr/local/sbin/systemctl
}

start_containerd() {
    containerd --config $config --log-level debug >>"$work/containerd.log" 2>&1 &
    daemon=$!
    wait_for 30 ctr version && wait_for 30 crictl version || { log_tail "$work/containerd.log"; fail 'containerd starts'; finish; }
}
# stop_containerd [SIGNAL]
stop_containerd() {
    kill "-${1:-TERM}" "$daemon"
    wait "$daemon" 2>/dev/null
}
# The images that pods need, and the wait for their network.
import_images() {
    local tar images=("$IMAGE_TAR")
    ! needs_pause || images+=("$work/pause.tar")
    for tar in "${images[@]}"; do ends 'import an image' 0 '' ctr -n k8s.io images import "$tar"; done
    wait_for 20 bash -c 'grep -q "cni config load\|Start cni network conf\|start cni network conf" /run/scenario/containerd.log'
}
# The whole node at once, for scenarios that do not look at the installer.
make_node() {
    # A pause container is the first process of a shared pid namespace, which has to reap.
    "$here/image.sh" "$work/pause.tar" docker.io/library/pause:1 sh -c 'trap "exit 0" TERM; sleep 100000 & while :; do wait; done'
    prepare_pods /run/containerd/containerd.sock
    ln -sf "$RUNTIME" "$work/bin/runc"
    configure_containerd
    if [ -n "${SHIM:-}" ]; then
        prepare_installer
        ends 'the installer adds the runtime' 0 'containerd has the runtime wharf' "$work/install/install.sh"
    fi
    start_containerd
    printf '# %s, client %s\n' "$(containerd --version)" "$(basename "$CRICTL")"
    import_images
}

shims() { pgrep -f "$name -namespace k8s.io" | wc -l; }
shim_of() { pgrep -f "$name -namespace k8s.io .*-id $1"; }
no_shims() { [ "$(shims)" = 0 ]; }
# everything of CRI below /kubepods
pod_groups() { find /sys/fs/cgroup -mindepth 2 -type d -path '*/kubepods/pod*/*' | wc -l; }

# pod NAME [JQ]: runs a pod whose configuration JQ amends; $pod is its id.
pod() {
    jq -n --arg name "$1" --arg logs "$work/logs" '{metadata: {name: $name, uid: $name, namespace: "default", attempt: 0}, hostname: $name,
        log_directory: $logs, linux: {cgroup_parent: "/kubepods/pod\($name)", security_context: {namespace_options: {network: 0, pid: 1, ipc: 0}}}}
        | '"${2:-.}" >"$work/$1.pod"
    run crictl runp ${handler:+--runtime "$handler"} "$work/$1.pod"
    pod=$(tail -n1 <<<"$OUT")
    [ "$CODE" = 0 ]
}
# container POD NAME SCRIPT [JQ]: creates and starts a container in the pod $pod, which pod() made as POD; $container is its
# id. As by a kubelet, it has the pod's choice of namespaces.
container() {
    jq --arg name "$2" --arg image "$image" --arg script "$3" '{metadata: {name: $name, attempt: 0}, image: {image: $image}, command: ["sh", "-c"],
        args: [$script], log_path: "\(.metadata.name).\($name).log", linux: {security_context: {namespace_options: .linux.security_context.namespace_options}}}
        | '"${4:-.}" "$work/$1.pod" >"$work/$1.$2"
    run crictl create "$pod" "$work/$1.$2" "$work/$1.pod"
    container=$(tail -n1 <<<"$OUT")
    [ "$CODE" = 0 ] && run crictl start "$container" && [ "$CODE" = 0 ]
}
# inside CONTAINER SCRIPT: the output of a script in it.
inside() { crictl exec -s "$1" sh -c "$2" 2>&1; }
pod_state() { crictl inspectp -o json "$1" | jq -r .status.state; }
pod_has_state() { [ "$(pod_state "$1")" = "SANDBOX_$2" ]; }

# Stops and removes every pod; afterwards nothing may be left.
remove_pods() {
    local id
    for id in $(crictl pods -o json | jq -r '.items[]?.id'); do
        ends "$1: stop a pod" 0 '' crictl stopp "$id"
        ends "$1: remove it" 0 '' crictl rmp "$id"
    done
    wait_for 20 no_shims
    nothing_is_left "$1"
}
nothing_is_left() {
    is "$1: no shim is left" "$(shims)" 0
    is "$1: no container, no pod" "$(crictl ps -a -o json | jq '.containers // [] | length') $(crictl pods -o json | jq '.items // [] | length')" '0 0'
    is "$1: no cgroup" "$(pod_groups)" 0
    is "$1: no state of the runtime" "$(find /run/containerd/runc -mindepth 2 2>/dev/null | wc -l)" 0
    is "$1: no mount" "$(grep -cE '/run/containerd/io.containerd.(runtime.v2.task|sandbox.controller.v1.shim)|/run/netns|/sandboxes/' /proc/self/mountinfo)" 0
    is "$1: no bundle" "$(find /run/containerd/io.containerd.runtime.v2.task /run/containerd/io.containerd.sandbox.controller.v1.shim -mindepth 2 -maxdepth 2 2>/dev/null)" ''
}
